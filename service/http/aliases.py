"""Aliases: the shapes of other rerankers, so that a client switches by changing its URL.

    POST /rerank       text-embeddings-inference, or Jina's when it has `documents`
    POST /v1/rerank    Jina
    POST /v2/rerank    Cohere v2
    POST /v1/score     vLLM

Long passages are read in windows here too, and what those shapes have for it means what it means
there: `max_chunks_per_doc` is how many windows of a document are scored at most, `overlap_tokens`
what two neighbours share, `max_tokens_per_doc` how many tokens of a document are read, and
`truncation_side` on which side the rest is left out. What there is to tell of a document is in its
result, under the names of `POST /score` (`window`, `highlight`, `flags`); what there is to tell of
a request is in `warnings` and in a header, see `telling.py`.

`model` chooses among several students; where there is one, any name will do. Errors are in our own
shape. Fields that change nothing here (who asks, how it is billed) are accepted; a value that would
have to change something, and cannot, is refused rather than ignored. Who scores is the server's
`mode`: these shapes have no field for it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
import orjson
from msgspec import Meta, Raw

from retort.models.reading.windows import Side, with_limits
from retort.models.scores import log_odds
from retort.service.engine.job import Outcome
from retort.service.errors import InferenceFailed, InvalidRequest
from retort.service.highlighting import Highlights
from retort.service.http import telling
from retort.service.http.bodies import Mistake, check_count
from retort.service.http.schemas import Positive, RequestBody, not_blank
from retort.service.http.scoring import Reply, ScoringRoute
from retort.service.modes import Answer, Caller, Question
from retort.service.service import Service

Texts = Annotated[list[str], Meta(min_length=1)]


class Document(RequestBody):
    """A document as an object."""

    text: str


Documents = Annotated[list[str | Document], Meta(min_length=1)]


class TeiRequest(RequestBody):
    """text-embeddings-inference, `POST /rerank`. What is read in windows is not truncated."""

    query: str
    texts: Texts
    truncate: bool | None = None
    truncation_direction: Literal["right", "left", "Right", "Left"] = "right"
    highlight: bool = False
    raw_scores: bool = False
    return_text: bool = False
    model: str | None = None

    def __post_init__(self) -> None:
        not_blank(self.query)


class JinaRequest(RequestBody):
    """Jina, `POST /v1/rerank`; vLLM and infinity take the same. `top_n` 0 means all."""

    query: str
    documents: Documents
    model: str | None = None
    top_n: Annotated[int, Meta(ge=0)] | None = None
    return_documents: bool = True
    raw_scores: bool = False
    max_chunks_per_doc: Positive | None = None
    overlap_tokens: Annotated[int, Meta(ge=0)] | None = None
    max_tokens_per_doc: Positive | None = None
    truncation_side: Side | None = None
    highlight: bool = False
    user: str | None = None
    request_id: str | None = None

    def __post_init__(self) -> None:
        not_blank(self.query)


class CohereRequest(RequestBody):
    """Cohere, `POST /v2/rerank`."""

    query: str
    documents: Documents
    model: str | None = None
    top_n: Positive | None = None
    max_tokens_per_doc: Positive | None = None
    highlight: bool = False
    priority: int | None = None

    def __post_init__(self) -> None:
        not_blank(self.query)


class VllmRequest(RequestBody):
    """vLLM, `POST /v1/score`: one query to many documents, or as many queries as documents."""

    model: str | None = None
    text_1: str | Texts | None = None
    text_2: str | Texts | None = None
    queries: str | Texts | None = None
    documents: str | Texts | None = None
    use_activation: bool | None = None
    max_tokens_per_doc: Positive | None = None
    truncation_side: Side | None = None
    highlight: bool = False
    user: str | None = None
    request_id: str | None = None
    priority: int = 0

    def __post_init__(self) -> None:
        name, queries, documents = self.sides()
        if len(queries) not in (1, len(documents)):
            raise Mistake(
                name,
                f"{len(queries)} queries and {len(documents)} documents: "
                "give one query, or as many as documents",
            )
        for query in queries:
            not_blank(query, name)

    def sides(self) -> tuple[str, list[str], list[str]]:
        """The queries' field, queries, documents. Raises `Mistake` unless one form is used."""
        forms = [
            (name, left, right)
            for name, left, right in (
                ("text_1", self.text_1, self.text_2),
                ("queries", self.queries, self.documents),
            )
            if left is not None or right is not None
        ]
        if len(forms) != 1 or None in forms[0]:
            name = forms[0][0] if forms else "text_1"
            raise Mistake(name, "give text_1 and text_2, or queries and documents")
        name, left, right = forms[0]
        lists = ([side] if isinstance(side, str) else list(side or ()) for side in (left, right))
        queries, documents = lists
        return name, queries, documents


