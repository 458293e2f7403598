"""Questions: what is kept of a long query, by the rule of the product and by rules it could have.

Questions of SQuAD, with 45 words around them, are put to 20 sentences of which one answers. A rule
that keeps the question puts the right sentence first as often as the question alone does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from retort.models.bundle import Bundle
from retort.models.encoding import EncodedText, PairEncoder
from retort.models.runtime.base import infer_pairs
from retort.models.runtime.choose import choose_backend
from retort.models.runtime.options import RuntimeOptions, default_cache
from retort.models.scores import combine
from retort.training.data.pairs import Pair
from retort.training.evaluate.bootstrap import Estimate, Replicates, resample_means
from retort.training.evaluate.trust import Questions, Rule

Floats = NDArray[np.float64]

PASSAGES = 20
# About 45 words each; `{}` is the question.
PREAMBLES = {
    "a chat, before": (
        "hello there, thanks for taking the time to help me today. I am preparing a talk for my "
        "class next week and I have been reading all morning without finding what I need, so I "
        "would be very glad of a short and reliable answer to this. {}"
    ),
    "another topic, before": (
        "The river rises in the northern hills and crosses the plain in wide bends before it "
        "reaches the coast, where a harbour was built in the last century. Its water drives some "
        "mills, and a railway has followed its eastern bank since the bridges were finished. {}"
    ),
    "a chat, after": (
        "{} I am preparing a talk for my class next week and I have been reading all morning "
        "without finding what I need, so I would be very glad of a short and reliable answer. "
        "Thanks for taking the time to help me today, it is much appreciated by all."
    ),
}

Rules = dict[str, Callable[[PairEncoder, str], EncodedText]]


def _tokens(first: int, last: int) -> Callable[[PairEncoder, str], EncodedText]:
    def shorten(encoder: PairEncoder, query: str) -> EncodedText:
        text = encoder.encode_passages([query])[0]
        if len(text.ids) <= first + last:
            return text
        ids = np.concatenate([text.ids[:first], text.ids[len(text.ids) - last :]])
        return EncodedText(ids, text.words)

    return shorten


RULES: Rules = {
    "its question (the product's rule)": PairEncoder.encode_query,
    "the first 48 tokens": _tokens(48, 0),
    "the last 48 tokens": _tokens(0, 48),
    "the last 24 tokens": _tokens(0, 24),
    "the first 24 and the last 24 tokens": _tokens(24, 24),
}


def measure_questions(
    bundle: Bundle, positives: Sequence[Pair], pool: Sequence[str], queries: int, seed: int
) -> Questions:
    """Hit@1 of each rule for each preamble, over that of the question alone.

    `positives` are questions with a sentence that answers, `pool` other sentences.
    """
    draw = random.Random(seed)
    asked = {pair.query: pair for pair in positives}
    chosen = [asked[query] for query in draw.sample(sorted(asked), min(queries, len(asked)))]
    others = sorted(set(pool))
    right = {(pair.query, pair.passage) for pair in positives}
    lists = []
    for pair in chosen:
        drawn = [s for s in draw.sample(others, PASSAGES + 5) if (pair.query, s) not in right]
        lists.append([pair.passage, *drawn[: PASSAGES - 1]])
    encoder = bundle.encoder()
    backend = choose_backend(bundle, encoder, RuntimeOptions(), default_cache()).backend
    passages = [encoder.encode_passages(texts) for texts in lists]

    def hits(heads: Sequence[EncodedText]) -> Floats:
        pairs = [
            encoder.join(head, passage)
            for head, own in zip(heads, passages, strict=True)
            for passage in own
        ]
        scores = combine(infer_pairs(backend, encoder, pairs)).score.reshape(-1, PASSAGES)
        return np.asarray(scores.argmax(axis=1) == 0, dtype=np.float64)

    alone = hits(encoder.encode_queries([pair.query for pair in chosen]))
    rules = []
    for name, shorten in RULES.items():
        kept = []
        for template in PREAMBLES.values():
            heads = [shorten(encoder, template.format(_asked(pair.query))) for pair in chosen]
            kept.append(_ratio(resample_means({"kept": hits(heads), "alone": alone})))
        rules.append(Rule(name=name, kept=tuple(kept)))
    return Questions(
        queries=len(chosen),
        passages=PASSAGES,
        hit=resample_means({"alone": alone}).of("alone"),
        preambles=tuple(PREAMBLES),
        rules=tuple(rules),
    )


def _asked(query: str) -> str:
    return query.strip().rstrip("?") + "?"


def _ratio(samples: Replicates) -> Estimate:
    found = samples.ratio("kept", "alone")
    if found is None:
        raise ValueError("the question alone never finds its sentence: give other passages")
    return found
