"""Schemas of the aliases: the fields that other rerankers take.

Fields that change nothing here (who asks, how it is billed) are taken; a value that would have to
change something, and cannot, is refused.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from retort.service.http.schemas import Query, Request, not_blank

Texts = Annotated[list[str], Field(min_length=1)]


class Document(Request):
    """A document as an object."""

    text: str


Documents = Annotated[
    list[Annotated[str | Document, Field(union_mode="left_to_right")]], Field(min_length=1)
]


class _Asked(Request):
    query: Query

    _query = field_validator("query")(not_blank)


class TeiRequest(_Asked):
    """text-embeddings-inference, `POST /rerank`."""

    texts: Texts
    truncate: bool | None = None
    truncation_direction: Literal["right", "Right"] = "right"
    raw_scores: bool = False
    return_text: bool = False


class _Rerank(_Asked):
    documents: Documents
    model: str | None = None

    def texts(self) -> list[str]:
        """The documents' texts, in order."""
        return [d if isinstance(d, str) else d.text for d in self.documents]


class JinaRequest(_Rerank):
    """Jina, `POST /v1/rerank`; vLLM and infinity take the same. `top_n` 0 means all."""

    top_n: Annotated[int, Field(ge=0)] | None = None
    return_documents: bool = True
    raw_scores: bool = False
    user: str | None = None
    request_id: str | None = None


class CohereRequest(_Rerank):
    """Cohere, `POST /v2/rerank`. Documents are cut by the bundle's rule, at fewer tokens."""

    top_n: Annotated[int, Field(ge=1)] | None = None
    max_tokens_per_doc: Annotated[int, Field(ge=1)] | None = None
    priority: int | None = None


class VllmRequest(Request):
    """vLLM, `POST /v1/score`: one query to many documents, or as many queries as documents."""

    model: str | None = None
    text_1: str | Texts | None = None
    text_2: str | Texts | None = None
    queries: str | Texts | None = None
    documents: str | Texts | None = None
    use_activation: bool | None = None
    user: str | None = None
    request_id: str | None = None
    priority: int = 0

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        queries, documents = self.sides()
        if len(queries) not in (1, len(documents)):
            raise ValueError(
                f"{len(queries)} queries and {len(documents)} documents: "
                "give one query, or as many as documents"
            )
        for query in queries:
            not_blank(query)
        return self

    def sides(self) -> tuple[list[str], list[str]]:
        """Queries and documents. Raises `ValueError` unless exactly one form was used."""
        forms = [
            (left, right)
            for left, right in ((self.text_1, self.text_2), (self.queries, self.documents))
            if left is not None or right is not None
        ]
        if len(forms) != 1 or None in forms[0]:
            raise ValueError("give text_1 and text_2, or queries and documents")
        left, right = ([side] if isinstance(side, str) else list(side or ()) for side in forms[0])
        return left, right
