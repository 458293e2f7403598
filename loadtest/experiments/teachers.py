"""The load test: the student compared with its teachers, over HTTP, with Locust.

    student        retort serve
    shadow         the same with a share of its requests scored by the teacher too
    teacher        one teacher, PyTorch fp32 behind FastAPI
    ensemble       several, their scores averaged
    same-backend   a teacher's bundle, on the backend that the student runs on, in the fastest
                   precision in which it ranks as its original
    bert-large     a BERT-large of random weights, on that backend

All run at once and wait; only the one whose turn it is has work. Traffic: real questions with a set
number of passages. Loads: a closed one per round on every server, from which speedups come; then
open ones on student and teacher at shares of what each managed, from which latencies come.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from retort.loadtest.load import Outcome, Step, require_answers, run_step
from retort.loadtest.options import LoadtestOptions
from retort.loadtest.result import OPEN_COLUMNS, Column, Measurement, Plot, Setup, Table
from retort.loadtest.rounds import Log, OpenLoad, Spread, ratio_of_means, take_turns
from retort.loadtest.servers import Server, shadow_outcomes
from retort.loadtest.targets import PATIENT, Target, serve
from retort.loadtest.traffic import Traffic, real
from retort.models.bundle import Bundle, find_bundle, read_bundle
from retort.plots import Axis, Line, Panel

Shape = Literal["minilm-l6", "bert-large"]

# Shares of a server's own capacity; the last is more than it can do.
SHARES = (0.25, 0.5, 0.75, 0.9, 1.1)
LADDER = ("student", "teacher", "same-backend")
# Its golden pairs and its warm-up take a BERT-large over a minute on two cores.
READY_TIMEOUT_S = 600.0
# Measured: writing a BERT-large's graph took 9.8 GB.
LARGE_BYTES = 11 * 10**9
SPEEDUP_COLUMNS = (Column("the student against"), Column("times as many pairs/s [95%]", "times"))
SHADOWING_COLUMNS = (
    Column("cost of shadowing"), Column("share of the student's pairs/s [95%]", "share"),
    Column("shadowed requests"),
)  # fmt: skip
THROUGHPUT_COLUMNS = (
    Column("server"), Column("pairs/s, median [lowest, highest]", "pairs/s"),
    Column("errors", "share"), Column("what runs"),
)  # fmt: skip
LATENCY_COLUMNS = (Column("server"), Column("requests/s due", "requests/s"), *OPEN_COLUMNS)


def about_s(options: LoadtestOptions) -> float:
    """About how long it takes: the steps, a start of Locust for each, slow servers' tails."""
    closed = 1 + (options.shadow > 0) + options.same_backend
    slow = 1 + options.ensemble + options.bert_large
    round_s = (closed + slow) * (options.seconds + 3.0) + slow * 5.0
    ladder_s = len(SHARES) * (2 + options.same_backend) * (options.load_seconds + 3.0)
    return (
        15.0 * (closed + slow)
        + options.rounds * round_s
        + (ladder_s if options.load_seconds else 0.0)
    )


