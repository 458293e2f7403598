"""The shape that most rerankers share: `query` and `documents` to `results`.

It is Jina's; Cohere's first version, vLLM, llama.cpp, infinity, Together, SiliconFlow and
Xinference differ in what else they take and answer, and here all of it is taken and answered.
Cohere's second version answers less, and Voyage puts the results under another name.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Annotated, Any

from msgspec import Meta
from pydantic import BaseModel, Field

from retort.service.http.aliases.asking import Ask, Found, find
from retort.service.http.aliases.documents import Documents, returned, texts_of
from retort.service.http.aliases.lenient import (
    Lenient,
    NonNegative,
    RankingRequest,
    Taken,
)
from retort.service.http.bodies import Mistake
from retort.service.http.schemas import Told, not_blank
from retort.service.http.shapes import Reply, Shape
from retort.service.modes import Caller
from retort.service.service import Service

# How many documents Cohere bills as one search.
DOCUMENTS_PER_SEARCH = 100


class RerankRequest(RankingRequest, kw_only=True):
    """A query, and the documents to rank."""

    query: str
    documents: Documents
    top_n: Annotated[NonNegative | None, Meta(description="Results to return; 0: all.")] = None
    top_k: Annotated[NonNegative | None, Meta(description="As top_n.")] = None
    score_threshold: Annotated[
        float | None, Meta(description="Return only results with this score or more.")
    ] = None
    return_documents: Annotated[
        bool | None, Meta(description="Repeat each document in its result.")
    ] = None
    rank_fields: Annotated[
        list[str] | None, Meta(description="Keys of objects that are read, instead of text.")
    ] = None

    def __post_init__(self) -> None:
        not_blank(self.query)
        super().__post_init__()
        # A number in a string may be none, or endless.
        if not math.isfinite(self.score_threshold or 0.0):
            raise Mistake("score_threshold", f"expected a number, got {self.score_threshold}")


# Makes an answer of what was found and of the results.
Render = Callable[[Found, list[dict[str, Any]]], Reply]


class Document(BaseModel):
    """A document as it was sent, with all its keys."""

    model_config = {"extra": "allow"}

    text: str | None = None


class RerankResult(Told):
    """One document."""

    index: int = Field(description="Its place in the request, from 0.")
    relevance_score: float = Field(description="Probability that the document answers the query.")
    document: Document | str | None = None


class TokenUsage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = Field(description="Always 0.")


class ApiVersion(BaseModel):
    """Whose shape an answer has."""

    version: str
    is_experimental: bool


class BilledUnits(BaseModel):
    """What Cohere would bill: nothing is billed here."""

    search_units: int


class MetaTokens(BaseModel):
    """Tokens that were read."""

    input_tokens: int
    output_tokens: int


class CohereMeta(BaseModel):
    """What Cohere says of a request."""

    api_version: ApiVersion
    billed_units: BilledUnits
    tokens: MetaTokens
    warnings: list[str] | None = None


class RerankResponse(BaseModel):
    """Results, best first, ties by index."""

    id: str
    object: str
    created: int
    model: str
    usage: TokenUsage
    results: list[RerankResult]
    meta: CohereMeta
    warnings: list[str] | None = None


class CohereResponse(BaseModel):
    """Results, best first, ties by index."""

    id: str
    model: str
    results: list[RerankResult]
    usage: TokenUsage
    meta: CohereMeta


class VoyageResponse(BaseModel):
    """Results, best first, ties by index."""

    object: str
    data: list[RerankResult]
    model: str
    usage: TokenUsage
    warnings: list[str] | None = None


def usage_of(tokens: int) -> dict[str, int]:
    """Tokens as OpenAI counts them; a score completes nothing."""
    return {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}


def _cohere_meta(found: Found, version: str) -> dict[str, Any]:
    searches = -(-len(found.ask.passages) // DOCUMENTS_PER_SEARCH)
    meta: dict[str, Any] = {
        "api_version": {"version": version, "is_experimental": False},
        "billed_units": {"search_units": searches},
        "tokens": {"input_tokens": found.tokens, "output_tokens": 0},
    }
    # Cohere's own place for them.
    if found.warnings:
        meta["warnings"] = found.warnings
    return meta


def _render(found: Found, results: list[dict[str, Any]]) -> Reply:
    content = {
        "id": found.id,
        "object": "rerank",
        "created": int(time.time()),
        "model": found.model,
        "usage": usage_of(found.tokens),
        "results": results,
        "meta": _cohere_meta(found, "1"),
    }
    return found.reply_with_warnings(content)


def _render_cohere(found: Found, results: list[dict[str, Any]]) -> Reply:
    content = {
        "id": found.id,
        "model": found.model,
        "results": results,
        "usage": usage_of(found.tokens),
        "meta": _cohere_meta(found, "2"),
    }
    return found.reply(content)


def _render_voyage(found: Found, results: list[dict[str, Any]]) -> Reply:
    content = {
        "object": "list",
        "data": results,
        "model": found.model,
        "usage": usage_of(found.tokens),
    }
    return found.reply_with_warnings(content)


class _Asker:
    """Answers requests of one reranker.

    `documents` says whether it repeats them unless told otherwise, `plain` that it repeats the text
    alone, as a string.
    """

    def __init__(self, render: Render, *, documents: bool, plain: bool = False) -> None:
        self._render = render
        self._documents = documents
        self._plain = plain

    async def __call__(
        self, service: Service, caller: Caller, taken: Taken[RerankRequest], _: float
    ) -> Reply:
        body = taken.request
        texts = texts_of(body.documents, body.rank_fields)
        ask = Ask(
            [body.query],
            texts,
            body.reading(service.reading),
            "documents",
            taken.ignored,
            body.model,
            body.top_n or body.top_k or None,
            body.score_threshold or 0.0,
            highlight=bool(body.highlight),
            whole=body.truncation is False,
        )
        found = await find(service, caller, ask)
        asked = body.return_documents
        repeat = self._documents if asked is None else asked
        results = [
            {
                "index": i,
                "relevance_score": score,
                **({"document": self._returned(body, texts, i)} if repeat else {}),
                **told,
            }
            for i, score, told in found.ranked(raw=body.raw)
        ]
        return self._render(found, results)

    def _returned(self, body: RerankRequest, texts: list[str], index: int) -> Any:
        return texts[index] if self._plain else returned(body.documents[index])


_EXAMPLE = {
    "model": "retort-small",
    "query": "how tall is the eiffel tower",
    "documents": ["Paris is in France.", "The tower is 330 metres tall."],
}
_BEST = {"index": 1, "relevance_score": 0.816}
_USAGE = usage_of(37)
_META = {
    "api_version": {"version": "1", "is_experimental": False},
    "billed_units": {"search_units": 1},
    "tokens": {"input_tokens": 37, "output_tokens": 0},
}

RERANK: Shape[Any] = Shape(
    "Jina",
    RerankRequest,
    Lenient(RerankRequest),
    _Asker(_render, documents=True),
    "others",
    RerankResponse,
    _EXAMPLE | {"top_n": 1},
    {
        "id": "2f0c…",
        "object": "rerank",
        "created": 1_790_000_000,
        "model": "retort-small",
        "usage": _USAGE,
        "results": [{**_BEST, "document": {"text": _EXAMPLE["documents"][1]}}],
        "meta": _META,
    },
)
COHERE: Shape[Any] = Shape(
    "Cohere v2",
    RerankRequest,
    Lenient(RerankRequest),
    _Asker(_render_cohere, documents=False),
    "others",
    CohereResponse,
    _EXAMPLE | {"top_n": 1},
    {
        "id": "2f0c…",
        "model": "retort-small",
        "results": [_BEST],
        "usage": _USAGE,
        "meta": {**_META, "api_version": {"version": "2", "is_experimental": False}},
    },
)
VOYAGE: Shape[Any] = Shape(
    "Voyage",
    RerankRequest,
    Lenient(RerankRequest),
    _Asker(_render_voyage, documents=False, plain=True),
    "others",
    VoyageResponse,
    _EXAMPLE | {"top_k": 1},
    {"object": "list", "data": [_BEST], "model": "retort-small", "usage": _USAGE},
)
INFINITY: Shape[Any] = Shape(
    "infinity",
    RerankRequest,
    Lenient(RerankRequest),
    _Asker(_render, documents=False, plain=True),
    "infinity",
    RerankResponse,
    _EXAMPLE | {"return_documents": True, "top_n": 1},
    {
        "id": "2f0c…",
        "object": "rerank",
        "created": 1_790_000_000,
        "model": "retort-small",
        "usage": _USAGE,
        "results": [{**_BEST, "document": _EXAMPLE["documents"][1]}],
        "meta": _META,
    },
)