class _Peek(msgspec.Struct):
    """Enough of a body to see whose shape it has."""

    documents: Raw = msgspec.field(default_factory=Raw)


class TeiOrJina:
    """Decodes either shape of `POST /rerank`."""

    def __init__(self) -> None:
        self._peek = msgspec.json.Decoder(_Peek)
        self._tei = msgspec.json.Decoder(TeiRequest)
        self._jina = msgspec.json.Decoder(JinaRequest)

    def decode(self, body: bytes) -> TeiRequest | JinaRequest:
        """Jina's if it has documents. Raises what msgspec raises."""
        if bytes(self._peek.decode(body).documents):
            return self._jina.decode(body)
        return self._tei.decode(body)


async def _tei_or_jina(
    service: Service, caller: Caller, body: TeiRequest | JinaRequest, start: float
) -> Reply:
    if isinstance(body, JinaRequest):
        return await _jina(service, caller, body, start)
    return await _tei(service, caller, body, start)


async def _tei(service: Service, caller: Caller, body: TeiRequest, _: float) -> Reply:
    side: Side | None = "left" if body.truncation_direction.lower() == "left" else None
    reading = with_limits(service.reading, side=side)
    question = Question([body.query], body.texts, reading, highlight=body.highlight)
    answer, highlights = await _ask(service, caller, question, "texts", body.model)
    outcome = answer.outcome
    if body.truncate is False and outcome.truncated:
        where = next(i for i, note in outcome.notes.items() if "truncated" in note.flags)
        raise InvalidRequest(
            f"texts.{where}: it is too long to be read whole: shorten it, or leave truncate out",
            param=f"texts.{where}",
        )
    results = [
        {
            "index": i,
            **({"text": body.texts[i]} if body.return_text else {}),
            "score": score,
            **told,
        }
        for i, score, told in _ranked(outcome, highlights, raw=body.raw_scores)
    ]
    return Reply(orjson.dumps(results), telling.header(answer))


async def _jina(service: Service, caller: Caller, body: JinaRequest, _: float) -> Reply:
    texts = _texts(body.documents)
    top_n = body.top_n or None
    reading = with_limits(
        service.reading,
        max_windows=body.max_chunks_per_doc,
        overlap_tokens=body.overlap_tokens,
        max_tokens=body.max_tokens_per_doc,
        side=body.truncation_side,
    )
    question = Question([body.query], texts, reading, top_n, highlight=body.highlight)
    answer, highlights = await _ask(service, caller, question, "documents", body.model)
    outcome = answer.outcome
    content = {
        "id": uuid.uuid4().hex,
        "object": "rerank",
        "model": answer.manifest.name,
        "usage": {"prompt_tokens": outcome.tokens, "total_tokens": outcome.tokens},
        "results": [
            {
                "index": i,
                "relevance_score": score,
                **({"document": {"text": texts[i]}} if body.return_documents else {}),
                **told,
            }
            for i, score, told in _ranked(outcome, highlights, top_n, raw=body.raw_scores)
        ],
    }
    return _reply(content, answer, highlights)


