"""Clients of a single package each: `rerankers`, infinity's, text-embeddings-inference's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.clients.python.drive import Ranked, Request


def rerankers_cohere(request: Request) -> Ranked:
    """`rerankers` as Cohere; like all of it, without a `top_n`."""
    return _rerankers(request, "cohere")


def rerankers_jina(request: Request) -> Ranked:
    """`rerankers` as Jina."""
    return _rerankers(request, "jina")


def rerankers_tei(request: Request) -> Ranked:
    """`rerankers` as text-embeddings-inference."""
    return _rerankers(request, "text-embeddings-inference")


def rerankers_voyage(request: Request) -> Ranked:
    """`rerankers` as Voyage."""
    return _rerankers(request, "voyage")


def infinity(request: Request) -> Ranked:
    """`infinity_client`."""
    from infinity_client import AuthenticatedClient
    from infinity_client.api.default import rerank

    answer = rerank.sync(client=AuthenticatedClient(**_infinity(request)), body=_body(request))
    return _results(answer)


def infinity_async(request: Request) -> Ranked:
    """`infinity_client`, asynchronously."""
    from infinity_client import AuthenticatedClient
    from infinity_client.api.default import rerank

    client = AuthenticatedClient(**_infinity(request))
    return _results(asyncio.run(rerank.asyncio(client=client, body=_body(request))))


def tei(request: Request) -> Ranked:
    """`tei_client`, which asks for `/info` first and has no `top_n`."""
    from tei_client import HttpClient

    client = HttpClient(request.url, headers={"Authorization": f"Bearer {request.key}"})
    best = client.rerank(request.query, request.documents).ranks
    return [(result.index, result.score) for result in best][: request.top_n]


def _rerankers(request: Request, provider: str) -> Ranked:
    from rerankers.models.api_rankers import APIRanker

    ranker = APIRanker(request.model, request.key, provider, verbose=0, url=request.url)
    best = ranker.rank(request.query, request.documents).results
    return [(result.document.doc_id, result.score) for result in best][: request.top_n]


def _infinity(request: Request) -> dict[str, Any]:
    return {"base_url": request.url, "token": request.key, "raise_on_unexpected_status": True}


def _body(request: Request) -> Any:
    from infinity_client.models import RerankInput

    return RerankInput(
        query=request.query,
        documents=request.documents,
        model=request.model,
        top_n=request.top_n,
        return_documents=True,
    )


def _results(answer: Any) -> Ranked:
    return [(result.index, result.relevance_score) for result in answer.results]