@dataclass(slots=True)
class Lineup:
    """The servers by name, their labels and what each runs. They stop when `stack` closes.

    A label that ends in "(shape only)" is of random weights: the scores mean nothing.
    """

    options: LoadtestOptions
    student: Bundle
    stack: ExitStack
    log: Log
    servers: dict[str, Server] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    _backend: dict[str, str] = field(default_factory=dict)

    def start(self) -> None:
        """Start all of them. Raises `RuntimeError` with its words if one does not start."""
        options, student = self.options, self.student
        self._serve("student", "student", student)
        # Before the others run: writing its graph takes memory.
        large = self._shape("bert-large") if options.bert_large and self._has_room() else None
        if options.same_backend or options.shadow > 0:
            given = options.teacher_bundle
            teacher = read_bundle(find_bundle(given)) if given else self._shape("minilm-l6")
            if options.shadow > 0:
                label = f"student, shadowing {options.shadow:.2%} of requests"
                flags = ["--teacher", str(teacher.folder), "--shadow", str(options.shadow)]
                for setting in ("backend", "provider"):
                    flags += [f"--teacher-{setting}", self._backend[setting]]
                self._serve("shadow", label, student, *flags)
            if options.same_backend:
                label = "teacher, same backend"
                self._serve("same-backend", label, teacher, shape_only=given is None)
        self._teach("teacher", "one teacher, PyTorch fp32", options.teacher)
        if members := options.members:
            label = f"ensemble of {len(members)} teachers, PyTorch fp32"
            self._teach("ensemble", label, *members)
        if large is not None:
            self._serve("bert-large", "BERT-large, same backend", large, shape_only=True)

    def _has_room(self) -> bool:
        import psutil

        free = psutil.virtual_memory().available
        if free >= LARGE_BYTES:
            return True
        self.log(
            f"leaving out BERT-large: {free / 1e9:.1f} GB of memory are free, writing its graph "
            f"takes {LARGE_BYTES / 1e9:.0f} GB"
        )
        return False

    def _shape(self, shape: Shape) -> Bundle:
        """A bundle of random weights in that shape; how long a pair takes does not depend on them.

        It is made by a process of its own, with which the memory goes that this takes.
        """
        self.log(f"making a bundle of random weights, {shape}")
        folder = self.options.work / f"{shape}-untaught"
        command = [sys.executable, "-m", "retort", "shape-bundle", shape, str(folder)]
        like = ["--like", str(self.student.folder)]
        done = subprocess.run([*command, *like], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"no bundle in the shape {shape} could be made: {done.stderr}")
        return read_bundle(folder)

    def _serve(
        self, name: str, label: str, bundle: Bundle, *options: str, shape_only: bool = False
    ) -> None:
        # A taught bundle ranks rightly in some precisions only; its server finds out in which.
        own_precision = name == "same-backend" and not shape_only
        same = {k: v for k, v in self._backend.items() if k != "precision" or not own_precision}
        flags = [part for key, value in same.items() for part in (f"--{key}", value)]
        target = serve(bundle.folder, *PATIENT, *flags, *options, name=name, label=label)
        found = self._start(target, shape_only).backend()
        backend = {key: found[key] for key in ("backend", "provider", "precision")}
        if name == "student":
            # The others have to run on what the student's server has chosen, too.
            self._backend = backend
        manifest, size = bundle.manifest, bundle.manifest.architecture
        self.runs[name] = (
            f"{manifest.name} {manifest.version}, {size.layers} layers of {size.width}, "
            f"{'/'.join(backend.values())}"
        )

    def _teach(self, name: str, label: str, *specs: str) -> None:
        length = str(self.student.manifest.truncation.max_length)
        command = (sys.executable, "-m", "retort", "teacher-server", *specs, "--max-length", length)
        info = self._start(Target(name, label, command)).get_json("/info")
        if info["shape_only"]:
            self.labels[name] = f"{label} (shape only)"
        self.runs[name] = f"{info['model']}; {info['engine']}"

    def _start(self, target: Target, shape_only: bool = False) -> Server:
        self.log(f"starting {target.label}")
        server = self.stack.enter_context(Server(target, ready_timeout_s=READY_TIMEOUT_S))
        self.servers[target.name] = server
        self.labels[target.name] = target.label + " (shape only)" * shape_only
        return server


def measure(
    options: LoadtestOptions,
    traffic: Traffic,
    servers: Mapping[str, Server],
    log: Log,
    run: Callable[[Step], Outcome],
) -> tuple[dict[str, list[Outcome]], list[tuple[str, OpenLoad]]]:
    """Closed loads in turn, then open ones; outcomes by server, one per round, and open loads.

    Raises `RuntimeError` if a server answers nothing under closed load, or if no request was due
    in an open one.
    """

    def closed(server: Server) -> Outcome:
        step = server.step(traffic.requests, seconds=options.seconds, users=options.users)
        return require_answers(server.target.label, run(step))

    turns = {name: partial(closed, server) for name, server in servers.items()}
    rounds = take_turns(turns, options.rounds, log)
    points = []
    for share in SHARES if options.load_seconds else ():
        for name in (name for name in LADDER if name in servers):
            rates = [outcome.pairs_per_second for outcome in rounds[name]]
            rate = share * Spread.over(rates).value / traffic.pairs
            log(f"{rate:.1f} requests per second: {servers[name].target.label}")
            step = servers[name].step(
                traffic.requests,
                seconds=options.load_seconds,
                loop="open",
                rate=rate,
                arrivals=options.arrivals,
            )
            points.append((name, OpenLoad.of(rate, run(step))))
    return rounds, points