async def _cohere(service: Service, caller: Caller, body: CohereRequest, _: float) -> Reply:
    reading = with_limits(service.reading, max_tokens=body.max_tokens_per_doc)
    texts = _texts(body.documents)
    question = Question([body.query], texts, reading, body.top_n, highlight=body.highlight)
    answer, highlights = await _ask(service, caller, question, "documents", body.model)
    meta: dict[str, Any] = {
        "api_version": {"version": "2", "is_experimental": False},
        "billed_units": {"search_units": 1},
    }
    content = {
        "id": str(uuid.uuid4()),
        "results": [
            {"index": i, "relevance_score": score, **told}
            for i, score, told in _ranked(answer.outcome, highlights, body.top_n)
        ],
        "meta": meta,
    }
    # Cohere's own place for them.
    if warnings := telling.warnings(answer, highlights):
        meta["warnings"] = warnings
    return Reply(orjson.dumps(content), telling.header(answer))


async def _vllm(service: Service, caller: Caller, body: VllmRequest, _: float) -> Reply:
    queries, documents = body.sides()[1:]
    reading = with_limits(
        service.reading, max_tokens=body.max_tokens_per_doc, side=body.truncation_side
    )
    question = Question(queries, documents, reading, highlight=body.highlight)
    answer, highlights = await _ask(service, caller, question, "documents", body.model)
    outcome = answer.outcome
    raw = body.use_activation is False
    content = {
        "id": f"score-{uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": answer.manifest.name,
        "data": [
            {"index": i, "object": "score", "score": score, **told}
            for i, score, told in sorted(_ranked(outcome, highlights, raw=raw))
        ],
        "usage": {
            "prompt_tokens": outcome.tokens,
            "total_tokens": outcome.tokens,
            "completion_tokens": 0,
        },
    }
    return _reply(content, answer, highlights)


def _reply(content: dict[str, Any], answer: Answer, highlights: Highlights) -> Reply:
    """An answer whose shape takes fields of ours."""
    if warnings := telling.warnings(answer, highlights):
        content["warnings"] = warnings
    return Reply(orjson.dumps(content), telling.header(answer))


ALIASES: tuple[ScoringRoute[Any], ...] = (
    ScoringRoute(
        "/rerank",
        "As text-embeddings-inference",
        TeiRequest,
        _tei_or_jina,
        tag="aliases",
        decoder=TeiOrJina(),
    ),
    ScoringRoute("/v1/rerank", "As Jina", JinaRequest, _jina, tag="aliases"),
    ScoringRoute("/v2/rerank", "As Cohere v2", CohereRequest, _cohere, tag="aliases"),
    ScoringRoute("/v1/score", "As vLLM", VllmRequest, _vllm, tag="aliases"),
)


def _texts(documents: list[str | Document]) -> list[str]:
    return [document if isinstance(document, str) else document.text for document in documents]


async def _ask(
    service: Service, caller: Caller, question: Question, param: str, model: str | None
) -> tuple[Answer, Highlights]:
    check_count(len(question.passages), service.settings.max_passages, param)
    answer, highlights = await service.score(caller, question, model=model)
    errors = answer.outcome.errors
    if errors:
        # These shapes have no place for a passage without a score.
        index, message = min(errors.items())
        raise InferenceFailed(f"document {index}: {message}")
    return answer, highlights


def _ranked(
    outcome: Outcome, highlights: Highlights, top_n: int | None = None, *, raw: bool = False
) -> Iterator[tuple[int, float, dict[str, Any]]]:
    """Index, score and what else there is to tell, best first."""
    scores = (log_odds(outcome.score) if raw else outcome.score).tolist()
    return (
        (index, scores[index], telling.of_passage(index, outcome, highlights))
        for index in outcome.best(top_n)
    )
