"""The lane: one candidate in this process, through the real queue and policy but without HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle
from time import perf_counter

from retort.loadtest.step import OK, Answer, Taken
from retort.loadtest.texts import Request
from retort.loadtest.tune.candidate import Candidate
from retort.models.bundle import Bundle
from retort.models.errors import BundleError, StartError
from retort.models.runtime.base import Backend, BackendInfo
from retort.service.engine.scorer import Scorer
from retort.service.errors import InferenceFailed
from retort.service.loading import Loaded, load
from retort.service.metrics import Metrics
from retort.service.settings import Settings

# Nothing is refused and nothing is late: a lane finds out what can be done at most.
LIMIT_TOKENS, TIMEOUT_S = 2**31, 600.0
# A new worker has buffers to make, and the threads of the lane before spin for a while yet.
WARMUP_S = 0.2

BackendKey = tuple[BackendInfo | None, int | None, int | None]


@dataclass(frozen=True, slots=True)
class Turn:
    """What a lane did in its turn: pairs a second, and the seconds of each request."""

    pairs_per_second: float
    latencies: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Lane:
    """A candidate that is loaded, has reproduced the golden pairs and is warm."""

    candidate: Candidate
    loaded: Loaded

    def turn(self, requests: Sequence[Request], clients: int, seconds: float) -> Turn:
        """`clients` ask again as soon as they are answered. Raises `ServiceError`."""
        return asyncio.run(_turn(self.loaded, requests, clients, seconds))


@dataclass(slots=True)
class Garage:
    """Makes lanes; those that differ in the policy alone share a backend.

    `backends` holds what is loaded, by engine, threads and streams; tests put their own in.
    """

    bundle: Bundle
    backends: dict[BackendKey, Backend] = field(default_factory=dict)

    def lane(self, candidate: Candidate) -> Lane:
        """Load it and check it.

        Raises `StartError` if it cannot run here, does not reproduce the golden pairs, or ranks
        unlike the original in its precision, and `BundleError` if the bundle is bad.
        """
        settings = Settings(**candidate.settings)
        key = (candidate.engine, candidate.threads, candidate.streams)
        try:
            loaded = load(settings, self.bundle, self.backends.get(key))
        except (StartError, BundleError):
            raise
        except Exception as error:
            # A runtime raises what it likes, for instance at a batch that its memory cannot hold.
            raise StartError(f"{type(error).__name__} while warming up: {error}") from error
        self.backends[key] = loaded.chosen.backend
        return Lane(candidate, loaded)

    def keep(self, lanes: Sequence[Lane]) -> None:
        """Let go of every backend that none of these lanes uses."""
        used = {id(lane.loaded.chosen.backend) for lane in lanes}
        self.backends = {k: b for k, b in self.backends.items() if id(b) in used}


async def _turn(loaded: Loaded, requests: Sequence[Request], clients: int, seconds: float) -> Turn:
    scorer = Scorer(
        loaded.encoder,
        loaded.chosen.backend,
        loaded.policy,
        Metrics(),
        limit_tokens=LIMIT_TOKENS,
        slots=loaded.slots,
        streams=loaded.streams,
        seconds_per_token=loaded.seconds_per_token,
    )
    waiting = cycle(requests)
    answers: list[Answer] = []
    start = perf_counter() + WARMUP_S

    async def client() -> None:
        while (asked := perf_counter() - start) < seconds:
            request = next(waiting)
            outcome = await scorer.score(request.query, request.passages, TIMEOUT_S)
            if outcome.errors:
                raise InferenceFailed(next(iter(outcome.errors.values())))
            done = perf_counter() - start
            answers.append(Answer(asked, asked, done, OK, len(request.passages)))

    try:
        await asyncio.gather(*(client() for _ in range(clients)))
    finally:
        await scorer.close()
    taken = Taken("closed", seconds, tuple(answers), cpu=0.0)
    # One request may take longer than the turn; then it is the one that began in the warm-up.
    latencies = taken.latencies or [answer.done - answer.due for answer in answers]
    return Turn(taken.pairs_per_second, tuple(latencies))
