"""The ranker: a bundle in this process, for scripts and notebooks, without a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from retort.models.arrays import FloatArray
from retort.models.bundle import Bundle, find_bundle, read_bundle
from retort.models.encoding import EncodedPair
from retort.models.runtime.base import BackendInfo, infer_pairs
from retort.models.runtime.choose import choose_backend
from retort.models.runtime.options import (
    BackendName,
    PrecisionName,
    ProviderName,
    RuntimeOptions,
    default_cache,
)
from retort.models.scores import Scores, combine

Passage = str | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RankedPassage:
    """A passage's place in the list that was given, its score, spread, and its id if it has one.

    `score` is the probability that the passage answers the query; `spread` is the standard
    deviation over the model's heads: the larger, the less sure it is.
    """

    index: int
    score: float
    spread: float
    id: Any = None


def load(
    bundle: str | Path = "retort-small",
    *,
    backend: BackendName = "auto",
    provider: ProviderName = "auto",
    precision: PrecisionName = "auto",
    threads: int = 0,
) -> Ranker:
    """Load a bundle by name or path; `auto` measures once what is fastest here, and remembers it.

    `threads` 0 means one per core. Raises `retort.models.errors.BundleError` if the bundle is not
    there or damaged, `StartError` if no backend can run it as asked.
    """
    options = RuntimeOptions(backend, provider, precision, threads)
    return Ranker(read_bundle(find_bundle(bundle)), options)


class Ranker:
    """Ranks passages with one bundle. Thread-safe.

    `options` say what may run it, `cache` where the measured choice is kept (by default as the
    server does). Raises `BundleError` for bad golden pairs, `StartError` if no backend can run.

    >>> import retort
    >>> ranker = retort.load("retort-small")
    >>> passages = [
    ...     {"id": "b7", "text": "Paris is in France."},
    ...     {"id": "a2", "text": "The tower is 330 metres tall."},
    ... ]
    >>> best = ranker.rank("how tall is the eiffel tower", passages, top_n=1)[0]
    >>> best.index, best.id, best.score > 0.5
    (1, 'a2', True)
    >>> shakespeare, other = ranker.score(
    ...     [("who wrote hamlet", "Shakespeare did."), ("who wrote hamlet", "Yes.")]
    ... )
    >>> bool(shakespeare > other)
    True
    """

    def __init__(
        self, bundle: Bundle, options: RuntimeOptions | None = None, cache: Path | None = None
    ) -> None:
        self.bundle = bundle
        self._encoder = bundle.encoder()
        self._backend = choose_backend(
            bundle, self._encoder, options or RuntimeOptions(), cache or default_cache()
        ).backend

    @property
    def info(self) -> BackendInfo:
        """The backend that runs it, for instance `openvino/cpu/int8`."""
        return self._backend.info

    def rank(
        self, query: str, passages: Sequence[Passage], top_n: int | None = None
    ) -> list[RankedPassage]:
        """Passages best first, ties by index; only the best `top_n` if given.

        A passage is a string, or a mapping with `text` and, to be echoed, `id`. A passage that is
        too long is cut at its end. Raises `ValueError` for an empty query, a passage without text
        or a `top_n` below 1; `FloatingPointError` if a score is not finite.
        """
        if top_n is not None and top_n < 1:
            raise ValueError(f"top_n is {top_n}: ask for at least one passage, or leave it out")
        texts = [_text(index, passage) for index, passage in enumerate(passages)]
        check_query(query)
        if not texts:
            return []
        scores = self._scores(self._encoder.encode(query, texts))
        order: list[int] = np.argsort(-scores.score, kind="stable")[:top_n].tolist()
        score, spread = scores.score.tolist(), scores.spread.tolist()
        return [RankedPassage(i, score[i], spread[i], _id(passages[i])) for i in order]

    def score(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        """Scores (pairs,) of pairs of a query and a passage, in their order.

        Raises `ValueError` for an empty query, `FloatingPointError` if a score is not finite.
        """
        if not pairs:
            return np.zeros(0)
        queries, passages = zip(*pairs, strict=True)
        for query in set(queries):
            check_query(query)
        heads = {query: self._encoder.encode_query(query) for query in set(queries)}
        encoded = self._encoder.encode_passages(passages)
        return self._scores(
            [self._encoder.join(heads[q], p) for q, p in zip(queries, encoded, strict=True)]
        ).score

    def _scores(self, pairs: Sequence[EncodedPair]) -> Scores:
        scores = combine(infer_pairs(self._backend, self._encoder, pairs))
        if not scores.finite.all():
            raise FloatingPointError(
                f"passage {int(scores.finite.argmin())}: its score is not finite"
            )
        return scores


def check_query(query: str) -> None:
    """Raise `ValueError` for an empty query."""
    if not query.strip():
        raise ValueError("the query is empty")


def _text(index: int, passage: Passage) -> str:
    text = passage if isinstance(passage, str) else passage.get("text")
    if not isinstance(text, str):
        raise ValueError(f'passage {index}: expected a string or {{"id", "text"}}, not {passage!r}')
    return text


def _id(passage: Passage) -> Any:
    return None if isinstance(passage, str) else passage.get("id")
