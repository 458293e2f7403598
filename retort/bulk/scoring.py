"""Scoring in this process: lists of pairs in, arrays out, with every core at work.

While a list is scored, the next one is read and tokenized. Pairs of like length share a batch, and
which pairs share one depends on their list alone, so the same list has the same scores to the bit.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from retort.models.arrays import FloatArray, LogitArray
from retort.models.encoding import EncodedPair
from retort.models.reading.windows import READING, Reading
from retort.models.runtime.base import DIRECT_PAIRS, each_stream, in_order, like_length
from retort.ranker import EncodedPassages, Ranker, WordlessQuery

# What a GPU takes at once: up to there it is faster than it can be given work.
GPU_PAIRS = 256

Pair = tuple[str, str]
Job = TypeVar("Job")
Task = TypeVar("Task")
Result = TypeVar("Result")
Done = TypeVar("Done")


@dataclass(frozen=True, slots=True)
class PairScores:
    """Scores and spreads (pairs,); NaN for a pair that has none, with the reason by its index."""

    score: FloatArray
    spread: FloatArray
    problems: Mapping[int, str] = field(default_factory=dict)


class Scorer(Protocol):
    """Scores lists of pairs, several at once."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What scores: by this, another bundle or backend is noticed."""
        ...

    def stream(
        self, jobs: Iterable[Job], pairs_of: Callable[[Job], Sequence[Pair]]
    ) -> Generator[tuple[Job, PairScores]]:
        """Each job with the scores of its pairs, in whatever order they are done."""
        ...

    def close(self) -> None:
        """Close what is open: nothing is scored any more."""
        ...


class LocalScorer:
    """Scores with a ranker of this process, to be made once per process.

    >>> import retort
    >>> scorer = LocalScorer(retort.load("retort-small"))
    >>> scorer.score([("who wrote hamlet", "Shakespeare did."), ("?!", "Yes.")]).problems
    {1: "query '?!': it has no letter and no digit"}
    """

    def __init__(self, ranker: Ranker, reading: Reading = READING) -> None:
        self.ranker = ranker
        self._reading = reading
        gpu = ranker.backend.info.on_gpu
        self._at_once = GPU_PAIRS if gpu else DIRECT_PAIRS
        # One more than run at once, so that the next batch is laid out when one ends.
        self._workers = len(each_stream(ranker.backend)) + 1
        if not gpu:
            # The backend has every core already: tokenizing on all of them gets in its way.
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

    @property
    def identity(self) -> Mapping[str, Any]:
        """The bundle and the backend."""
        bundle = self.ranker.bundle
        name = f"{bundle.manifest.name} {bundle.manifest.version} ({bundle.digest[:16]})"
        return {"bundle": name, "backend": str(self.ranker.info)}

    def score(self, pairs: Sequence[Pair]) -> PairScores:
        """The scores of a list of pairs of a query and a passage, in their order."""
        ((_, scores),) = self.stream([pairs], lambda job: job)
        return scores

    def stream(
        self, jobs: Iterable[Job], pairs_of: Callable[[Job], Sequence[Pair]]
    ) -> Generator[tuple[Job, PairScores]]:
        """Each job with the scores of its pairs, in order."""

        def prepare(job: Job) -> Prepared[Sequence[EncodedPair], LogitArray, PairScores]:
            return self._prepare(pairs_of(job))

        return pipelined(jobs, prepare, self._infer, self._workers)

    def close(self) -> None:
        """Nothing is open."""

    def _prepare(
        self, pairs: Sequence[Pair]
    ) -> Prepared[Sequence[EncodedPair], LogitArray, PairScores]:
        rows = list(range(len(pairs)))
        problems: dict[int, str] = {}
        try:
            encoded = self._encode(pairs)
        except WordlessQuery as error:
            wordless = [row for row in rows if pairs[row][0] in error.queries]
            problems = {row: str(WordlessQuery([pairs[row][0]])) for row in wordless}
            rows = [row for row in rows if row not in problems]
            encoded = self._encode([pairs[row] for row in rows])
        batches = like_length(encoded.pairs, self._at_once)
        tasks = [[encoded.pairs[index] for index in batch] for batch in batches]
        return Prepared(tasks, partial(self._finish, len(pairs), rows, problems, encoded, batches))

    def _encode(self, pairs: Sequence[Pair]) -> EncodedPassages:
        queries, passages = zip(*pairs, strict=True) if pairs else ((), ())
        return self.ranker.encode(queries, passages, self._reading)

    def _infer(self, pairs: Sequence[EncodedPair]) -> LogitArray:
        return self.ranker.backend.infer(self.ranker.encoder.collate(pairs))

    def _finish(
        self,
        count: int,
        rows: Sequence[int],
        problems: Mapping[int, str],
        encoded: EncodedPassages,
        batches: Sequence[Sequence[int]],
        logits: Sequence[LogitArray],
    ) -> PairScores:
        every = in_order(batches, logits) if logits else None
        scores, spreads, lost, _ = self.ranker.gather(encoded, every)
        score, spread = np.full((2, count), np.nan)
        score[rows], spread[rows] = scores, spreads
        unfinite = {rows[index]: "the model gave no finite score" for index in lost}
        score[list(unfinite)] = np.nan
        return PairScores(score, spread, {**problems, **unfinite})


def score_rows(ranker: Ranker, pairs: Sequence[Pair], reading: Reading = READING) -> PairScores:
    """Score pairs of a query and a passage with a ranker, on all cores.

    Scores are those of `Ranker.rank`, to float rounding of other batches.
    """
    return LocalScorer(ranker, reading).score(pairs)


@dataclass(frozen=True, slots=True)
class Prepared(Generic[Task, Result, Done]):
    """A job as tasks that can be done at once, and what makes their results those of the job."""

    tasks: Sequence[Task]
    finish: Callable[[Sequence[Result]], Done]


def pipelined(
    jobs: Iterable[Job],
    prepare: Callable[[Job], Prepared[Task, Result, Done]],
    run: Callable[[Task], Result],
    workers: int,
    abort: Callable[[], None] = lambda: None,
) -> Generator[tuple[Job, Done]]:
    """Each job with what came of it, in order; `workers` tasks are run at once.

    `abort` is called where it ends before the last job: it ends the tasks that would take long.

    The tasks of two jobs are under way, so that none of the workers waits for the last of a job,
    and another job is being prepared: no more of them is in memory.
    """
    coming = iter(jobs)

    def ahead() -> tuple[Job, Prepared[Task, Result, Done]] | None:
        for job in coming:
            return job, prepare(job)
        return None

    reader = ThreadPoolExecutor(1, "retort-read")
    pool = ThreadPoolExecutor(workers, "retort-score")
    active: deque[tuple[Job, Prepared[Task, Result, Done], list[Future[Result]]]] = deque()
    try:
        following = reader.submit(ahead)
        while (found := following.result()) or active:
            if found:
                following = reader.submit(ahead)
                job, prepared = found
                active.append((job, prepared, [pool.submit(run, t) for t in prepared.tasks]))
            if active and (len(active) > 1 or not found):
                job, prepared, futures = active.popleft()
                yield job, prepared.finish([future.result() for future in futures])
    except BaseException:
        abort()
        raise
    finally:
        reader.shutdown(cancel_futures=True)
        pool.shutdown(cancel_futures=True)
