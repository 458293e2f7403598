"""Aliases: the shapes of other rerankers, so that a client switches by changing its URL.

    POST /rerank       text-embeddings-inference, or Jina's when it has `documents`
    POST /v1/rerank    Jina
    POST /v2/rerank    Cohere v2
    POST /v1/score     vLLM

Any `model` is accepted, since there is one; errors are in our own shape. A field that asks for
something that is not done here is refused rather than ignored. Who scores is the server's `mode`:
these shapes have no field for it.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel

from retort.service.engine.job import Outcome
from retort.service.errors import InferenceFailed, InvalidRequest
from retort.service.http.alias_schemas import CohereRequest, JinaRequest, TeiRequest, VllmRequest
from retort.service.http.answer import best_first
from retort.service.http.body import read_body
from retort.service.http.openapi import error_responses, request_body
from retort.service.http.schemas import check_passages, parse
from retort.service.modes import Asked
from retort.service.service import Service


def alias_router(service: Service) -> APIRouter:
    """Routes over `service`."""
    router = APIRouter(tags=["aliases"])
    limit_bytes = service.settings.max_body_bytes

    def documented(*models: type[BaseModel]) -> dict[str, Any]:
        bodies = [request_body(model)["requestBody"] for model in models]
        schemas = [body["content"]["application/json"]["schema"] for body in bodies]
        schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
        content = {"application/json": {"schema": schema}}
        return {
            "responses": error_responses(),
            "openapi_extra": {"requestBody": {"required": True, "content": content}},
        }

    @router.post("/rerank", summary="As text-embeddings-inference", **documented(TeiRequest))
    async def rerank(request: Request) -> Response:
        body = await read_body(request, limit_bytes)
        return await (_jina if _has_documents(body) else _tei)(service, request, body)

    @router.post("/v1/rerank", summary="As Jina", **documented(JinaRequest))
    async def v1_rerank(request: Request) -> Response:
        return await _jina(service, request, await read_body(request, limit_bytes))

    @router.post("/v2/rerank", summary="As Cohere v2", **documented(CohereRequest))
    async def v2_rerank(request: Request) -> Response:
        return await _cohere(service, request, await read_body(request, limit_bytes))

    @router.post("/v1/score", summary="As vLLM", **documented(VllmRequest))
    async def v1_score(request: Request) -> Response:
        return await _vllm(service, request, await read_body(request, limit_bytes))

    return router


async def _tei(service: Service, request: Request, body: bytes) -> Response:
    asked = parse(TeiRequest, body)
    outcome = await _outcome(service, request, Asked(asked.query, asked.texts), "texts")
    if asked.truncate is False and outcome.truncated:
        raise InvalidRequest(
            f"{outcome.truncated} texts are too long: shorten them, or leave truncate out",
            param="truncate",
        )
    numbers = outcome.raw if asked.raw_scores else outcome.score
    return _told(
        [
            {"index": i, **({"text": asked.texts[i]} if asked.return_text else {}), "score": score}
            for i, score in _ranked(numbers.tolist(), best_first(numbers, outcome, None))
        ]
    )


async def _jina(service: Service, request: Request, body: bytes) -> Response:
    asked = parse(JinaRequest, body)
    texts = asked.texts()
    top_n = asked.top_n or None
    outcome = await _outcome(service, request, Asked(asked.query, texts, top_n), "documents")
    numbers = outcome.raw if asked.raw_scores else outcome.score
    return _told(
        {
            "id": uuid.uuid4().hex,
            "object": "rerank",
            "model": service.manifest(service.settings.mode).name,
            "usage": {"prompt_tokens": outcome.tokens, "total_tokens": outcome.tokens},
            "results": [
                {
                    "index": i,
                    "relevance_score": score,
                    **({"document": {"text": texts[i]}} if asked.return_documents else {}),
                }
                for i, score in _ranked(numbers.tolist(), best_first(numbers, outcome, top_n))
            ],
        }
    )


async def _cohere(service: Service, request: Request, body: bytes) -> Response:
    asked = parse(CohereRequest, body)
    wanted = Asked(asked.query, asked.texts(), asked.top_n)
    outcome = await _outcome(service, request, wanted, "documents")
    order = best_first(outcome.score, outcome, asked.top_n)
    return _told(
        {
            "id": str(uuid.uuid4()),
            "results": [
                {"index": i, "relevance_score": score}
                for i, score in _ranked(outcome.score.tolist(), order)
            ],
            "meta": {
                "api_version": {"version": "2", "is_experimental": False},
                "billed_units": {"search_units": 1},
            },
        }
    )


async def _vllm(service: Service, request: Request, body: bytes) -> Response:
    asked = parse(VllmRequest, body)
    queries, documents = asked.sides()
    check_passages(len(documents), service.settings.max_passages, "documents")
    # One query to all documents is one request; query by query is as many as there are queries.
    groups = (
        [Asked(queries[0], documents)]
        if len(queries) == 1
        else [Asked(query, [document]) for query, document in zip(queries, documents, strict=True)]
    )
    outcomes = [_whole(s.outcome) for s in await service.score_each(request, groups, None)]
    raw = asked.use_activation is False
    scores = [s for o in outcomes for s in (o.raw if raw else o.score).tolist()]
    tokens = sum(outcome.tokens for outcome in outcomes)
    return _told(
        {
            "id": f"score-{uuid.uuid4().hex}",
            "object": "list",
            "created": int(time.time()),
            "model": service.manifest(service.settings.mode).name,
            "data": [
                {"index": i, "object": "score", "score": score} for i, score in enumerate(scores)
            ],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0},
        }
    )


async def _outcome(service: Service, request: Request, asked: Asked, param: str) -> Outcome:
    check_passages(len(asked.passages), service.settings.max_passages, param)
    return _whole((await service.score(request, asked, None)).outcome)


def _whole(outcome: Outcome) -> Outcome:
    """These shapes have no place for a passage without a score."""
    if outcome.errors:
        index, message = min(outcome.errors.items())
        raise InferenceFailed(f"document {index}: {message}")
    return outcome


def _ranked(scores: list[float], order: list[int]) -> list[tuple[int, float]]:
    return [(index, scores[index]) for index in order]


def _has_documents(body: bytes) -> bool:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(parsed, dict) and "documents" in parsed


def _told(body: Any) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")
