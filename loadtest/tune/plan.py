"""The plan: how long and how often a tuning run measures."""

from __future__ import annotations

from dataclasses import dataclass

from retort.loadtest.tune.lane import WARMUP_S

# Measured: what loading and warming a small student takes, and starting and ending Locust.
LOAD_S, LOCUST_S = 6.0, 2.0
# Misses are probed again.
REPEATED = 1.3


@dataclass(frozen=True, slots=True)
class Plan:
    """Times in seconds.

    Of the `axes` the first so many are tried; `leaders` go from one to the next, `finalists` into
    the contest of servers.
    """

    rounds: int = 3
    turn_s: float = 1.0
    clients: int = 8
    axes: int = 3
    leaders: int = 2
    finalists: int = 3
    probes: int = 5  # of each server in a rung
    probe_s: float = 3.0  # of the first rung; each rung's are twice as long as the last one's
    warmup_s: float = 1.0

    def about_s(self, engines: int, variants: int) -> float:
        """About how long it takes with so many engines, and variants of a leader on all axes."""
        candidates = engines + self.leaders * variants
        screening = candidates * (LOAD_S + 2 * self.rounds * (self.turn_s + WARMUP_S))
        servers, trials = self.finalists, 0.0
        seconds = self.probe_s
        while True:
            a_probe = seconds + self.warmup_s + LOCUST_S
            trials += (servers + 1) * self.probes * REPEATED * a_probe
            if servers <= 1:
                return screening + (self.finalists + 1) * LOAD_S + trials
            servers, seconds = (servers + 1) // 2, 2 * seconds


# Enough to see that everything works and roughly what is fast; p99 of so few requests is a guess.
QUICK = Plan(
    rounds=1, turn_s=0.4, axes=2, leaders=1, finalists=2, probes=3, probe_s=2.0, warmup_s=0.5
)
