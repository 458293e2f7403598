"""text-embeddings-inference: `POST /rerank` with `texts`, and `POST /predict`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta
from pydantic import BaseModel, Field

from retort.models.reading.windows import Side, with_limits
from retort.service.http.aliases.asking import Ask, Found, find
from retort.service.http.aliases.lenient import (
    AliasRequest,
    Lenient,
    NonNegative,
    Taken,
    check_side,
    side_of,
)
from retort.service.http.bodies import Mistake
from retort.service.http.schemas import Told, not_blank
from retort.service.http.shapes import Reply, Shape
from retort.service.modes import Caller
from retort.service.service import Service

# The label of a model that has only one, as transformers names it.
LABEL = "LABEL_0"
_NO_HIGHLIGHT = {"highlight": "a label has no place for it"}


class TeiRequest(AliasRequest, kw_only=True):
    """How text-embeddings-inference reads texts. What is read in windows is not truncated."""

    truncate: Annotated[
        bool | None, Meta(description="false: refuse a text that is too long to be read whole.")
    ] = None
    truncation_direction: Annotated[
        str | None, Meta(description="The side on which the rest is left out: left or right.")
    ] = None
    raw_scores: Annotated[
        bool | None, Meta(description="Log-odds of the scores instead of probabilities.")
    ] = None

    @property
    def side(self) -> Side:
        """The side on which a text is cut."""
        return side_of(self.truncation_direction)

    def __post_init__(self) -> None:
        check_side(self.truncation_direction, "truncation_direction")


class TeiRerankRequest(TeiRequest, kw_only=True):
    """`POST /rerank`; `top_n` is not TEI's, and some of its clients send it."""

    query: str
    texts: Annotated[list[str], Meta(min_length=1)]
    return_text: Annotated[bool | None, Meta(description="Repeat each text.")] = None
    return_documents: Annotated[bool | None, Meta(description="As return_text.")] = None
    top_n: Annotated[NonNegative | None, Meta(description="Results to return; 0: all.")] = None

    def __post_init__(self) -> None:
        not_blank(self.query)
        super().__post_init__()


class PredictRequest(TeiRequest, kw_only=True):
    """`POST /predict`: a pair of query and passage, or a list of pairs."""

    inputs: Annotated[
        str | list[str | list[str]],
        Meta(description='["query", "passage"], or a list of such pairs.'),
    ]

    def __post_init__(self) -> None:
        for query, _ in self.pairs():
            not_blank(query, "inputs")
        super().__post_init__()

    def pairs(self) -> list[tuple[str, str]]:
        """Queries and passages. Raises `Mistake`."""
        given = self.inputs
        listed = [given] if isinstance(given, str) or _is_pair(given) else given
        pairs = []
        for index, pair in enumerate(listed):
            if isinstance(pair, str) or len(pair) != 2:
                raise Mistake("inputs", f"input {index} is no pair of a query and a passage")
            query, passage = pair
            pairs.append((str(query), str(passage)))
        if not pairs:
            raise Mistake("inputs", "there are no pairs")
        return pairs


def _is_pair(given: Sequence[str | list[str]]) -> bool:
    return len(given) == 2 and all(isinstance(text, str) for text in given)


class TeiRank(Told):
    """One text of `POST /rerank`."""

    index: int
    text: str | None = None
    score: float


class Prediction(BaseModel):
    """The score of one pair, under the label of a model that has only one."""

    score: float
    label: str = Field(description=f"Always {LABEL}.")


async def _rerank(
    service: Service, caller: Caller, taken: Taken[TeiRerankRequest], start: float
) -> Reply:
    body = taken.request
    ask = Ask(
        [body.query],
        body.texts,
        with_limits(service.reading, side=body.side),
        "texts",
        taken.ignored,
        _model(service, body),
        body.top_n or None,
        highlight=bool(body.highlight),
        whole=body.truncate is False,
    )
    found = await find(service, caller, ask)
    repeat = body.return_text or body.return_documents
    results = [
        {"index": i, **({"text": body.texts[i]} if repeat else {}), "score": score, **told}
        for i, score, told in found.ranked(raw=bool(body.raw_scores))
    ]
    return found.reply(results, _headers(service, found, start))


async def _predict(
    service: Service, caller: Caller, taken: Taken[PredictRequest], start: float
) -> Reply:
    body = taken.request
    queries, passages = zip(*body.pairs(), strict=True)
    ask = Ask(
        queries,
        passages,
        with_limits(service.reading, side=body.side),
        "inputs",
        {**taken.ignored, **(_NO_HIGHLIGHT if body.highlight else {})},
        _model(service, body),
        whole=body.truncate is False,
        query_field="inputs",
    )
    found = await find(service, caller, ask)
    scores = {index: score for index, score, _ in found.ranked(raw=bool(body.raw_scores))}
    predictions = [[{"score": scores[i], "label": LABEL}] for i in range(len(passages))]
    alone = _is_pair(body.inputs)
    return found.reply(predictions[0] if alone else predictions, _headers(service, found, start))


def _model(service: Service, body: TeiRequest) -> str | None:
    """The model, if it is one of ours.

    TEI's requests have no such field: clients that send it anyway name what it serves.
    """
    return body.model if body.model in service.names else None


def _headers(service: Service, found: Found, start: float) -> dict[str, str]:
    """What TEI says of a request; its times are whole milliseconds."""
    seconds = found.answer.outcome.seconds
    total = time.perf_counter() - start
    texts = (*found.ask.queries, *found.ask.passages)
    return {
        "x-compute-type": "gpu" if service.student.on_gpu else "cpu",
        "x-compute-time": _ms(total),
        "x-compute-characters": str(sum(map(len, texts))),
        "x-compute-tokens": str(found.tokens),
        "x-total-time": _ms(total),
        "x-tokenization-time": _ms(seconds.tokenize),
        "x-queue-time": _ms(seconds.queue),
        "x-inference-time": _ms(seconds.infer),
    }


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))


_QUERY = "how tall is the eiffel tower"
_TEXTS = ["Paris is in France.", "The tower is 330 metres tall."]

RERANK: Shape[Any] = Shape(
    "TEI",
    TeiRerankRequest,
    Lenient(TeiRerankRequest),
    _rerank,
    "tei",
    list[TeiRank],
    {"query": _QUERY, "texts": _TEXTS, "return_text": True},
    [
        {"index": 1, "text": _TEXTS[1], "score": 0.816},
        {"index": 0, "text": _TEXTS[0], "score": 0.008},
    ],
)
PREDICT: Shape[Any] = Shape(
    "TEI",
    PredictRequest,
    Lenient(PredictRequest),
    _predict,
    "tei",
    list[Prediction] | list[list[Prediction]],
    {"inputs": [[_QUERY, text] for text in _TEXTS]},
    [[{"score": 0.008, "label": LABEL}], [{"score": 0.816, "label": LABEL}]],
)
