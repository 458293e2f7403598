"""Scoring over HTTP: pairs go to a running server, a request per query, several at once.

What the server refuses for the moment is asked again when it says (`Retry-After`). A request that
is too large for it, or takes too long, is asked in halves.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby
from typing import Any

import numpy as np

from retort.bulk.scoring import Job, Pair, PairScores, Prepared, pipelined
from retort.client import (
    Answer,
    Client,
    DeadlinePassed,
    InvalidRequest,
    ServedModel,
    TooLarge,
)

# For a request with all its attempts: a server that is replaced is back by then.
TIMEOUT_SECONDS = 600.0
ATTEMPTS = 1_000


class OtherModel(ValueError):
    """The server answers with another model than it began with."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query with its passages, and where in its list they begin."""

    query: str
    passages: tuple[str, ...]
    start: int

    def halves(self) -> tuple[_Asked, _Asked]:
        """The same in two, of at least two passages."""
        middle = len(self.passages) // 2
        first, second = self.passages[:middle], self.passages[middle:]
        return _Asked(self.query, first, self.start), _Asked(
            self.query, second, self.start + middle
        )


# What came of a request, or of its parts: the answer, or why there is none.
Found = list[tuple[_Asked, Answer | str]]


class RemoteScorer:
    """Scores with the server at `url`; at most `concurrency` requests are under way.

    `model` is one of those it serves, None the first. Raises `RetortError` if it does not answer,
    `ValueError` if it does not serve that.
    """

    def __init__(self, url: str, model: str | None = None, concurrency: int = 8) -> None:
        self._client = Client(url, timeout=TIMEOUT_SECONDS, attempts=ATTEMPTS, concurrency=1)
        self._workers = concurrency
        self._asked = model
        try:
            self._model = self._served(url, model)
        except BaseException:
            self.close()
            raise

    @property
    def identity(self) -> Mapping[str, Any]:
        """The server's model."""
        return {"model of a server": f"{self._model.name} {self._model.version}"}

    def stream(
        self, jobs: Iterable[Job], pairs_of: Callable[[Job], Sequence[Pair]]
    ) -> Generator[tuple[Job, PairScores]]:
        """Each job with the scores of its pairs, in order."""

        def prepare(job: Job) -> Prepared[_Asked, Found, PairScores]:
            pairs = pairs_of(job)
            return Prepared(list(_by_query(pairs)), partial(_finish, len(pairs)))

        return pipelined(jobs, prepare, self._ask, self._workers, self.close)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _served(self, url: str, model: str | None) -> ServedModel:
        served = self._client.models()
        found = next((one for one in served if model in (None, one.name)), None)
        if found is None:
            names = ", ".join(one.name for one in served)
            raise ValueError(f"{url}: serves no model {model}, but {names}: give one of them")
        return found

    def _ask(self, asked: _Asked) -> Found:
        """The answers, or why the query has none; of halves where a request was too much."""
        try:
            answer = self._client.ask(asked.query, asked.passages, model=self._asked)
        except InvalidRequest as error:
            if error.param != "query":
                raise
            return [(asked, str(error))]
        except (TooLarge, DeadlinePassed):
            if len(asked.passages) == 1:
                raise
            return [found for half in asked.halves() for found in self._ask(half)]
        if (answer.model, answer.version) != (self._model.name, self._model.version):
            raise OtherModel(
                f"the server now answers with {answer.model} {answer.version}, and began with "
                f"{self._model.name} {self._model.version}: scores of two models are not mixed. "
                "Remove the folder of parts to begin anew"
            )
        return [(asked, answer)]


def _by_query(pairs: Sequence[Pair]) -> Iterator[_Asked]:
    start = 0
    for query, own in groupby(pairs, key=lambda pair: pair[0]):
        passages = tuple(passage for _, passage in own)
        yield _Asked(query, passages, start)
        start += len(passages)


def _finish(count: int, found: Sequence[Found]) -> PairScores:
    score, spread = np.full((2, count), np.nan)
    problems: dict[int, str] = {}
    for question, answer in chain.from_iterable(found):
        start = question.start
        if isinstance(answer, str):
            problems |= dict.fromkeys(range(start, start + len(question.passages)), answer)
            continue
        for result in answer.results:
            score[start + result.index] = result.score
            spread[start + result.index] = result.spread
        problems |= {start + lost.index: lost.message for lost in answer.unscored}
    return PairScores(score, spread, problems)
