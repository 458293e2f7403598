"""The routes of aliases, and which shape a body on one of them has.

    POST /rerank, /v1/rerank, /reranking, /v1/reranking
                            Jina, Cohere v1, vLLM, llama.cpp, Together and others; with `texts`
                            text-embeddings-inference, with `top_k` Voyage
    POST /v2/rerank         Cohere v2, vLLM
    POST /predict           text-embeddings-inference
    POST /v1/score          vLLM, and /score with vLLM's fields
    POST /v1/ranking        NVIDIA NIM
    POST /infinity/rerank   infinity: documents come back as strings
    POST /voyage/v1/rerank  Voyage, whatever fields there are

The last two are for clients that send what others send too, and parse something else.
"""

from __future__ import annotations

from typing import Any

from retort.service.http.aliases import nim, rerank, tei, vllm
from retort.service.http.answers import SCORE_SHAPE
from retort.service.http.shapes import Fields, ScoringRoute, Shape, present

_TAG = "other rerankers"


def _rerank_shape(fields: Fields) -> Shape[Any]:
    if present(fields, "texts") and not present(fields, "documents"):
        return tei.RERANK
    if present(fields, "top_k") and not present(fields, "top_n"):
        return rerank.VOYAGE
    return rerank.RERANK


def _score_shape(fields: Fields) -> Shape[Any]:
    if present(fields, *vllm.FIELDS) and not present(fields, "passages"):
        return vllm.SCORE
    return SCORE_SHAPE


SCORE = ScoringRoute(
    "/score",
    "Score passages against a query",
    (SCORE_SHAPE, vllm.SCORE),
    "scores",
    _score_shape,
    "The strict shape of our own. A body with vLLM's fields (`text_1`, `queries` and so on) is "
    "taken and answered as `/v1/score` does.",
)

_ALL_SHAPES = (rerank.RERANK, tei.RERANK, rerank.VOYAGE)
_ALL_SHAPES_TOLD = (
    "A body with `texts` is text-embeddings-inference's, one with `top_k` Voyage's; any other is "
    "taken as Jina, Cohere v1, vLLM, llama.cpp, Together, SiliconFlow and Xinference take it."
)

ALIASES: tuple[ScoringRoute, ...] = (
    *(
        ScoringRoute(path, summary, _ALL_SHAPES, _TAG, _rerank_shape, _ALL_SHAPES_TOLD)
        for path, summary in (
            ("/rerank", "As TEI, vLLM, infinity and Jina"),
            ("/v1/rerank", "As Jina, Cohere v1, vLLM and Voyage"),
            ("/reranking", "As llama.cpp"),
            ("/v1/reranking", "As llama.cpp, under /v1"),
        )
    ),
    ScoringRoute("/v2/rerank", "As Cohere v2", (rerank.COHERE,), _TAG),
    ScoringRoute("/predict", "As TEI, pairs", (tei.PREDICT,), _TAG),
    ScoringRoute("/v1/score", "As vLLM, pairs", (vllm.SCORE,), _TAG),
    ScoringRoute("/v1/ranking", "As NVIDIA NIM", (nim.RANK,), _TAG),
    ScoringRoute("/infinity/rerank", "As infinity", (rerank.INFINITY,), _TAG),
    ScoringRoute("/voyage/v1/rerank", "As Voyage", (rerank.VOYAGE,), _TAG),
)
