"""The run: installs, starts and checks the peers, then measures those that rank rightly."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from retort.loadtest.cross_encoder import pair_tokenizer
from retort.loadtest.extract import read_ranking_requests
from retort.loadtest.machine import describe_machine
from retort.loadtest.peers.bare import BareLoop
from retort.loadtest.peers.bout import Plan, Progress, Turns
from retort.loadtest.peers.environment import make_environment, requirements_of
from retort.loadtest.peers.findings import Findings, Setup, Standing
from retort.loadtest.peers.folder import write_folder
from retort.loadtest.peers.golden_alone import golden_graph, write_golden_bundle
from retort.loadtest.peers.loads import fixed_load, real_load
from retort.loadtest.peers.names import LoadName
from retort.loadtest.peers.peer import OURS, Peer, Places, find_peers
from retort.loadtest.peers.ranking import compare
from retort.loadtest.peers.segments import with_own_segments
from retort.loadtest.peers.started import Started
from retort.loadtest.peers.weights import read_weights
from retort.loadtest.texts import Request, encode
from retort.models.bundle import Bundle, read_bundle
from retort.models.find import find_bundle
from retort.models.runtime.base import BackendInfo
from retort.models.runtime.choose import Wish, load
from retort.models.runtime.direct import infer_pairs
from retort.models.scores import combine
from retort.service.settings import load_settings

CHECKED_QUESTIONS = 60
CHECKED_PASSAGES = 10
REFERENCE = BackendInfo("onnxruntime", "cpu", "fp32")


@dataclass(frozen=True, slots=True)
class Options:
    """What `retort peers` was asked for."""

    bundle: str = "retort-small"
    peers: tuple[str, ...] = ()  # none: all
    loads: tuple[LoadName, ...] = ("fixed", "real")
    plan: Plan = field(default_factory=Plan)
    pairs: Path | None = None
    settings: Path | None = None
    folder: Path = Path("runs/peers")
    command: str = "retort peers"

    @property
    def about_s(self) -> float:
        """About how long it takes: each peer's start and check, then two workloads."""
        count = len(find_peers(self.peers))
        return 10.0 * count + len(self.loads) * self.plan.about_s(count)


def run_peers(options: Options, progress: Progress) -> Findings:
    """Measure and sum up; `progress` is told what begins.

    A peer that cannot be installed or started is reported so and left out. Raises `BundleError`,
    `ValueError` for what does not fit, and `RuntimeError` if our own server does not start or rank.
    """
    peers = find_peers(options.peers)
    source = read_bundle(find_bundle(options.bundle))
    # Not resolved: the peers' Pythons are links.
    folder = options.folder.absolute()
    checked = read_ranking_requests(passages=CHECKED_PASSAGES)[:CHECKED_QUESTIONS]
    bundle, places = make_places(folder, source, progress, checked)
    places = replace(places, settings=options.settings)
    encoder = bundle.encoder()
    expected = expected_scores(bundle, checked)
    loads = [
        fixed_load(encoder) if name == "fixed" else real_load(encoder, options.pairs)
        for name in options.loads
    ]
    with ExitStack() as stack:
        standings: list[Standing] = []
        running: list[Started] = []
        for peer in peers:
            standing, started = admit(stack, peer, places, checked, expected, progress)
            standings.append(standing)
            if started is not None:
                running.append(started)
        if not running or running[0].name != OURS:
            raise RuntimeError(f"our own server cannot be compared: {standings[0].problem}")
        ours = running[0]
        settings = load_settings(options.settings)
        bare = BareLoop(bundle, ours, settings, options.plan.users)
        bouts = [
            Turns(options.plan, workload, running, progress, bare.pairs_per_second).measure()
            for workload in loads
        ]
    return Findings(_setup(options, source, bare), tuple(standings), tuple(bouts))


def make_places(
    folder: Path, source: Bundle, progress: Progress, requests: Sequence[Request] = ()
) -> tuple[Bundle, Places]:
    """Our golden bundle, and the folders that the peers load; all of the weights of `source`.

    `requests` are what ours is judged by in lower precisions.
    """
    progress(f"writing {source.manifest.name} with its golden head alone, for us and for the peers")
    made = folder / "made"
    shutil.rmtree(made, ignore_errors=True)
    weights = read_weights(source)
    places = Places(made / "student", made / "segments", made / "bundle")
    # Peers run the graph that a usual export gives, without our shortened last layer.
    usual = golden_graph(source, weights, trim=False)
    mended = with_own_segments(usual, pair_tokenizer(source.tokenizer_path))
    write_folder(places.student, source, weights, usual)
    write_folder(places.segments, source, weights, mended)
    return write_golden_bundle(places.bundle, source, weights, requests), places


def expected_scores(bundle: Bundle, requests: list[Request]) -> list[list[float]]:
    """What the weights give in float32, by this project's own backend in this process."""
    backend = load(REFERENCE, bundle, Wish(), load_settings().cache_dir)
    encoder = bundle.encoder()
    found = []
    for request in requests:
        logits = infer_pairs(backend, encoder, encode(encoder, request))
        found.append([float(score) for score in combine(logits).score])
    return found


def admit(
    stack: ExitStack,
    peer: Peer,
    places: Places,
    requests: list[Request],
    expected: list[list[float]],
    progress: Progress,
) -> tuple[Standing, Started | None]:
    """Install, start and check one peer; it is left running, stopped, if it ranks rightly."""
    with ExitStack() as own:
        try:
            python = None
            if peer.environment:
                environment = places.bundle.parent.parent / peer.environment
                python = make_environment(environment, requirements_of(peer.environment), progress)
            progress(f"starting {peer.label}")
            started = own.enter_context(Started(peer, places, python))
            progress(f"checking how {peer.label} ranks")
            agreement = compare(requests, started.ask, expected)
        except (OSError, RuntimeError) as error:
            return Standing(peer.name, peer.label, problem=str(error)), None
        standing = Standing(peer.name, peer.label, agreement)
        if not standing.right:
            return standing, None
        started.pause()
        stack.push(own.pop_all())
    return standing, started


def _setup(options: Options, source: Bundle, bare: BareLoop) -> Setup:
    plan = options.plan
    return Setup(
        created=datetime.now(UTC).strftime("%Y-%m-%d"),
        command=options.command,
        machine=describe_machine(),
        bundle=f"{source.manifest.name} {source.manifest.version}, golden head alone",
        backend=str(bare.info),
        rounds=plan.rounds,
        seconds=plan.seconds,
        load_seconds=plan.load_seconds,
        users=plan.users,
        p99_ms=plan.p99_ms,
    )
