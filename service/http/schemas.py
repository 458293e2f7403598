"""Shapes: what `POST /score` takes, and what our routes answer, also in OpenAPI.

Requests are decoded by msgspec, strictly: unknown fields are refused, because a misspelt option
that is ignored in silence costs its user more than an error. Answers are only described here;
answers.py writes them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw
from pydantic import BaseModel, Field

from retort.models.encoding import Cut
from retort.models.reading.spans import Flag
from retort.service.http.bodies import Mistake
from retort.service.settings import Mode


class RequestBody(msgspec.Struct, forbid_unknown_fields=True):
    """A request's body."""


def not_blank(query: str, field: str = "query") -> None:
    """Raise `Mistake` for a query of nothing but white space."""
    if not query.strip():
        raise Mistake(field, "the query is empty")


Positive = Annotated[int, Meta(ge=1)]
Id = Annotated[
    Raw,
    Meta(extra_json_schema={"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}),
]


class Passage(RequestBody):
    """A passage with the client's own id, a string or a whole number, which comes back as it is."""

    text: str
    id: Id = msgspec.field(default_factory=Raw)

    def __post_init__(self) -> None:
        raw = bytes(self.id)
        number = raw[:1].isdigit() or raw[:1] == b"-"
        fraction = number and any(mark in raw for mark in (b".", b"e", b"E"))
        if fraction or not (number or raw[:1] in (b"", b'"') or raw == b"null"):
            raise Mistake("id", "expected a string or a whole number")


PassageField = str | Passage


class ScoreRequest(RequestBody):
    """A query and the passages that may answer it."""

    query: Annotated[
        str, Meta(description="The question; of a very long one the sentences that ask are read.")
    ]
    passages: Annotated[
        list[PassageField],
        Meta(
            min_length=1,
            description='Texts, or objects {"id", "text"}; long ones are read in windows.',
        ),
    ]
    top_n: Annotated[
        Positive | None,
        Meta(description="Number of results to return, the best ones; by default all."),
    ] = None
    min_score: Annotated[
        float, Meta(ge=0, le=1, description="Return only results with this score or more.")
    ] = 0.0
    highlight: Annotated[
        bool, Meta(description="Tell the sentence of each passage that answers best.")
    ] = False
    max_windows: Annotated[
        Positive | None,
        Meta(description="Windows read of a long passage, at most; by default the server's."),
    ] = None
    overlap_tokens: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="Tokens that neighbouring windows share; by default the server's."),
    ] = None
    return_passages: Annotated[
        bool, Meta(description="Repeat each passage's text in its result.")
    ] = False
    raw_scores: Annotated[bool, Meta(description="Log-odds of the scores instead.")] = False
    timeout_ms: Annotated[
        Positive | None, Meta(description="Answer 504 if it would take longer.")
    ] = None
    mode: Annotated[
        Mode | None, Meta(description="Who scores; by default the server's own mode. See /info.")
    ] = None
    model: Annotated[
        str | None, Meta(description="Which student; by default the first. See /v1/models.")
    ] = None

    def __post_init__(self) -> None:
        not_blank(self.query)

    def texts(self) -> list[str]:
        """The passages' texts, in order."""
        return [p if isinstance(p, str) else p.text for p in self.passages]


SCORE_EXAMPLE = {
    "query": "how tall is the eiffel tower",
    "passages": [
        "The tower is 330 metres tall.",
        {"id": "b7", "text": "Paris is in France."},
    ],
    "top_n": 10,
}

SCORE_ANSWER_EXAMPLE = {
    "id": "8d5c2b7e0f5b4c0b9d1f6f0a3a2b1c4d",
    "model": "retort-small",
    "version": "0.3.0",
    "mode": "student",
    "score_kind": "probability",
    "results": [
        {"index": 0, "score": 0.816, "spread": 0.088},
        {"index": 1, "id": "b7", "score": 0.008, "spread": 0.005},
    ],
    "answerable": 0.98,
    "usage": {
        "passages": 2,
        "pairs": 2,
        "windows": 0,
        "tokens": 37,
        "teacher_pairs": 0,
        "truncated": 0,
        "unknown_tokens": 0,
        "query_cut": None,
    },
    "timings_ms": {"tokenize": 0.25, "queue": 0.01, "infer": 4.75, "total": 5.42},
}


class Window(BaseModel):
    """The best of the `count` windows in which a long passage was read.

    `start` and `end` are in characters (Unicode code points) of the passage, `end` exclusive.
    """

    start: int
    end: int
    count: int


class Highlight(BaseModel):
    """The sentence that answers best; `start` and `end` as a window's."""

    start: int
    end: int
    score: float = Field(description="The score of the sentence alone.")