def tables(
    labels: Mapping[str, str],
    runs: Mapping[str, str],
    rounds: Mapping[str, Sequence[Outcome]],
    points: Sequence[tuple[str, OpenLoad]],
    *,
    users: int,
    shadowed: Mapping[str, int],
) -> tuple[Table, ...]:
    """Speedups, the cost of shadowing, throughput, and latency against load."""
    rates = {name: [o.pairs_per_second for o in outcomes] for name, outcomes in rounds.items()}
    student = rates["student"]
    speedups = tuple(
        (labels[name], ratio_of_means(student, rates[name]))
        for name in ("teacher", "ensemble", "same-backend", "bert-large")
        if name in rates
    )
    found = [Table("speedups", SPEEDUP_COLUMNS, speedups, "Faster than a teacher")]
    if "shadow" in rates:
        left = ratio_of_means(rates["shadow"], student)
        loss = Spread(1 - left.value, 1 - left.high, 1 - left.low, left.rounds)
        counts = ", ".join(f"{count:,} {outcome}" for outcome, count in shadowed.items()) or "none"
        cost = (("lost by shadowing", loss, counts),)
        found.append(Table("shadowing", SHADOWING_COLUMNS, cost, "Cost of shadowing"))
    throughput = tuple(
        (labels[name], Spread.over(rates[name]), _error_share(outcomes), runs[name])
        for name, outcomes in rounds.items()
    )
    title = f"Throughput, {users} users in a closed loop"
    found.append(Table("throughput", THROUGHPUT_COLUMNS, throughput, title))
    if points:
        title = "Latency against load, open loop"
        rows = [
            (labels[name], point.offered, *point.cells)
            for name in LADDER
            for each, point in points
            if each == name
        ]
        found.append(Table("latency", LATENCY_COLUMNS, tuple(rows), title))
    return tuple(found)


def _error_share(outcomes: Sequence[Outcome]) -> float:
    due = sum(len(outcome.due) for outcome in outcomes)
    return sum(outcome.failed for outcome in outcomes) / max(1, due)


def plot(latency: Table) -> Plot:
    """Latency and throughput against load, from the table of latencies."""
    servers = list(dict.fromkeys(row[0] for row in latency.rows))
    due = Axis("requests per second due", log=True)
    panels = []
    for place, title, y in (
        (3, "p50", Axis("ms", log=True)),
        (4, "p95", Axis("ms", log=True)),
        (5, "p99", Axis("ms", log=True)),
        (2, "Answered", Axis("pairs per second", log=True)),
    ):
        lines = []
        for number, server in enumerate(servers):
            points = [(row[1], row[place]) for row in latency.rows if row[0] == server]
            known = [(x, y) for x, y in points if isinstance(x, float) and isinstance(y, float)]
            lines.append(Line(str(server), tuple(known), f"c{number}", marked=True))
        panels.append(Panel(title, due, y, tuple(lines)))
    return Plot("loadtest", "Latency and throughput against load", tuple(panels))


def run_loadtest(options: LoadtestOptions, log: Log) -> Measurement:
    """Start everything, measure and sum up; `log` is called with each step.

    Raises `BundleError`, `ValueError` for texts that do not fit, and `RuntimeError` if a server
    does not start or does not answer.
    """
    log(f"this takes about {about_s(options) / 60:.0f} minutes")
    student = read_bundle(find_bundle(options.bundle))
    traffic = real(student.encoder(), options.pairs, passages=options.passages)
    with ExitStack() as stack:
        lineup = Lineup(options, student, stack, log)
        lineup.start()
        servers = lineup.servers
        run = partial(run_step, generator="locust")
        rounds, points = measure(options, traffic, servers, log, run)
        shadow = servers.get("shadow")
        shadowed = shadow_outcomes(shadow.text("/metrics")) if shadow else {}
    users = options.users
    found = tables(lineup.labels, lineup.runs, rounds, points, users=users, shadowed=shadowed)
    return Measurement(
        experiment="loadtest",
        part="loadtest",
        setup=Setup.now(lineup.runs["student"]),
        facts=_facts(options, traffic, rounds, points),
        tables=found,
        plots=(plot(found[-1]),) if points else (),
    )


def _facts(
    options: LoadtestOptions,
    traffic: Traffic,
    rounds: Mapping[str, Sequence[Outcome]],
    points: Sequence[tuple[str, OpenLoad]],
) -> tuple[str, ...]:
    cpu = max(outcome.cpu for outcomes in rounds.values() for outcome in outcomes)
    facts = [
        f"Load: {traffic.description}; {options.arrivals} arrivals in the open loop",
        f"{options.rounds} rounds, in each {options.seconds:g} s on every server",
    ]
    process = f"The load process used at most {cpu:.0%} of one core"
    if points:
        facts.append(
            f"Each arrival rate for {options.load_seconds:g} s; the rates are shares of what the "
            "server managed in the closed loop, the last more than it can do"
        )
        late = max(point.late_ms for _, point in points)
        process += f", and sent 99% of the requests within {late:.0f} ms of when they were due"
    return (*facts, process)
