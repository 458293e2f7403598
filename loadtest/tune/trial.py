"""The trial: a candidate as a real server, asked at a set rate whatever becomes of the requests."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from retort.loadtest.extract import bodies
from retort.loadtest.figures import percentile
from retort.loadtest.server import HOST, Server, serve_command
from retort.loadtest.step import Step, Taken, run_step
from retort.loadtest.tune.candidate import Candidate
from retort.loadtest.tune.search import Probe
from retort.loadtest.tune.trace import Trace
from retort.models.runtime.choose import Wish

READY_TIMEOUT_S = 300.0
# A request that is so much later than the target is as good as lost: give it up, so that a probe
# at too high a rate is over soon.
LOST_AFTER_TARGETS, LEAST_TIMEOUT_MS = 10, 1_000

Run = Callable[[Step], Taken]


class Trial:
    """A server with a candidate's settings; use it in a `with` block, inside which it is ready.

    `run` puts a step on it, in a process of its own. What `wish` asks for holds where the candidate
    says nothing.
    """

    def __init__(
        self,
        candidate: Candidate,
        bundle: str,
        target_ms: float,
        run: Run = run_step,
        wish: Wish | None = None,
    ) -> None:
        self.candidate = candidate
        self._timeout_ms = max(LEAST_TIMEOUT_MS, math.ceil(LOST_AFTER_TARGETS * target_ms))
        self._run = run
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name) / "settings.yaml"
        # Passages come back in a load test as they do not in life: nothing is kept of them.
        given = {**_asked(wish or Wish()), **candidate.settings}
        given |= {"passage_cache": 0, "timeout_ms": self._timeout_ms}
        file.write_text(yaml.safe_dump(given), encoding="utf-8")
        command = serve_command(bundle, "--settings", str(file), "--log-level", "warning")
        self._server = Server(command, READY_TIMEOUT_S)

    def __enter__(self) -> Self:
        """Raises `RuntimeError` with its words if the server does not start."""
        try:
            self._server.__enter__()
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop()
        self._folder.cleanup()

    def backend(self) -> dict[str, Any]:
        """What the server says of its backend."""
        return self._server.backend()

    def probe(
        self, trace: Trace, rate: float, seconds: float, *, warmup_s: float, seed: int
    ) -> Probe:
        """Ask `rate` times a second. Raises `RuntimeError` if the load cannot be sent."""
        step = Step(
            host=f"http://{HOST}:{self._server.port}",
            bodies=bodies(trace.requests),
            pairs=tuple(len(request.passages) for request in trace.requests),
            seconds=seconds,
            loop="open",
            rate=rate,
            warmup_s=warmup_s,
            timeout_s=2 * self._timeout_ms / 1e3,
            seed=seed,
        )
        return to_probe(rate, self._run(step))


def to_probe(rate: float, taken: Taken) -> Probe:
    """Sum up a step; a request that was not answered counts as one that took for ever."""
    latencies = taken.latencies
    failed = len(taken.due) - len(latencies)
    every = [*latencies, *[math.inf] * failed]

    def at(share: float) -> float | None:
        found = percentile(every, share) if every else math.inf
        return found * 1e3 if math.isfinite(found) else None

    return Probe(
        rate=rate,
        seconds=taken.seconds,
        requests=len(taken.due),
        pairs_per_second=taken.pairs_per_second,
        p50_ms=at(50),
        p99_ms=at(99),
        failed=failed,
    )


def _asked(wish: Wish) -> dict[str, Any]:
    engine = {"backend": wish.backend, "provider": wish.provider, "precision": wish.precision}
    return {name: value for name, value in engine.items() if value != "auto"}
