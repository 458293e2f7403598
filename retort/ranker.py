"""The ranker: a bundle in this process, for scripts and notebooks, without a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from retort.models.arrays import FloatArray
from retort.models.bundle import Bundle, find_bundle, read_bundle
from retort.models.encoding import EncodedPair, EncodedText
from retort.models.rankings import best_first
from retort.models.reading.highlights import best_sentences, candidates
from retort.models.reading.passages import Note, ReadPassage, gather
from retort.models.reading.spans import Highlight
from retort.models.reading.windows import READING, Reading
from retort.models.runtime.base import BackendInfo, infer_pairs
from retort.models.runtime.choose import choose_backend
from retort.models.runtime.options import (
    BackendName,
    PrecisionName,
    ProviderName,
    RuntimeOptions,
    default_cache,
)
from retort.models.scores import Scores
from retort.ranked import Passage, RankedPassage, check_top_n, id_of, text_of
from retort.rows import short


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


class WordlessQuery(ValueError):
    """Queries without a letter or a digit: nothing is asked."""

    def __init__(self, queries: Sequence[str]) -> None:
        super().__init__(f"query {short(queries[0], 60)}: it has no letter and no digit")
        self.queries = frozenset(queries)


@dataclass(frozen=True, slots=True)
class EncodedPassages:
    """Passages as the model gets them: all their `pairs`, and how each of them is read."""

    pairs: list[EncodedPair]
    passages: list[ReadPassage | None]
    reading: Reading


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
        self.encoder = bundle.encoder()
        self.backend = choose_backend(
            bundle, self.encoder, options or RuntimeOptions(), cache or default_cache()
        ).backend

    @property
    def info(self) -> BackendInfo:
        """The backend that runs it, for instance `openvino/cpu/int8`."""
        return self.backend.info

    def rank(
        self,
        query: str,
        passages: Sequence[Passage],
        top_n: int | None = None,
        *,
        min_score: float = 0.0,
        highlight: bool = False,
        reading: Reading = READING,
    ) -> list[RankedPassage]:
        """Passages best first, ties by index; only the best `top_n`, and those with `min_score`.

        A passage is a string, or a mapping with `text` and, to be echoed, `id`. One that the model
        cannot read at once is read as `reading` says. Raises `ValueError` for a query without
        words, a passage without text or a `top_n` below 1; `FloatingPointError` if a score is not
        finite.
        """
        check_top_n(top_n)
        texts = [text_of(index, passage) for index, passage in enumerate(passages)]
        scores, spreads, notes = self._read([query], texts, reading)
        order = best_first(scores, top_n, min_score)
        marks: dict[int, Highlight] = {}
        if highlight:
            found = candidates(texts, notes, [index for index in order if scores[index] > 0])
            marks = best_sentences(found, self._read([query], found.texts, reading)[0])
        score, spread = scores.tolist(), spreads.tolist()
        return [
            RankedPassage(
                i,
                score[i],
                spread[i],
                id_of(passages[i]),
                note.window,
                note.windows if note.window else 1,
                note.flags,
                marks.get(i),
            )
            for i in order
            for note in [notes.get(i, Note())]
        ]

    def answerable(self, scores: ArrayLike) -> float | None:
        """The probability that any passage of a list answers, from all their scores (passages,).

        None if the bundle was exported without lists that tell.
        """
        known = self.bundle.manifest.answerability
        return None if known is None else known.probability(np.asarray(scores, dtype=np.float64))

    def score(self, pairs: Sequence[tuple[str, str]], reading: Reading = READING) -> FloatArray:
        """Scores (pairs,) of pairs of a query and a passage, in their order.

        Raises `ValueError` for a query without words, `FloatingPointError` if a score is not
        finite.
        """
        queries, passages = zip(*pairs, strict=True) if pairs else ((), ())
        return self._read(queries, passages, reading)[0]

    def encode(
        self, queries: Sequence[str], passages: Sequence[str], reading: Reading = READING
    ) -> EncodedPassages:
        """Passages as the model gets them, each with its query; one query is for all.

        Raises `WordlessQuery`.
        """
        heads = self._heads(queries)
        pairs: list[EncodedPair] = []
        read: list[ReadPassage | None] = []
        encoder = self.encoder
        for index, (text, passage) in enumerate(
            zip(passages, encoder.encode_passages(passages), strict=True)
        ):
            head = heads[queries[0 if len(queries) == 1 else index]]
            how = encoder.read(head, text, passage, reading)
            read.append(how)
            windows = ((0, len(passage.ids)),) if how is None else how.windows
            pairs += (encoder.join_window(head, passage, window) for window in windows)
        return EncodedPassages(pairs, read, reading)

    def gather(
        self, encoded: EncodedPassages, logits: ArrayLike | None
    ) -> tuple[FloatArray, FloatArray, set[int], Mapping[int, Note]]:
        """Scores and spreads (passages,), who has none that is finite, and what there is to tell.

        `logits` (pairs, heads) are those of the encoded pairs; None if there are no pairs.
        """
        if logits is None:
            none = np.zeros(0)
            scores = Scores(none, none, none.astype(bool))
        else:
            scores = self.bundle.manifest.scores(logits)
        missing = np.flatnonzero(~scores.finite).tolist()
        return gather(encoded.passages, scores.score, scores.spread, missing, encoded.reading)

    def _read(
        self, queries: Sequence[str], passages: Sequence[str], reading: Reading
    ) -> tuple[FloatArray, FloatArray, Mapping[int, Note]]:
        """Scores and spreads (passages,), and what there is to tell; one query is for all."""
        encoded = self.encode(queries, passages, reading)
        pairs = encoded.pairs
        logits = infer_pairs(self.backend, self.encoder, pairs) if pairs else None
        score, spread, lost, notes = self.gather(encoded, logits)
        if lost:
            raise FloatingPointError(f"passage {min(lost)}: its score is not finite")
        return score, spread, notes

    def _heads(self, queries: Sequence[str]) -> dict[str, EncodedText]:
        distinct = list(dict.fromkeys(queries))
        heads = dict(zip(distinct, self.encoder.encode_queries(distinct), strict=True))
        if wordless := [query for query, head in heads.items() if not head.words.tokens]:
            raise WordlessQuery(wordless)
        return heads
