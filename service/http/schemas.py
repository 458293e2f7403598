"""Schemas of `POST /score`: what a request may hold, and what the answer does.

Types are strict and unknown fields are refused, because a misspelt option that is ignored in
silence costs its user more than an error.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from retort.service.errors import InvalidRequest, TooLarge
from retort.service.settings import Mode

RequestModel = TypeVar("RequestModel", bound="Request")


class Request(BaseModel):
    """A request body."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Passage(Request):
    """A passage with an id of the client's own, which is echoed."""

    id: str | int | None = None
    text: str


PassageField = Annotated[str | Passage, Field(union_mode="left_to_right")]
Query = Annotated[str, Field(min_length=1)]


def not_blank(query: str) -> str:
    """Refuse a query of nothing but white space."""
    if not query.strip():
        raise ValueError("the query is empty")
    return query


class ScoreRequest(Request):
    """A query and the passages that may answer it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "query": "how tall is the eiffel tower",
                    "passages": [
                        "The tower is 330 metres tall.",
                        {"id": "b7", "text": "Paris is in France."},
                    ],
                    "top_n": 10,
                }
            ]
        }
    )

    query: Query = Field(description="The question; the start of it if it is very long.")
    passages: Annotated[list[PassageField], Field(min_length=1)] = Field(
        description='Texts, or objects {"id", "text"}; too long ones are cut and counted.'
    )
    top_n: Annotated[int, Field(ge=1)] | None = Field(None, description="Only the best so many.")
    return_passages: bool = Field(False, description="Repeat each passage's text in its result.")
    raw_scores: bool = Field(False, description="Mean logits in place of probabilities.")
    timeout_ms: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Answer 504 rather than later than this."
    )
    mode: Mode | None = Field(
        None, description="Who scores; without it, the server's own mode. See /info."
    )

    _query = field_validator("query")(not_blank)

    def texts(self) -> list[str]:
        """The passages' texts, in order."""
        return [p if isinstance(p, str) else p.text for p in self.passages]


class Result(BaseModel):
    """One scored passage."""

    index: int = Field(description="Its place in the request, from 0.")
    id: str | int | None = Field(None, description="The client's id, if it gave one.")
    score: float = Field(description="Probability that the passage answers the query.")
    spread: float = Field(
        description="Standard deviation over the heads of the student; in mode teacher, of the "
        "teacher."
    )
    by: Literal["student", "teacher"] | None = Field(
        None, description="In a cascade: whether the teacher was asked about it too."
    )
    text: str | None = Field(None, description="The passage, with return_passages.")


class PairError(BaseModel):
    """One passage that could not be scored."""

    index: int
    id: str | int | None = None
    type: str
    message: str


class Usage(BaseModel):
    """What the request cost."""

    pairs: int
    tokens: int
    teacher_pairs: int = Field(description="Pairs that the teacher scored for this answer.")
    truncated: int = Field(description="Pairs that were too long, and of which the end was cut.")


class Timings(BaseModel):
    """Milliseconds by stage."""

    tokenize: float
    queue: float
    infer: float
    total: float


class ScoreResponse(BaseModel):
    """Results, best first, ties by index. `errors` is there when some passage has no score."""

    id: str
    model: str
    version: str
    mode: Mode
    results: list[Result]
    errors: list[PairError] | None = None
    usage: Usage
    timings_ms: Timings


class ServedModel(BaseModel):
    """A bundle, and what a pair costs it, in milliseconds of its backend since the start."""

    name: str
    version: str
    pair_ms: float | None


class ComparisonResponse(BaseModel):
    """Student beside teacher; null where there is nothing to tell yet.

    Agreement, tau and difference are means over the last 1,000 shadowed requests.
    """

    mode: Mode
    student: ServedModel
    teacher: ServedModel | None
    speedup: float | None = Field(description="The teacher's pair_ms over the student's.")
    top1_agreement: float | None = Field(description="Share with the same best passage.")
    kendall_tau: float | None = Field(description="Rank correlation (tau-b).")
    score_difference: float | None = Field(description="Mean |student - teacher| of a score.")
    compared: int = Field(description="Shadowed requests since the start.")
    agreement_at_export: float | None = Field(description="Top-1 agreement when it was exported.")


class ErrorDetail(BaseModel):
    """What went wrong."""

    type: str
    message: str
    param: str | None = None


class ErrorResponse(BaseModel):
    """The one error shape."""

    error: ErrorDetail


def parse(model: type[RequestModel], body: bytes) -> RequestModel:
    """Read a request body. Raises `InvalidRequest` that names the first field at fault."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _told(error) from None


def check_passages(count: int, limit: int, param: str) -> None:
    """Raise `TooLarge` for more passages than `limit`."""
    if count > limit:
        raise TooLarge(
            f"{count} passages, the limit is {limit}: send them in several requests", param=param
        )


def _told(error: ValidationError) -> InvalidRequest:
    mistakes: list[Any] = list(error.errors(include_url=False, include_context=False))
    first = mistakes[0]
    if first["type"] == "json_invalid":
        return InvalidRequest(f"the body is not JSON in UTF-8: {first['msg']}")
    where = list(first["loc"])
    if len(where) > 2 and isinstance(where[1], int):
        # One element of a list that may be of several types: pydantic reports each of them.
        alternatives = [m for m in mistakes if list(m["loc"][:2]) == where[:2]]
        inside = [m for m in alternatives if len(m["loc"]) > 3]
        if inside:
            where, message = [*where[:2], *inside[0]["loc"][3:]], inside[0]["msg"]
        else:
            where, message = where[:2], 'expected a string or {"id", "text"}'
    else:
        message = first["msg"]
    param = ".".join(str(part) for part in where) or None
    return InvalidRequest(f"{param or 'the body'}: {message}", param=param)
