"""Shapes: the ways to ask for scores, and how the answers and errors of each look.

A route has one shape, or several that are told apart by the names of the fields in a body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from msgspec import Raw

from retort.service.http.context import ErrorShape
from retort.service.modes import Answer, Caller
from retort.service.service import Service

Body = TypeVar("Body")
# The fields of a body by name, their values not decoded yet.
Fields = Mapping[str, Raw]


class Reply(NamedTuple):
    """An answer, its body, and headers of its own."""

    answer: Answer
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Shape(Generic[Body]):
    """A way to ask; `name`, `request`, `response` and the examples are for the documentation.

    `decode` makes a body of bytes and raises what msgspec raises. `answer` takes the service, the
    caller, the body, and when the request came (as `time.perf_counter` tells it).
    """

    name: str
    request: type[msgspec.Struct]
    decode: Callable[[bytes, Fields], Body]
    answer: Callable[[Service, Caller, Body, float], Awaitable[Reply]]
    errors: ErrorShape
    response: Any
    example: Any
    answer_example: Any


@dataclass(frozen=True)
class ScoringRoute:
    """A `POST` route that scores; `choose` finds the shape of a body, and by default the first."""

    path: str
    summary: str
    shapes: tuple[Shape[Any], ...]
    tag: str
    choose: Callable[[Fields], Shape[Any]] | None = None
    description: str | None = None

    def shape(self, fields: Fields) -> Shape[Any]:
        """The shape of a body with these fields."""
        return self.shapes[0] if self.choose is None else self.choose(fields)


def present(fields: Fields, *names: str) -> bool:
    """Whether a body has any of these fields, with another value than null."""
    return any(bytes(fields.get(name, b"null")) != b"null" for name in names)
