"""Schemas of `POST /score`: its requests and how they are read, its answers, and both in OpenAPI.

Types are strict and unknown fields are refused, because a misspelt option that is ignored in
silence costs its user more than an error.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect, Request

from retort.service.errors import ANSWERED, ClientGone, InvalidRequest, TooLarge
from retort.service.settings import Mode


class RequestBody(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid", strict=True)


Body = TypeVar("Body", bound=RequestBody)


class Passage(RequestBody):
    """A passage with the client's own id, which is echoed."""

    id: str | int | None = None
    text: str


def not_blank(query: str) -> str:
    """Refuse a query of nothing but white space."""
    if not query.strip():
        raise ValueError("the query is empty")
    return query


Query = Annotated[str, Field(min_length=1), AfterValidator(not_blank)]
PassageField = Annotated[str | Passage, Field(union_mode="left_to_right")]


class ScoreRequest(RequestBody):
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

    query: Query = Field(description="The question; a very long one is cut at its end.")
    passages: Annotated[list[PassageField], Field(min_length=1)] = Field(
        description='Texts, or objects {"id", "text"}; too long ones are cut, and counted.'
    )
    top_n: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Number of results to return, the best ones; by default all."
    )
    return_passages: bool = Field(False, description="Repeat each passage's text in its result.")
    raw_scores: bool = Field(False, description="Mean logits instead of probabilities.")
    timeout_ms: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Answer 504 if it would take longer."
    )
    mode: Mode | None = Field(
        None, description="Who scores; by default the server's own mode. See /info."
    )

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
    """The cost of the request."""

    pairs: int
    tokens: int
    teacher_pairs: int = Field(description="Pairs that the teacher scored for this answer.")
    truncated: int = Field(description="Pairs that were too long and were cut.")


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
    """A bundle, and its backend's mean time per pair since the start, in milliseconds."""

    name: str
    version: str
    pair_ms: float | None


class ComparisonResponse(BaseModel):
    """Student compared with teacher; null where nothing is known yet.

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
    """The error's type, its message, and the field at fault."""

    type: str
    message: str
    param: str | None = None


class ErrorResponse(BaseModel):
    """The one error shape."""

    error: ErrorDetail


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """Read the body; the bytes that arrive are counted, not those that Content-Length announces.

    Raises `TooLarge` at the first chunk past the limit, `ClientGone` if the client leaves.
    """
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit_bytes:
                raise TooLarge(
                    f"the body is larger than {limit_bytes} bytes: send fewer or shorter passages"
                )
            chunks.append(chunk)
    except ClientDisconnect:
        raise ClientGone("the client left before its body was read") from None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def parse(model: type[Body], body: bytes) -> Body:
    """Read a request body. Raises `InvalidRequest` that names the first field at fault."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _invalid(error) from None


def check_passages(count: int, limit: int, param: str) -> None:
    """Raise `TooLarge` for more passages than `limit`."""
    if count > limit:
        raise TooLarge(
            f"{count} passages, the limit is {limit}: send them in several requests", param=param
        )


def _invalid(error: ValidationError) -> InvalidRequest:
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
    message = message.removeprefix("Value error, ")
    param = ".".join(map(str, where)) or None
    return InvalidRequest(f"{param or 'the body'}: {message}", param=param)


def error_responses() -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: every error that a scoring route may answer."""
    return {
        error.status: {"model": ErrorResponse, "description": error.__doc__ or ""}
        for error in ANSWERED
    }


def request_body(model: type[BaseModel]) -> dict[str, Any]:
    """For OpenAPI: the body of a route that reads it itself."""
    schema = model.model_json_schema()
    # Nested models would need a place of their own in the document: put them in their users.
    shape = _inline(schema, schema.pop("$defs", {}))
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": shape}}}}


def _inline(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, dict):
        if "$ref" in node:
            return _inline(definitions[node["$ref"].rpartition("/")[2]], definitions)
        return {key: _inline(value, definitions) for key, value in node.items()}
    if isinstance(node, list):
        return [_inline(value, definitions) for value in node]
    return node
