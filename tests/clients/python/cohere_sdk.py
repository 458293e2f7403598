"""Cohere's own SDK, the clients of its first and its second version."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import cohere

if TYPE_CHECKING:
    from tests.clients.python.drive import Ranked, Request


def v2(request: Request) -> Ranked:
    """`ClientV2`."""
    return _ranked(cohere.ClientV2(request.key, base_url=request.url).rerank(**_fields(request)))


def v2_async(request: Request) -> Ranked:
    """`AsyncClientV2`."""

    async def ask() -> Any:
        client = cohere.AsyncClientV2(request.key, base_url=request.url)
        return await client.rerank(**_fields(request))

    return _ranked(asyncio.run(ask()))


def v1(request: Request) -> Ranked:
    """`Client`."""
    return _ranked(cohere.Client(request.key, base_url=request.url).rerank(**_fields(request)))


def v1_fields(request: Request) -> Ranked:
    """`Client`, with all that its version had: fields to rank by, chunks, documents returned."""
    documents = [{"text": text, "source": "elsewhere"} for text in request.documents]
    asked = _fields(request) | {
        "documents": documents,
        "rank_fields": ["text"],
        "max_chunks_per_doc": 10,
        "return_documents": True,
    }
    return _ranked(cohere.Client(request.key, base_url=request.url).rerank(**asked))


def v1_async(request: Request) -> Ranked:
    """`AsyncClient`."""

    async def ask() -> Any:
        client = cohere.AsyncClient(request.key, base_url=request.url)
        return await client.rerank(**_fields(request))

    return _ranked(asyncio.run(ask()))


def _fields(request: Request) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "model": request.model,
        "query": request.query,
        "documents": request.documents,
    }
    return asked if request.top_n is None else {**asked, "top_n": request.top_n}


def _ranked(answer: Any) -> Ranked:
    return [(result.index, result.relevance_score) for result in answer.results]
