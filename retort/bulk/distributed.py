"""Scoring on a Ray cluster: every node opens the bundle once, and gives scores back."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from retort.bulk.scoring import Job, LocalScorer, Pair, PairScores
from retort.models.bundle import find_bundle, read_bundle
from retort.models.runtime.options import RuntimeOptions
from retort.parallel.cluster import Cluster
from retort.ranker import Ranker
from retort.rows import DataError


@dataclass(frozen=True, slots=True)
class Opening:
    """How a bundle is opened: by name or path, with what runs it, and the key that has signed it.

    Hashable, so that a process opens it once.
    """

    bundle: str
    runtime: RuntimeOptions
    trusted_key: Path | None
    cache: Path

    def open(self) -> LocalScorer:
        """The scorer, in this process. Raises `BundleError` or `StartError`."""
        found = read_bundle(find_bundle(self.bundle), key=self.trusted_key)
        return LocalScorer(Ranker(found, self.runtime, self.cache))


class ClusterScorer:
    """Scores with the processes of a cluster, as many as there are places for."""

    def __init__(self, cluster: Cluster, opening: Opening) -> None:
        self._cluster = cluster
        self._opening = opening

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """The bundle and the backend, as one of the nodes has them."""
        return self._cluster.call(_identity, self._opening)

    def stream(
        self, jobs: Iterable[Job], pairs_of: Callable[[Job], Sequence[Pair]]
    ) -> Generator[tuple[Job, PairScores]]:
        """Each job with the scores of its pairs, as they are done.

        Raises `DataError` if nodes have different bundles or backends, whose scores do not mix.
        """
        for job, (identity, scores) in self._cluster.each(_score, self._opening, jobs, pairs_of):
            if identity != self.identity:
                raise DataError(
                    f"nodes score differently: one by {dict(self.identity)}, another by "
                    f"{dict(identity)}. Name --backend and --precision, and copy the same bundle "
                    "to all"
                )
            yield job, scores

    def close(self) -> None:
        """Nothing is open: tasks end with `stream`."""


def _identity(opening: Opening) -> Mapping[str, Any]:
    return _scorer(opening).identity


def _score(opening: Opening, pairs: Sequence[Pair]) -> tuple[Mapping[str, Any], PairScores]:
    scorer = _scorer(opening)
    return scorer.identity, scorer.score(pairs)


@cache
def _scorer(opening: Opening) -> LocalScorer:
    """Opened once in each process of a node."""
    return opening.open()
