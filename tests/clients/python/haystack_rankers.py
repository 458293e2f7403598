"""Haystack's rankers, each through `run`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from haystack import Document
from haystack.utils import Secret

if TYPE_CHECKING:
    from tests.clients.python.drive import Ranked, Request


def cohere(request: Request) -> Ranked:
    """`CohereRanker`."""
    from haystack_integrations.components.rankers.cohere import CohereRanker

    ranker = CohereRanker(api_base_url=request.url, top_k=request.wanted, **_hosted(request))
    return _ranked(ranker.run(query=request.query, documents=_documents(request)))


def jina(request: Request) -> Ranked:
    """`JinaRanker`."""
    from haystack_integrations.components.rankers.jina import JinaRanker

    ranker = JinaRanker(base_url=request.url, top_k=request.top_n, **_hosted(request))
    return _ranked(ranker.run(query=request.query, documents=_documents(request)))


def tei(request: Request) -> Ranked:
    """`HuggingFaceTEIRanker`."""
    return _ranked(_tei(request).run(query=request.query, documents=_documents(request)))


def tei_async(request: Request) -> Ranked:
    """The same, asynchronously."""
    work = _tei(request).run_async(query=request.query, documents=_documents(request))
    return _ranked(asyncio.run(work))


def vllm(request: Request) -> Ranked:
    """`VLLMRanker`."""
    from haystack_integrations.components.rankers.vllm import VLLMRanker

    ranker = VLLMRanker(api_base_url=request.url, top_k=request.top_n, **_hosted(request))
    return _ranked(ranker.run(query=request.query, documents=_documents(request)))


def _tei(request: Request) -> Any:
    from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker

    token = Secret.from_token(request.key)
    return HuggingFaceTEIRanker(url=request.url, top_k=request.wanted, token=token)


def _hosted(request: Request) -> dict[str, Any]:
    return {"model": request.model, "api_key": Secret.from_token(request.key)}


def _documents(request: Request) -> list[Document]:
    return [Document(content=text, id=str(index)) for index, text in enumerate(request.documents)]


def _ranked(answer: Any) -> Ranked:
    return [(int(document.id), document.score) for document in answer["documents"]]
