"""What a request costs in the front end: processor time, with an engine that answers at once.

    python -m retort.loadtest.experiments.frontend --output docs/performance.md

The server of this checkout is compared with the single-process server, an earlier revision of it.
Both serve the same null bundle, take turns under the same load, and every process's own processor
time is read before and after. The single process is front end and engine in one, so the sum over
all processes is reported too.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import fmean

import psutil

from retort.loadtest.load import Outcome, Step, require_answers, run_step
from retort.loadtest.null_bundle import ENVIRONMENT, write_null_bundle
from retort.loadtest.report import SCRIPTS, publish, to_markdown
from retort.loadtest.result import Cell, Column, Measurement, Setup, Table
from retort.loadtest.rounds import Log, Spread, in_turn, ratio_of_means
from retort.loadtest.servers import Server
from retort.loadtest.targets import Target, serve
from retort.loadtest.traffic import fixed
from retort.models.bundle import find_bundle, read_bundle

SINGLE_PROCESS = "5df9b9e"  # the last revision whose server is one process
HERE = Path(__file__).resolve().parents[2]
PASSAGES = 10
# Texts that the cache keeps, and texts that come round too seldom to be there still.
CACHE, KEPT_REQUESTS, NEW_REQUESTS = 1_000, 64, 256
FRONT_END, ENGINE = "retort.service.processes.front_end", "retort.service.processes.engine"
COLUMNS = (
    Column("10 passages of 128 tokens"), Column("single process, ms", "ms"),
    Column("front end, ms", "ms"), Column("engine, ms", "ms"),
    Column("front end over single process [95%]", "ratio"),
    Column("all processes over it [95%]", "ratio"),
    Column("single process, requests/s", "requests/s"), Column("requests/s", "requests/s"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of processor time by kind of process.

    A server of one process has nothing but a front end.
    """

    front_end: float = 0.0
    engine: float = 0.0
    supervisor: float = 0.0

    @classmethod
    def of(cls, server: Server) -> Cost:
        """What the processes of a server have used so far."""
        whole = psutil.Process(server.pid)
        children = whole.children(recursive=True)
        used = dict.fromkeys((field.name for field in fields(cls)), 0.0)
        used["supervisor" if children else "front_end"] += _seconds(whole)
        for child in children:
            command = child.cmdline()
            kinds = {FRONT_END: "front_end", ENGINE: "engine"}
            kind = next((kinds[word] for word in command if word in kinds), "supervisor")
            used[kind] += _seconds(child)
        return cls(**used)

    def since(self, before: Cost, requests: int) -> Cost:
        """What each of `requests` has cost after `before`."""
        return Cost(
            (self.front_end - before.front_end) / requests,
            (self.engine - before.engine) / requests,
            (self.supervisor - before.supervisor) / requests,
        )

    @property
    def total(self) -> float:
        """All processes together."""
        return self.front_end + self.engine + self.supervisor


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@dataclass(frozen=True, slots=True)
class Turn:
    """One server under one load for a while: what a request cost, and how many there were."""

    cost: Cost
    requests_per_second: float


def run_turn(server: Server, step: Step) -> Turn:
    """Put a step on a server. Raises `RuntimeError` if a request is not answered."""
    before = Cost.of(server)
    outcome = require_answers(server.target.label, run_step(step))
    if outcome.failed:
        raise RuntimeError(
            f"{server.target.label} failed {outcome.failed} of {len(outcome.due)} requests "
            f"({outcome.statuses}): what they cost is not comparable"
        )
    return Turn(Cost.of(server).since(before, len(outcome.answers)), _rate(outcome))


def _rate(outcome: Outcome) -> float:
    return outcome.pairs_per_second / PASSAGES


def targets(bundle: Path, old: Path, new: Path, workers: int | None) -> tuple[Target, Target]:
    """The server of one process, from the checkout `old`, and the one of `new`."""
    options = ("--log-level", "warning", "--passage-cache", str(CACHE))
    ours = options if workers is None else (*options, "--workers", str(workers))

    def environment(checkout: Path) -> Mapping[str, str]:
        # Neither this checkout nor the installed package may come before it.
        return {**ENVIRONMENT, "PYTHONPATH": str(checkout), "PYTHONSAFEPATH": "1"}

    return (
        serve(bundle, *options, label="the single process", environment=environment(old)),
        serve(bundle, *ours, label="the server", environment=environment(new)),
    )


