"""LlamaIndex's rerankers, each through `postprocess_nodes`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.schema import NodeWithScore, TextNode

if TYPE_CHECKING:
    from tests.clients.python.drive import Ranked, Request


def cohere(request: Request) -> Ranked:
    """`CohereRerank`."""
    from llama_index.postprocessor.cohere_rerank import CohereRerank

    return _ranked(CohereRerank(**_hosted(request)), request)


def jina(request: Request) -> Ranked:
    """`JinaRerank`."""
    from llama_index.postprocessor.jinaai_rerank import JinaRerank

    return _ranked(JinaRerank(**_hosted(request)), request)


def siliconflow(request: Request) -> Ranked:
    """`SiliconFlowRerank`."""
    from llama_index.postprocessor.siliconflow_rerank import SiliconFlowRerank

    return _ranked(SiliconFlowRerank(**_hosted(request)), request)


def tei(request: Request) -> Ranked:
    """`TextEmbeddingInference`; its token is the whole header."""
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

    reranker = TextEmbeddingInference(
        base_url=request.url, top_n=request.wanted, auth_token=f"Bearer {request.key}"
    )
    return _ranked(reranker, request)


def xinference(request: Request) -> Ranked:
    """`XinferenceRerank`, which has no key."""
    from llama_index.postprocessor.xinference_rerank import XinferenceRerank

    reranker = XinferenceRerank(base_url=request.url, model=request.model, top_n=request.wanted)
    return _ranked(reranker, request)


def _hosted(request: Request) -> dict[str, Any]:
    return {
        "api_key": request.key,
        "base_url": request.url,
        "model": request.model,
        "top_n": request.wanted,
    }


def _ranked(reranker: Any, request: Request) -> Ranked:
    nodes = [
        NodeWithScore(node=TextNode(text=text, id_=str(index)), score=0.0)
        for index, text in enumerate(request.documents)
    ]
    best = reranker.postprocess_nodes(nodes, query_str=request.query)
    return [(int(node.node.node_id), node.score) for node in best]
