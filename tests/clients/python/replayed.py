"""Bodies of applications that cannot run here, read as the application reads the answer."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.clients.python.drive import Ranked, Request


def dify_openai_compatible(request: Request) -> Ranked:
    """Dify's plugin `openai_api_compatible`, as it validates a model; it filters again itself."""
    more = {"return_documents": True, "score_threshold": 0.0}
    results = _post(request, "/rerank", {**_jina(request), **more})["results"]
    return [(r["index"], r["relevance_score"]) for r in results]


def ragflow_xinference(request: Request) -> Ranked:
    """RAGFlow with Xinference: booleans as strings."""
    more = {"return_documents": "true", "return_len": "true"}
    results = _post(request, "/v1/rerank", {**_jina(request), **more})["results"]
    return [(r["index"], r["relevance_score"]) for r in results]


def ragflow_siliconflow(request: Request) -> Ranked:
    """RAGFlow with SiliconFlow: it counts the tokens of `meta`."""
    more = {"return_documents": False, "max_chunks_per_doc": 1024, "overlap_tokens": 80}
    answer = _post(request, "/v1/rerank", {**_jina(request), **more})
    tokens = answer["meta"]["tokens"]
    if not tokens["input_tokens"] + tokens["output_tokens"]:
        raise RuntimeError(f"no tokens were counted: {answer['meta']}")
    return [(r["index"], r["relevance_score"]) for r in answer["results"]]


def open_webui(request: Request) -> Ranked:
    """Open WebUI's external reranker, which puts the scores back into the order of the request."""
    body = {**_jina(request), "top_n": len(request.documents)}
    results = sorted(_post(request, "/v1/rerank", body)["results"], key=lambda r: r["index"])
    return _best(request, [r["relevance_score"] for r in results])


def vllm_score_texts(request: Request) -> Ranked:
    """vLLM's documented example of one text against many."""
    body = {
        "model": request.model,
        "encoding_format": "float",
        "text_1": request.query,
        "text_2": request.documents,
    }
    return _best(request, [r["score"] for r in _post(request, "/score", body)["data"]])


def vllm_score_queries(request: Request) -> Ranked:
    """vLLM's documented example of as many queries as documents."""
    body = {
        "model": request.model,
        "encoding_format": "float",
        "queries": [request.query] * len(request.documents),
        "documents": request.documents,
    }
    return _best(request, [r["score"] for r in _post(request, "/score", body)["data"]])


def vllm_rerank(request: Request) -> Ranked:
    """vLLM's documented example of `/v1/rerank`, with fields of its own that change no score."""
    more = {"priority": 0, "truncate_prompt_tokens": -1, "user": "somebody"}
    results = _post(request, "/v1/rerank", {**_jina(request), **more})["results"]
    return [(r["index"], r["relevance_score"]) for r in results if r["document"]["text"]]


def llama_cpp(request: Request) -> Ranked:
    """llama.cpp's `/reranking`."""
    results = _post(request, "/reranking", _jina(request))["results"]
    return [(r["index"], r["relevance_score"]) for r in results]


def llama_cpp_v1(request: Request) -> Ranked:
    """llama.cpp's `/v1/reranking`."""
    results = _post(request, "/v1/reranking", _jina(request))["results"]
    return [(r["index"], r["relevance_score"]) for r in results]


def tei_rerank(request: Request) -> Ranked:
    """text-embeddings-inference's documented example of `/rerank`."""
    body = {"query": request.query, "texts": request.documents, "raw_scores": False}
    return [(r["index"], r["score"]) for r in _post(request, "/rerank", body)][: request.top_n]


def tei_predict(request: Request) -> Ranked:
    """text-embeddings-inference's `/predict` of pairs, one list of labels for each."""
    pairs = [[request.query, text] for text in request.documents]
    answer = _post(request, "/predict", {"inputs": pairs, "truncate": True})
    return _best(request, [labels[0]["score"] for labels in answer])


def _jina(request: Request) -> dict[str, Any]:
    body = {"model": request.model, "query": request.query, "documents": request.documents}
    return body if request.top_n is None else {**body, "top_n": request.top_n}


def _best(request: Request, scores: list[float]) -> Ranked:
    return sorted(enumerate(scores), key=lambda pair: -pair[1])[: request.top_n]


def _post(request: Request, path: str, body: dict[str, Any]) -> Any:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {request.key}"}
    data = json.dumps(body).encode()
    asked = urllib.request.Request(f"{request.url}{path}", data, headers)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{error.code}: {error.read().decode()}") from None
