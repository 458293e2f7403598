"""LiteLLM's `rerank`, one function for each provider it speaks for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import litellm

if TYPE_CHECKING:
    from tests.clients.python.drive import Ranked, Request


def cohere(request: Request) -> Ranked:
    """`cohere/`."""
    return _ranked(litellm.rerank(**_fields(request, "cohere")))


def cohere_async(request: Request) -> Ranked:
    """`cohere/` through `arerank`."""
    return _ranked(asyncio.run(litellm.arerank(**_fields(request, "cohere"))))


def jina_ai(request: Request) -> Ranked:
    """`jina_ai/`."""
    return _ranked(litellm.rerank(**_fields(request, "jina_ai")))


def hosted_vllm(request: Request) -> Ranked:
    """`hosted_vllm/`."""
    return _ranked(litellm.rerank(**_fields(request, "hosted_vllm")))


def infinity(request: Request) -> Ranked:
    """`infinity/`."""
    return _ranked(litellm.rerank(**_fields(request, "infinity")))


def huggingface(request: Request) -> Ranked:
    """`huggingface/`, which is text-embeddings-inference."""
    return _ranked(litellm.rerank(**_fields(request, "huggingface")))


def together_ai(request: Request) -> Ranked:
    """`together_ai/`."""
    return _ranked(litellm.rerank(**_fields(request, "together_ai")))


def voyage(request: Request) -> Ranked:
    """`voyage/`."""
    return _ranked(litellm.rerank(**_fields(request, "voyage")))


def nvidia_nim(request: Request) -> Ranked:
    """`nvidia_nim/`; `ranking/` is for the path without the model in it."""
    return _ranked(litellm.rerank(**_fields(request, "nvidia_nim/ranking")))


def _fields(request: Request, provider: str) -> dict[str, Any]:
    asked = {
        "model": f"{provider}/{request.model}",
        "query": request.query,
        "documents": request.documents,
        "api_base": request.url,
        "api_key": request.key,
    }
    return asked if request.top_n is None else {**asked, "top_n": request.top_n}


def _ranked(answer: Any) -> Ranked:
    return [(result["index"], result["relevance_score"]) for result in answer.results]
