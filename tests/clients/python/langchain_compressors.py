"""LangChain's compressors, each through `compress_documents`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document

if TYPE_CHECKING:
    from tests.clients.python.drive import Ranked, Request


def cohere(request: Request) -> Ranked:
    """`langchain_cohere.CohereRerank`."""
    return _ranked(_cohere(request).compress_documents(_documents(request), request.query))


def cohere_async(request: Request) -> Ranked:
    """The same, asynchronously."""
    work = _cohere(request).acompress_documents(_documents(request), request.query)
    return _ranked(asyncio.run(work))


def jina(request: Request) -> Ranked:
    """`langchain_community`'s `JinaRerank`, whose URL is a constant."""
    from langchain_community.document_compressors import jina_rerank

    jina_rerank.JINA_API_URL = request.url
    compressor = jina_rerank.JinaRerank(
        jina_api_key=request.key, model=request.model, top_n=request.top_n
    )
    return _ranked(compressor.compress_documents(_documents(request), request.query))


def infinity(request: Request) -> Ranked:
    """`langchain_community`'s `InfinityRerank`; it refuses infinity's client with a token."""
    from infinity_client import Client
    from langchain_community.document_compressors.infinity_rerank import InfinityRerank

    InfinityRerank.model_rebuild(_types_namespace={"Client": Client})
    client = Client(
        base_url=request.url,
        headers={"Authorization": f"Bearer {request.key}"},
        raise_on_unexpected_status=True,
    )
    compressor = InfinityRerank(client=client, model=request.model, top_n=request.wanted)
    return _ranked(compressor.compress_documents(_documents(request), request.query))


def voyage(request: Request) -> Ranked:
    """`langchain_voyageai.VoyageAIRerank`."""
    return _ranked(_voyage(request).compress_documents(_documents(request), request.query))


def voyage_async(request: Request) -> Ranked:
    """The same, asynchronously."""
    work = _voyage(request).acompress_documents(_documents(request), request.query)
    return _ranked(asyncio.run(work))


def nvidia(request: Request) -> Ranked:
    """`langchain_nvidia_ai_endpoints.NVIDIARerank`: batches as large as asked for."""
    return _ranked(_nvidia(request).compress_documents(_documents(request), request.query))


def nvidia_async(request: Request) -> Ranked:
    """The same, asynchronously."""
    work = _nvidia(request).acompress_documents(_documents(request), request.query)
    return _ranked(asyncio.run(work))


def _cohere(request: Request) -> Any:
    from langchain_cohere import CohereRerank

    return CohereRerank(
        cohere_api_key=request.key,
        base_url=request.url,
        model=request.model,
        top_n=request.top_n,
    )


def _voyage(request: Request) -> Any:
    from langchain_voyageai import VoyageAIRerank

    return VoyageAIRerank(
        api_key=request.key, base_url=request.url, model=request.model, top_k=request.top_n
    )


def _nvidia(request: Request) -> Any:
    from langchain_nvidia_ai_endpoints import NVIDIARerank

    return NVIDIARerank(
        api_key=request.key,
        base_url=request.url,
        model=request.model,
        top_n=request.wanted,
        max_batch_size=len(request.documents),
    )


def _documents(request: Request) -> list[Document]:
    return [
        Document(page_content=text, metadata={"index": index})
        for index, text in enumerate(request.documents)
    ]


def _ranked(documents: Any) -> Ranked:
    return [(d.metadata["index"], d.metadata["relevance_score"]) for d in documents]
