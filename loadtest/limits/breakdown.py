"""The breakdown: where a request's time goes, stage by stage, alone and among many.

Stages are the server's own (`retort_stage_seconds`), as the mean over requests; what the handler
does besides is parsing, waking up and writing the answer; what the client sees besides is HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass

from retort.loadtest.counters import Counters
from retort.loadtest.extract import read_ranking_requests
from retort.loadtest.limits.found import Finding
from retort.loadtest.limits.ground import Ground
from retort.loadtest.step import OK, Taken

PASSAGES = 10
STAGES = {
    "tokenize": "tokenizing",
    "queue": "waiting for the first batch",
    "infer": "from the first batch to the last score",
}


@dataclass(frozen=True, slots=True)
class Shares:
    """Mean seconds of a request by what they went into, and all that the client waited."""

    load: str
    parts: tuple[tuple[str, float], ...]
    seen: float

    @classmethod
    def of(cls, load: str, counted: Counters, taken: Taken) -> Shares:
        """Sum up one stretch of load. Raises `ValueError` if nothing was answered."""
        right = [a.done - a.sent for a in taken.answers if a.status == OK]
        if not right:
            raise ValueError(f"no request was answered with 200: {taken.statuses}")
        seen = sum(right) / len(right)
        stages = {text: counted.mean_seconds(name) for name, text in STAGES.items()}
        total = counted.mean_seconds("total")
        handler = max(0.0, total - sum(stages.values()))
        parts = (
            *stages.items(),
            ("parsing, waking up, answering", handler),
            ("HTTP and the client", max(0.0, seen - total)),
        )
        return cls(load, parts, seen)


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The shares under each load."""

    shares: tuple[Shares, ...]
    described: str

    def finding(self) -> Finding:
        """A table: a line for each part, two columns for each load."""
        names = [name for name, _ in self.shares[0].parts]
        head = ["A request's time goes into"]
        for shares in self.shares:
            head += [f"{shares.load}, ms", "share"]
        lines = [head]
        for number, name in enumerate(names):
            line = [name]
            for shares in self.shares:
                seconds = shares.parts[number][1]
                line += [f"{seconds * 1e3:.2f}", f"{seconds / shares.seen:.1%}"]
            lines.append(line)
        whole = ["all of it, as the client sees it"]
        for shares in self.shares:
            whole += [f"{shares.seen * 1e3:.2f}", ""]
        lines.append(whole)
        note = f"Where the time goes: {self.described}; means over requests."
        return Finding("breakdown", (), (note,), tuple(tuple(line) for line in lines))


def measure_breakdown(ground: Ground) -> Breakdown:
    """One client, then many. Raises `ValueError` if none was answered."""
    options = ground.options
    requests = read_ranking_requests(options.pairs, passages=PASSAGES)
    found = []
    for clients in (1, options.clients):
        load = f"{clients} client{'s' * (clients > 1)}"
        ground.progress(f"where the time goes: {load}")
        before = ground.counters()
        taken = ground.step(requests, "closed", users=clients)
        found.append(Shares.of(load, ground.counters().since(before), taken))
    return Breakdown(tuple(found), f"{PASSAGES} real passages a request")