class Told(BaseModel):
    """What there is to tell of a passage apart from its score, the same in every shape."""

    window: Window | None = Field(None, description="Of a passage longer than the model reads.")
    highlight: Highlight | None = Field(None, description="With highlight.")
    flags: list[Flag] | None = Field(
        None,
        description="empty: nothing to read, score 0; unfamiliar: mostly unknown to the model; "
        "truncated: not read whole.",
    )


class Result(Told):
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
    """What was read and scored."""

    passages: int
    pairs: int = Field(description="Pairs that the model scored: a long passage is several.")
    windows: int = Field(description="Those of them that are windows of long passages.")
    tokens: int
    teacher_pairs: int = Field(description="Pairs that the teacher scored for this answer.")
    truncated: int = Field(description="Passages that were not read whole.")
    unknown_tokens: int = Field(description="Tokens that the model does not know.")
    query_cut: Cut | None = Field(None, description="What was left out of a long query.")


class Timings(BaseModel):
    """Milliseconds by stage."""

    tokenize: float
    queue: float
    infer: float
    highlight: float | None = Field(None, description="With highlight.")
    total: float


class ScoreResponse(BaseModel):
    """Results, best first, ties by index. `errors` is there when some passage has no score."""

    id: str
    model: str
    version: str
    mode: Mode
    score_kind: Literal["probability", "log_odds"] = Field(
        description="What score is; log-odds, with raw_scores, are of the same order."
    )
    results: list[Result]
    errors: list[PairError] | None = None
    answerable: float | None = Field(
        None, description="Probability that any passage answers, if the bundle can tell."
    )
    warnings: list[str] | None = Field(None, description="What a reader should know.")
    usage: Usage
    timings_ms: Timings


class StatusResponse(BaseModel):
    """Whether it is so, and if not, why."""

    status: str
    reason: str | None = None


class InfoResponse(BaseModel):
    """Bundles, backends and limits; from `model_id` on as clients of TEI read it."""

    release: str
    status: str
    model: dict[str, Any] | None = Field(description="The first student's manifest.")
    digest: str | None = Field(None, description="The sha256 of that.")
    backend: dict[str, Any] | None = Field(description="What runs it.")
    models: list[dict[str, Any]] = Field(description="Every student, in the same way.")
    teacher: dict[str, Any] | None
    mode: Mode
    modes: list[Mode]
    shadow: float
    cascade_share: float
    limits: dict[str, int | str]
    model_id: str | None
    model_sha: str | None
    model_dtype: str | None
    model_type: dict[str, Any]
    max_concurrent_requests: int
    max_input_length: int | None
    max_batch_tokens: int
    max_batch_requests: int | None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: str | None
    docker_label: str | None


class ServedModel(BaseModel):
    """A model, and its mean times since the start, in milliseconds."""

    name: str
    version: str
    pair_ms: float | None = Field(description="Per pair, in its backend.")
    request_ms: float | None = Field(
        description="Per request that was compared with a teacher at a URL; the teacher's, with "
        "the network."
    )


class ComparisonResponse(BaseModel):
    """Student compared with teacher; null where nothing is known yet.

    Agreement, tau and difference are means over the last 1,000 shadowed requests.
    """

    mode: Mode
    modes: list[Mode]
    student: ServedModel
    teacher: ServedModel | None
    speedup: float | None = Field(
        description="The teacher's pair_ms over the student's; of a teacher at a URL, request_ms."
    )
    top1_agreement: float | None = Field(description="Share with the same best passage.")
    kendall_tau: float | None = Field(description="Rank correlation (tau-b).")
    score_difference: float | None = Field(
        description="Mean |student - teacher| of a score; null for raw ones."
    )
    compared: int = Field(description="Shadowed requests since the start.")
    agreement_at_export: float | None = Field(description="Top-1 agreement when it was exported.")


class ErrorDetail(BaseModel):
    """The error's type, its message, and the field at fault."""

    type: str
    message: str
    param: str | None = None


class ErrorResponse(BaseModel):
    """An error of our own routes, and the id of the request."""

    error: ErrorDetail
    request_id: str


class CodedErrorDetail(ErrorDetail):
    """The same, with the HTTP status."""

    code: int


class AliasErrorResponse(BaseModel):
    """An error as the clients of most rerankers parse it."""

    error: CodedErrorDetail
    message: str
    detail: str
    request_id: str


class Misread(BaseModel):
    """What is wrong with a request, and where."""

    loc: list[str]
    msg: str
    type: str


class InfinityErrorResponse(BaseModel):
    """An error as the clients of infinity parse it."""

    error: CodedErrorDetail
    detail: list[Misread]
    request_id: str


class TeiErrorResponse(BaseModel):
    """An error as the clients of text-embeddings-inference parse it."""

    error: str
    error_type: str
    type: str
    message: str
    detail: str
    param: str | None = None
    request_id: str
