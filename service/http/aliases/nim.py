"""NVIDIA NIM, `POST /v1/ranking`: passages as objects, scores as logits."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta
from pydantic import BaseModel, Field

from retort.models.reading.windows import Side, with_limits
from retort.service.http.aliases.asking import Ask, find
from retort.service.http.aliases.lenient import AliasRequest, Lenient, Taken
from retort.service.http.aliases.rerank import TokenUsage, usage_of
from retort.service.http.bodies import Mistake
from retort.service.http.schemas import Told, not_blank
from retort.service.http.shapes import Reply, Shape
from retort.service.modes import Caller
from retort.service.service import Service


class NimText(msgspec.Struct):
    """A text."""

    text: str


class NimRequest(AliasRequest, kw_only=True):
    """A query, and the passages to rank."""

    query: NimText
    passages: Annotated[list[NimText], Meta(min_length=1)]
    truncate: Annotated[
        str | None,
        Meta(
            description="The side on which a passage is cut that is too long to be read whole, "
            "START or END; NONE: refuse it."
        ),
    ] = None

    def __post_init__(self) -> None:
        not_blank(self.query.text)
        if self.cut not in ("none", "start", "end"):
            raise Mistake("truncate", f"expected NONE, START or END, got {self.cut[:40]!r}")

    @property
    def cut(self) -> str:
        """`truncate` in small letters, by default end."""
        return (self.truncate or "end").lower()

    @property
    def side(self) -> Side:
        """The side on which a passage is cut."""
        return "left" if self.cut == "start" else "right"


class NimRank(Told):
    """One passage."""

    index: int
    logit: float = Field(description="Log-odds of the score.")


class NimResponse(BaseModel):
    """Passages, best first, ties by index."""

    rankings: list[NimRank]
    usage: TokenUsage
    warnings: list[str] | None = None


async def _rank(service: Service, caller: Caller, taken: Taken[NimRequest], _: float) -> Reply:
    body = taken.request
    ask = Ask(
        [body.query.text],
        [passage.text for passage in body.passages],
        with_limits(service.reading, side=body.side),
        "passages",
        taken.ignored,
        body.model,
        highlight=bool(body.highlight),
        whole=body.cut == "none",
    )
    found = await find(service, caller, ask)
    content = {
        "rankings": [
            {"index": i, "logit": logit, **told} for i, logit, told in found.ranked(raw=True)
        ],
        "usage": usage_of(found.tokens),
    }
    return found.reply_with_warnings(content)


RANK: Shape[Any] = Shape(
    "NVIDIA NIM",
    NimRequest,
    Lenient(NimRequest),
    _rank,
    "others",
    NimResponse,
    {
        "model": "retort-small",
        "query": {"text": "how tall is the eiffel tower"},
        "passages": [{"text": "Paris is in France."}, {"text": "The tower is 330 metres tall."}],
    },
    {
        "rankings": [{"index": 1, "logit": 1.49}, {"index": 0, "logit": -4.82}],
        "usage": usage_of(37),
    },
)
