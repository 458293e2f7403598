"""Aliases: the shapes of other rerankers, so that a client switches by changing its URL.

    POST /rerank       text-embeddings-inference, or Jina's when it has `documents`
    POST /v1/rerank    Jina
    POST /v2/rerank    Cohere v2
    POST /v1/score     vLLM

Any `model` is accepted, since there is one; errors are in our own shape. Fields that change nothing
here (who asks, how it is billed) are accepted; a value that would have to change something, and
cannot, is refused rather than ignored. Who scores is the server's `mode`: these shapes have no
field for it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, Any, Literal, Self

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, model_validator

from retort.models.arrays import FloatArray
from retort.service.engine.job import Outcome
from retort.service.errors import InferenceFailed, InvalidRequest
from retort.service.http.answers import best_first
from retort.service.http.schemas import (
    Query,
    RequestBody,
    check_passages,
    error_responses,
    not_blank,
    parse,
    read_body,
    request_body,
)
from retort.service.modes import Question
from retort.service.service import Service

Texts = Annotated[list[str], Field(min_length=1)]
# The service, the request and its body, to what is answered as JSON. Raises `ServiceError`.
Alias = Callable[[Service, Request, bytes], Awaitable[Any]]


class Document(RequestBody):
    """A document as an object."""

    text: str


Documents = Annotated[
    list[Annotated[str | Document, Field(union_mode="left_to_right")]], Field(min_length=1)
]


class TeiRequest(RequestBody):
    """text-embeddings-inference, `POST /rerank`."""

    query: Query
    texts: Texts
    truncate: bool | None = None
    truncation_direction: Literal["right", "Right"] = "right"
    raw_scores: bool = False
    return_text: bool = False


class _Rerank(RequestBody):
    query: Query
    documents: Documents
    model: str | None = None

    def texts(self) -> list[str]:
        """The documents' texts, in order."""
        return [d if isinstance(d, str) else d.text for d in self.documents]


class JinaRequest(_Rerank):
    """Jina, `POST /v1/rerank`; vLLM and infinity take the same. `top_n` 0 means all."""

    top_n: Annotated[int, Field(ge=0)] | None = None
    return_documents: bool = True
    raw_scores: bool = False
    user: str | None = None
    request_id: str | None = None


class CohereRequest(_Rerank):
    """Cohere, `POST /v2/rerank`. Documents are cut by the bundle's rule, at fewer tokens."""

    top_n: Annotated[int, Field(ge=1)] | None = None
    max_tokens_per_doc: Annotated[int, Field(ge=1)] | None = None
    priority: int | None = None


class VllmRequest(RequestBody):
    """vLLM, `POST /v1/score`: one query to many documents, or as many queries as documents."""

    model: str | None = None
    text_1: str | Texts | None = None
    text_2: str | Texts | None = None
    queries: str | Texts | None = None
    documents: str | Texts | None = None
    use_activation: bool | None = None
    user: str | None = None
    request_id: str | None = None
    priority: int = 0

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        queries, documents = self.sides()
        if len(queries) not in (1, len(documents)):
            raise ValueError(
                f"{len(queries)} queries and {len(documents)} documents: "
                "give one query, or as many as documents"
            )
        for query in queries:
            not_blank(query)
        return self

    def sides(self) -> tuple[list[str], list[str]]:
        """Queries and documents. Raises `ValueError` unless exactly one form was used."""
        forms = [
            (left, right)
            for left, right in ((self.text_1, self.text_2), (self.queries, self.documents))
            if left is not None or right is not None
        ]
        if len(forms) != 1 or None in forms[0]:
            raise ValueError("give text_1 and text_2, or queries and documents")
        left, right = ([side] if isinstance(side, str) else list(side or ()) for side in forms[0])
        return left, right


def alias_router(service: Service) -> APIRouter:
    """Routes over `service`."""
    router = APIRouter(tags=["aliases"])

    def add(path: str, summary: str, body: type[BaseModel], alias: Alias) -> None:
        async def answer(request: Request) -> Response:
            raw = await read_body(request, service.settings.max_body_bytes)
            content = orjson.dumps(await alias(service, request, raw))
            return Response(content, media_type="application/json")

        router.add_api_route(
            path,
            answer,
            methods=["POST"],
            name=path.strip("/").replace("/", "_"),
            summary=summary,
            responses=error_responses(),
            openapi_extra=request_body(body),
        )

    add("/rerank", "As text-embeddings-inference", TeiRequest, _tei_or_jina)
    add("/v1/rerank", "As Jina", JinaRequest, _jina)
    add("/v2/rerank", "As Cohere v2", CohereRequest, _cohere)
    add("/v1/score", "As vLLM", VllmRequest, _vllm)
    return router


