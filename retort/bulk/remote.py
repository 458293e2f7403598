"""Scoring over HTTP: pairs go to a running server, a request per query, several at once.

What the server refuses for the moment is asked again when it says (`Retry-After`). What is too
large for it, or is not answered in time, is asked in halves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

import anyio
import numpy as np
from anyio.from_thread import start_blocking_portal

from retort.bulk.scoring import Job, Pair, PairScores, Prepared, pipelined
from retort.client import (
    Answer,
    AsyncClient,
    DeadlinePassed,
    InvalidRequest,
    RunningModel,
    ServerInfo,
    TooLarge,
)
from retort.client.retry import Clock, backoff

Result = TypeVar("Result")

# For a request with all its attempts: a server that is replaced is back by then.
TIMEOUT_SECONDS = 600.0
ATTEMPTS = 1_000
# So often a pair is asked again that was not answered in time; in smaller requests, if it can be.
LATE_ATTEMPTS = 4

# Who answers to the name that is asked for, which may be another name of it, is told by an answer.
PROBE = ("who wrote hamlet", ("Shakespeare did.",))


class OtherModel(ValueError):
    """The server answers with another model than it began with."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query with its passages, and where in its list they begin."""

    query: str
    passages: tuple[str, ...]
    start: int

    @property
    def rows(self) -> range:
        return range(self.start, self.start + len(self.passages))

    def halves(self) -> tuple[_Asked, ...]:
        """The same as two; as it is if there is one passage."""
        middle = len(self.passages) // 2
        if not middle:
            return (self,)
        first, second = self.passages[:middle], self.passages[middle:]
        return (
            _Asked(self.query, first, self.start),
            _Asked(self.query, second, self.start + middle),
        )


# What was asked, at last, with its answer or why there is none.
_Told = tuple[_Asked, Answer | str]


class RemoteScorer:
    """Scores with the server at `url`; at most `concurrency` requests are under way.

    `model` is one of those it serves, None the first. Raises `RetortError` if it does not answer,
    or does not serve that.
    """

    def __init__(self, url: str, model: str | None = None, concurrency: int = 8) -> None:
        self._client = AsyncClient(url, timeout=TIMEOUT_SECONDS, attempts=ATTEMPTS, concurrency=1)
        self._workers = concurrency
        self._asked = model
        self._clock = Clock()
        self._flying: set[Future[Any]] = set()
        self._aborted = False
        self._open = ExitStack()
        # Requests are awaited in a thread of their own: there, unlike in one that waits for a
        # socket, they can be ended at any moment.
        self._portal = self._open.enter_context(start_blocking_portal())
        try:
            self._info = self._wait(self._client.info)
            probe = self._wait(partial(self._client.ask, *PROBE, model=model))
            self._model = (probe.model, probe.version)
        except BaseException:
            self.close()
            raise

    @property
    def identity(self) -> Mapping[str, Any]:
        """The server's model, and what else the server tells of how it scores."""
        return {
            "model of a server": " ".join(self._model),
            **_told_by(self._info, self._model[0]),
        }

    def stream(
        self, jobs: Iterable[Job], pairs_of: Callable[[Job], Sequence[Pair]]
    ) -> Generator[tuple[Job, PairScores]]:
        """Each job with the scores of its pairs, in order."""

        self._aborted = False

        def prepare(job: Job) -> Prepared[_Asked, list[_Told], PairScores]:
            pairs = pairs_of(job)
            return Prepared(list(_by_query(pairs)), partial(_finish, len(pairs)))

        def ask(asked: _Asked) -> list[_Told]:
            return self._wait(partial(self._ask, asked))

        return pipelined(jobs, prepare, ask, self._workers, self._abort)

    def close(self) -> None:
        """Close the connections."""
        self._abort()
        self._portal.call(self._client.aclose)
        self._open.close()

    def _wait(self, function: Callable[[], Awaitable[Result]]) -> Result:
        """What `function` gives. Raises `CancelledError` after `_abort`."""
        future = self._portal.start_task_soon(function)
        self._flying.add(future)
        # Not when this ends: an interrupt may end it while the request is still under way.
        future.add_done_callback(self._flying.discard)
        if self._aborted:
            future.cancel()
        return future.result()

    def _abort(self) -> None:
        """End the requests that are under way, and those that a worker is about to begin."""
        self._aborted = True
        for future in tuple(self._flying):
            future.cancel()

    async def _ask(self, asked: _Asked, late: int = 0) -> list[_Told]:
        """The answers to all passages, or why there is none. Raises `RetortError`.

        `late` says how often what these passages were in was not answered in time.
        """
        try:
            return [(asked, await self._answer(asked))]
        except (InvalidRequest, TooLarge) as error:
            # What one pair alone is refused for is that row's fault, and no other's.
            of_query = error.param == "query"
            if isinstance(error, InvalidRequest) and not of_query and not _of_passages(error):
                raise
            if of_query or len(asked.passages) == 1:
                return [(asked, str(error))]
        except DeadlinePassed:
            if late >= LATE_ATTEMPTS and len(asked.passages) == 1:
                raise
            late += 1
            await anyio.sleep(backoff(late, self._clock))
        return [told for half in asked.halves() for told in await self._ask(half, late)]

    async def _answer(self, asked: _Asked) -> Answer:
        answer = await self._client.ask(asked.query, asked.passages, model=self._asked)
        if (answer.model, answer.version) != self._model:
            raise OtherModel(
                f"the server now answers with {answer.model} {answer.version}, and began with "
                f"{' '.join(self._model)}: scores of two models are not mixed. Remove the folder "
                "of parts to begin anew"
            )
        return answer


def _told_by(info: ServerInfo, model: str) -> dict[str, Any]:
    """What a server tells of how it scores, as far as scores depend on it."""
    limits = info.limits
    student = next((one for one in info.models if one.name == model), None)
    return {
        "mode of a server": info.mode,
        "windows of a server": [limits.max_windows, limits.overlap_tokens, limits.window_score],
        "bundle of a server": _described(student),
        "teacher of a server": None if info.mode == "student" else _described(info.teacher),
    }


def _described(running: RunningModel | None) -> list[Any]:
    """Bundle and backend; what differs without any difference in scores is left out."""
    if running is None:
        return []
    bundle = running.model
    named = [] if bundle is None else [bundle.name, bundle.version]
    backend = running.backend or {}
    how = [backend.get(name) for name in ("backend", "provider", "precision")]
    return [*named, running.digest, running.url, *how]


def _of_passages(error: InvalidRequest) -> bool:
    return (error.param or "").startswith("passages")


def _by_query(pairs: Sequence[Pair]) -> Iterator[_Asked]:
    start = 0
    for query, own in groupby(pairs, key=lambda pair: pair[0]):
        passages = tuple(passage for _, passage in own)
        yield _Asked(query, passages, start)
        start += len(passages)


def _finish(count: int, told: Sequence[Sequence[_Told]]) -> PairScores:
    score, spread = np.full((2, count), np.nan)
    problems: dict[int, str] = {}
    for asked, answer in (pair for own in told for pair in own):
        if isinstance(answer, str):
            problems |= dict.fromkeys(asked.rows, answer)
            continue
        for result in answer.results:
            score[asked.start + result.index] = result.score
            spread[asked.start + result.index] = result.spread
        problems |= {asked.start + lost.index: lost.message for lost in answer.unscored}
    return PairScores(score, spread, problems)
