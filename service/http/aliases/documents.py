"""Documents as clients of other rerankers send them: strings, or objects with keys of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import orjson
from msgspec import Meta, Raw

from retort.service.errors import InvalidRequest

Object = dict[str, Raw]
Documents = Annotated[
    list[str | Object],
    Meta(
        min_length=1,
        description="Texts, or objects with a text; their other keys come back with them.",
    ),
]


def texts_of(documents: Sequence[str | Object], rank_fields: Sequence[str] | None) -> list[str]:
    """What is read of each: of an object its `text`, or its `rank_fields`, one per line.

    Raises `InvalidRequest` for an object that has none of them.
    """
    return [
        document if isinstance(document, str) else _text(index, document, rank_fields or ("text",))
        for index, document in enumerate(documents)
    ]


def returned(document: str | Object) -> dict[str, Any]:
    """A document as an answer repeats it: as it came, a string as the text of an object."""
    if isinstance(document, str):
        return {"text": document}
    return {name: orjson.Fragment(bytes(value)) for name, value in document.items()}


def _text(index: int, document: Object, names: Sequence[str]) -> str:
    for name, value in document.items():
        try:
            # It comes back as it is, and nobody has looked at it yet.
            bytes(value).decode()
        except UnicodeDecodeError as error:
            raise _unreadable(index, name, str(error)) from None
    parts = [_string(index, name, document[name]) for name in names if name in document]
    if not parts:
        raise InvalidRequest(
            f"documents.{index}: has no {' or '.join(names)[:100]}: give it one, or name the "
            "fields to read in rank_fields",
            param=f"documents.{index}",
        )
    return "\n".join(parts)


def _string(index: int, name: str, value: Raw) -> str:
    try:
        found = msgspec.json.decode(value)
    except msgspec.DecodeError as error:
        raise _unreadable(index, name, str(error)) from None
    if not isinstance(found, str | int | float):
        raise _unreadable(index, name, "expected a string")
    return str(found)


def _unreadable(index: int, name: str, why: str) -> InvalidRequest:
    param = f"documents.{index}.{name}"
    return InvalidRequest(f"{param}: {why}", param=param[:200])