def measure(options: argparse.Namespace, old: Path, log: Log) -> Measurement:
    """Both servers in turn. Raises `RuntimeError` if one does not start or does not answer."""
    like = read_bundle(find_bundle(options.bundle))
    encoder = like.encoder()
    texts = {
        "in the cache": fixed(encoder, passages=PASSAGES, requests=KEPT_REQUESTS),
        "new": fixed(encoder, passages=PASSAGES, requests=NEW_REQUESTS, seed=1),
    }
    with tempfile.TemporaryDirectory() as work:
        bundle = write_null_bundle(Path(work) / "null", like)
        single, several = targets(bundle.folder, old, options.new, options.workers)
        with Server(single) as one, Server(several) as other:
            loads = [
                (f"{clients} client{'s' * (clients > 1)}, passages {name}", traffic, clients)
                for name, traffic in texts.items()
                for clients in options.clients
            ]
            turns: dict[tuple[str, bool], list[Turn]] = {}
            items = [(load, new) for load in loads for new in (False, True)]
            for number, ((name, traffic, clients), new) in in_turn(items, options.rounds):
                server = other if new else one
                log(f"round {number + 1} of {options.rounds}: {server.target.label}, {name}")
                step = server.step(traffic.requests, seconds=options.seconds, users=clients)
                turns.setdefault((name, new), []).append(run_turn(server, step))
    rows = tuple(row(name, turns[name, False], turns[name, True]) for name, _, _ in loads)
    return Measurement(
        "frontend",
        "frontend",
        Setup.now(
            f"a graph of zeros with the tokenizer of {like.manifest.name} {like.manifest.version}",
            SCRIPTS["frontend"],
        ),
        (
            f"{options.rounds} rounds, in each of which both servers have {options.seconds:g} s of "
            f"every load, in turn; the single-process server is revision {options.revision}; "
            f"front ends of the other: {options.workers or 'its usual number'}",
            "Processor time, user and system, of each process per request; the single process is "
            "front end and engine in one",
        ),
        (Table("costs", COLUMNS, rows),),
    )


def row(name: str, single: Sequence[Turn], several: Sequence[Turn]) -> tuple[Cell, ...]:
    """A load's figures; both sides have one turn per round."""
    old = [turn.cost.total for turn in single]
    front_ends = [turn.cost.front_end for turn in several]
    return (
        name,
        Spread.mean([cost * 1e3 for cost in old]),
        Spread.mean([cost * 1e3 for cost in front_ends]),
        Spread.mean([turn.cost.engine * 1e3 for turn in several]),
        ratio_of_means(front_ends, old),
        ratio_of_means([turn.cost.total for turn in several], old),
        fmean(turn.requests_per_second for turn in single),
        fmean(turn.requests_per_second for turn in several),
    )


def export(revision: str, folder: Path) -> None:
    """Write the files of a revision to `folder`. Raises `RuntimeError` if there is none."""
    done = subprocess.run(
        ["git", "-C", str(HERE), "archive", "--format=tar", revision],
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"there are no files of revision {revision}: {done.stderr.decode().strip()}; fetch it, "
            "or name a checkout with --old"
        )
    subprocess.run(["tar", "-xf", "-", "-C", str(folder)], input=done.stdout, check=True)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog=SCRIPTS["frontend"], description=__doc__)
    parser.add_argument("--bundle", default="retort-small", help="whose tokenizer is used")
    parser.add_argument("--revision", default=SINGLE_PROCESS, help="the single-process server's")
    parser.add_argument("--old", type=Path, help="a checkout of it, in place of the revision")
    parser.add_argument("--new", type=Path, default=HERE, help="the checkout to measure")
    parser.add_argument("--workers", type=int, help="front ends of the new one; unset: its default")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--output", type=Path, help="page for the section, the record next to it")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure; print the tables, and write them into the page."""
    options = parse(arguments)
    with tempfile.TemporaryDirectory() as work:
        old = options.old or Path(work)
        if options.old is None:
            export(options.revision, old)
        found = measure(options, old, lambda line: print(line, flush=True))
    print(to_markdown([found]))
    if options.output is not None:
        publish(options.output, [found])


if __name__ == "__main__":
    main()
