"""vLLM, `POST /score` and `/v1/score`: one query and many documents, or as many of each."""

from __future__ import annotations

import time
from typing import Annotated, Any

from msgspec import Meta
from pydantic import BaseModel

from retort.service.http.aliases.asking import Ask, find
from retort.service.http.aliases.lenient import Lenient, RankingRequest, Taken
from retort.service.http.aliases.rerank import TokenUsage, usage_of
from retort.service.http.bodies import Mistake
from retort.service.http.schemas import Told, not_blank
from retort.service.http.shapes import Reply, Shape
from retort.service.modes import Caller
from retort.service.service import Service

Texts = str | Annotated[list[str], Meta(min_length=1)]

# The names of queries and documents, two of which make a request.
FORMS = (
    ("text_1", "text_2"),
    ("data_1", "data_2"),
    ("queries", "documents"),
    ("queries", "items"),
)
# With one of these a body of `POST /score` is vLLM's.
FIELDS = frozenset(name for form in FORMS for name in form)


class VllmScoreRequest(RankingRequest, kw_only=True):
    """Queries and documents, under one of four pairs of names."""

    text_1: Texts | None = None
    text_2: Texts | None = None
    data_1: Annotated[Texts | None, Meta(description="As text_1.")] = None
    data_2: Annotated[Texts | None, Meta(description="As text_2.")] = None
    queries: Annotated[Texts | None, Meta(description="As text_1.")] = None
    documents: Annotated[Texts | None, Meta(description="As text_2.")] = None
    items: Annotated[Texts | None, Meta(description="As text_2, with queries.")] = None

    def __post_init__(self) -> None:
        (name, _), queries, documents = self.sides()
        if len(queries) not in (1, len(documents)):
            raise Mistake(
                name,
                f"{len(queries)} queries and {len(documents)} documents: "
                "give one query, or as many as documents",
            )
        for query in queries:
            not_blank(query, name)
        super().__post_init__()

    def sides(self) -> tuple[tuple[str, str], list[str], list[str]]:
        """The form, queries, documents. Raises `Mistake` unless one form is used."""
        given = {name for name in FIELDS if getattr(self, name) is not None}
        for form in FORMS:
            if given == set(form):
                queries, documents = (_listed(getattr(self, name)) for name in form)
                return form, queries, documents
        raise Mistake(
            min(given, default="text_1"),
            "give text_1 and text_2, data_1 and data_2, queries and documents, or queries and "
            "items, and nothing else of these",
        )


def _listed(side: str | list[str]) -> list[str]:
    return [side] if isinstance(side, str) else side


class VllmScore(Told):
    """One pair."""

    index: int
    object: str
    score: float


class VllmScoreResponse(BaseModel):
    """Scores in the order of the documents."""

    id: str
    object: str
    created: int
    model: str
    data: list[VllmScore]
    usage: TokenUsage
    warnings: list[str] | None = None


async def _score(
    service: Service, caller: Caller, taken: Taken[VllmScoreRequest], _: float
) -> Reply:
    body = taken.request
    (query_field, field), queries, documents = body.sides()
    ask = Ask(
        queries,
        documents,
        body.reading(service.reading),
        field,
        taken.ignored,
        body.model,
        highlight=bool(body.highlight),
        whole=body.truncation is False,
        query_field=query_field,
    )
    found = await find(service, caller, ask)
    content = {
        "id": f"score-{found.id}",
        "object": "list",
        "created": int(time.time()),
        "model": found.model,
        "data": [
            {"index": i, "object": "score", "score": score, **told}
            for i, score, told in sorted(found.ranked(raw=body.raw))
        ],
        "usage": usage_of(found.tokens),
    }
    return found.reply_with_warnings(content)


SCORE: Shape[Any] = Shape(
    "vLLM",
    VllmScoreRequest,
    Lenient(VllmScoreRequest),
    _score,
    "others",
    VllmScoreResponse,
    {
        "model": "retort-small",
        "text_1": "how tall is the eiffel tower",
        "text_2": ["Paris is in France.", "The tower is 330 metres tall."],
    },
    {
        "id": "score-2f0c…",
        "object": "list",
        "created": 1_790_000_000,
        "model": "retort-small",
        "data": [
            {"index": 0, "object": "score", "score": 0.008},
            {"index": 1, "object": "score", "score": 0.816},
        ],
        "usage": usage_of(37),
    },
)
