"""The outcome: which settings won, by how much, and what else was measured on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from retort.loadtest.tune.candidate import DEFAULTS, Candidate
from retort.loadtest.tune.screen import Heat
from retort.loadtest.tune.search import Probe, Rung, nearest


@dataclass(frozen=True, slots=True)
class Setup:
    """What was tuned, where, for what and how."""

    bundle: str  # as it was asked for: what the settings file will say
    described: str  # its name and version
    machine: str
    load: str
    target_ms: float
    created: str
    command: str


@dataclass(frozen=True, slots=True)
class Place:
    """A server's place in a rung: the highest rate that met the target, the lowest that did not."""

    candidate: Candidate
    met: Probe | None
    missed: Probe | None

    @property
    def rate(self) -> float:
        """Requests a second within the target; 0 if there is no such rate."""
        return self.met.rate if self.met else 0.0


@dataclass(frozen=True, slots=True)
class Standings:
    """A rung, the best server first."""

    seconds: float
    places: tuple[Place, ...]

    @classmethod
    def of(cls, rung: Rung[Candidate]) -> Standings:
        """Sum up a rung. Of equals the defaults come first: to change them there must be gain."""
        places = [
            Place(candidate, search.met, search.missed)
            for candidate, search in rung.searches.items()
        ]
        places.sort(key=lambda place: (-place.rate, place.candidate != DEFAULTS))
        return cls(rung.seconds, tuple(places))


class TargetMissed(RuntimeError):
    """No server met the target; the message says what came nearest."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `retort tune` found. `settings` are the winner's, the engine always among them."""

    setup: Setup
    heats: tuple[Heat, ...]
    rungs: tuple[Standings, ...]
    settings: dict[str, Any]

    @property
    def winner(self) -> Place:
        """The best of the last rung."""
        return self.rungs[-1].places[0]

    @property
    def defaults(self) -> Place:
        """The server that was told nothing, measured beside the winner in the last rung."""
        return next(place for place in self.rungs[-1].places if place.candidate == DEFAULTS)

    @property
    def gain(self) -> float | None:
        """The winner's rate over that of the defaults; None if those met the target at none."""
        return self.winner.rate / self.defaults.rate if self.defaults.rate else None

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return {**asdict(self), "gain": self.gain}


def require_met(rungs: Sequence[Standings], probed: Sequence[Probe], target_ms: float) -> None:
    """Raise `TargetMissed` unless some server met the target in the last rung."""
    if any(place.met for place in rungs[-1].places):
        return
    near = nearest(probed)
    if near is None or near.p99_ms is None:
        found = "at every rate more than one request of a hundred was not answered in time"
    else:
        found = f"the nearest was {near.p99_ms:.1f} ms at {near.rate:.2f} requests a second"
    raise TargetMissed(
        f"no settings keep the p99 within {target_ms:g} ms: {found}; allow more with --p99-ms, "
        "or send requests of fewer passages"
    )