async def _tei_or_jina(service: Service, request: Request, raw: bytes) -> Any:
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        parsed = None
    has_documents = isinstance(parsed, dict) and "documents" in parsed
    return await (_jina if has_documents else _tei)(service, request, raw)


async def _tei(service: Service, request: Request, raw: bytes) -> Any:
    body = parse(TeiRequest, raw)
    outcome = await _outcome(service, request, Question(body.query, body.texts), "texts")
    if body.truncate is False and outcome.truncated:
        raise InvalidRequest(
            f"{outcome.truncated} texts are too long: shorten them, or leave truncate out",
            param="truncate",
        )
    numbers = outcome.raw if body.raw_scores else outcome.score
    return [
        {"index": i, **({"text": body.texts[i]} if body.return_text else {}), "score": score}
        for i, score in _ranked(numbers, outcome, None)
    ]


async def _jina(service: Service, request: Request, raw: bytes) -> Any:
    body = parse(JinaRequest, raw)
    texts = body.texts()
    top_n = body.top_n or None
    outcome = await _outcome(service, request, Question(body.query, texts, top_n), "documents")
    numbers = outcome.raw if body.raw_scores else outcome.score
    return {
        "id": uuid.uuid4().hex,
        "object": "rerank",
        "model": service.manifest(service.settings.mode).name,
        "usage": {"prompt_tokens": outcome.tokens, "total_tokens": outcome.tokens},
        "results": [
            {
                "index": i,
                "relevance_score": score,
                **({"document": {"text": texts[i]}} if body.return_documents else {}),
            }
            for i, score in _ranked(numbers, outcome, top_n)
        ],
    }


async def _cohere(service: Service, request: Request, raw: bytes) -> Any:
    body = parse(CohereRequest, raw)
    question = Question(body.query, body.texts(), body.top_n)
    outcome = await _outcome(service, request, question, "documents")
    return {
        "id": str(uuid.uuid4()),
        "results": [
            {"index": i, "relevance_score": score}
            for i, score in _ranked(outcome.score, outcome, body.top_n)
        ],
        "meta": {
            "api_version": {"version": "2", "is_experimental": False},
            "billed_units": {"search_units": 1},
        },
    }


async def _vllm(service: Service, request: Request, raw: bytes) -> Any:
    body = parse(VllmRequest, raw)
    queries, documents = body.sides()
    check_passages(len(documents), service.settings.max_passages, "documents")
    # One query for all documents is one question; otherwise there is one per query.
    questions = (
        [Question(queries[0], documents)]
        if len(queries) == 1
        else [Question(query, [text]) for query, text in zip(queries, documents, strict=True)]
    )
    answers = await service.score_each(request, questions, None)
    outcomes = [_whole(answer.outcome) for answer in answers]
    logits = body.use_activation is False
    scores = [s for o in outcomes for s in (o.raw if logits else o.score).tolist()]
    tokens = sum(outcome.tokens for outcome in outcomes)
    return {
        "id": f"score-{uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": service.manifest(service.settings.mode).name,
        "data": [{"index": i, "object": "score", "score": score} for i, score in enumerate(scores)],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
    }


async def _outcome(service: Service, request: Request, question: Question, param: str) -> Outcome:
    check_passages(len(question.passages), service.settings.max_passages, param)
    return _whole((await service.score(request, question, None)).outcome)


def _whole(outcome: Outcome) -> Outcome:
    """These shapes have no place for a passage without a score."""
    if outcome.errors:
        index, message = min(outcome.errors.items())
        raise InferenceFailed(f"document {index}: {message}")
    return outcome


def _ranked(
    numbers: FloatArray, outcome: Outcome, top_n: int | None
) -> Iterator[tuple[int, float]]:
    scores = numbers.tolist()
    return ((index, scores[index]) for index in best_first(numbers, outcome, top_n))
