"""Bodies: bytes of a request to its values, at a cost that is bounded whatever they are.

The bytes are decoded straight into the request's shape, and decoding stops at the first mistake,
which the error names. Before that, elements are counted without being made: a million short strings
take eight megabytes of a body, and twenty times as much as objects.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from starlette.types import Receive, Scope

from retort.service.errors import ClientGone, InvalidRequest, TooLarge
from retort.service.http.context import RequestContext
from retort.service.http.edge.content import announced, packing, unpack
from retort.service.http.edge.protocol import CONNECTION, EdgeProtocol
from retort.service.http.shapes import Fields, ScoringRoute, Shape

BOM = b"\xef\xbb\xbf"
# A larger body is decoded in a thread.
INLINE_BYTES = 65_536
# A larger one is unpacked in a thread: gzip makes up to a thousand times as much of it.
INLINE_PACKED_BYTES = 1_024
# Strings that a passage may need, keys among them: {"id": …, "text": …} has four.
STRINGS_PER_PASSAGE = 8
# The same with all that clients of other rerankers may send along with a document; past it, 413.
MOST_STRINGS_PER_PASSAGE = 64

Decoded = TypeVar("Decoded")
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},]', re.DOTALL)
_TIMEOUT = re.compile(rb'timeout_ms"\s*:\s*(\d{1,12})\b(?![.eE])')
_ASCII_ESCAPE = re.compile(rb"\\u00[0-7]")
_COLON = re.compile(rb"\s*:")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_MISTAKE = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>.*)`)?", re.DOTALL)
_FIELD = re.compile(r"Object (contains unknown|missing required) field `(?P<name>.*)`", re.DOTALL)
_KINDS = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_ELEMENT = re.compile(r"\.(passages|documents|texts)\[\d+\]")


class Mistake(ValueError):
    """What a shape finds wrong with its field `field`."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


async def read_body(
    scope: Scope,
    receive: Receive,
    found: Mapping[bytes, bytes],
    limit_bytes: int,
) -> bytes:
    """Read and unpack a body of which headers say what is `told`; all its bytes are counted.

    Raises `TooLarge` if those are, or are announced to be, more than the limit; `UnsupportedBody`
    or `InvalidRequest` if it cannot be unpacked; `ClientGone` if the client leaves; and what else
    is wrong with its connection: `TooSlow`, `Busy`, `BadHttp` or, if the server stops, `NotReady`.
    """
    encoding = packing(found)
    length = announced(found)
    if length is not None and length > limit_bytes:
        raise _too_large(limit_bytes)
    body = await _read(scope, receive, limit_bytes)
    if encoding is None:
        return body
    if len(body) > INLINE_PACKED_BYTES:
        body = await asyncio.to_thread(unpack, body, encoding, limit_bytes)
    else:
        body = unpack(body, encoding, limit_bytes)
    connection: EdgeProtocol | None = scope.get(CONNECTION)
    if connection is not None:
        connection.hold(len(body))
    return body


async def _read(scope: Scope, receive: Receive, limit_bytes: int) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        # Most come in one piece.
        whole: bytes = message["body"]
        if len(whole) > limit_bytes:
            raise _too_large(limit_bytes)
        return whole
    connection: EdgeProtocol | None = scope.get(CONNECTION)
    chunks: list[bytes] = []
    size = 0
    while True:
        if connection is not None and connection.trouble is not None:
            raise connection.trouble
        if message["type"] == "http.disconnect":
            raise ClientGone("the client left before its body was read")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)
        message = await receive()


def most_seconds(body: bytes, default_ms: int, max_ms: int) -> float:
    """The most time that a request can have, in seconds, read off its body without decoding it.

    >>> most_seconds(b'{"query": "q", "passages": ["p"], "timeout_ms": 50}', 10_000, 60_000)
    0.05
    """
    # Looking for one byte is ten times as fast as looking for a word, and most bodies have no
    # backslash and few underscores.
    escaped = b"\\" in body and _ASCII_ESCAPE.search(body) is not None
    mentions = _mentions(body)
    if not mentions and not escaped:
        return min(default_ms, max_ms) / 1000
    told = _TIMEOUT.findall(body)
    # One of several may count, or be part of a text; a name may be written with escapes.
    if len(told) != mentions or escaped:
        return max_ms / 1000
    return min(max(map(int, told)), max_ms) / 1000


def _mentions(body: bytes) -> int:
    """How often `timeout_ms` occurs in a body."""
    before = len("timeout")
    found = 0
    at = body.find(b"_")
    while at >= 0:
        found += body.startswith(b"timeout_ms", max(0, at - before))
        at = body.find(b"_", at + 1)
    return found


async def decode(
    route: ScoringRoute, body: bytes, max_passages: int, context: RequestContext
) -> tuple[Shape[Any], Any]:
    """The shape of a body and what it decodes to; the context learns how errors are to look.

    Raises `InvalidRequest` that names the first mistake, or `TooLarge`.
    """

    if len(body) <= INLINE_BYTES:
        return decode_at_once(route, body, max_passages, context)
    return await asyncio.to_thread(decode_at_once, route, body, max_passages, context)


def decode_at_once(
    route: ScoringRoute, body: bytes, max_passages: int, context: RequestContext
) -> tuple[Shape[Any], Any]:
    """As `decode`, in this thread."""
    body, fields = _look(body, max_passages)
    shape = route.shape(fields)
    context.errors = shape.errors
    return shape, parse(lambda whole: shape.decode(whole, fields), body)


def _look(body: bytes, max_passages: int) -> tuple[bytes, Fields]:
    """The body without a byte order mark, and its fields."""
    if body.startswith(BOM):
        body = body[len(BOM) :]
    # Whoever hides quotes as escaped ones hides half of the strings at most.
    strings = (body.count(b'"') - body.count(b'\\"')) // 2
    if strings > STRINGS_PER_PASSAGE * max_passages + 64:
        _count_elements(body, max_passages)
        if strings > MOST_STRINGS_PER_PASSAGE * max_passages + 64:
            raise TooLarge(
                f"more than {MOST_STRINGS_PER_PASSAGE} strings per passage: send fewer of their "
                "other fields"
            )
    return body, parse(_FIELDS.decode, body)


def parse(decode: Callable[[bytes], Decoded], body: bytes) -> Decoded:
    """What `decode` makes of a body. Raises `InvalidRequest` that names the first mistake."""
    if not body:
        raise InvalidRequest("the body is empty, and that is not JSON in UTF-8: send an object")
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise _invalid(error) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        where = _half_character(body) if _SURROGATE.search(body) else None
        if where is not None:
            raise InvalidRequest(
                f"{where}: holds half a character (a lone surrogate): cut the text between "
                "characters",
                param=where,
            ) from None
        raise InvalidRequest(f"the body is not JSON in UTF-8: {error}") from None
    except RecursionError:
        raise InvalidRequest("the body is nested too deeply") from None


def check_count(count: int, limit: int, param: str) -> None:
    """Raise `TooLarge` for more passages than `limit`."""
    if count > limit:
        raise TooLarge(
            f"{count} passages, the limit is {limit}: send them in several requests", param=param
        )


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit_bytes} bytes: send fewer or shorter passages")


def _count_elements(body: bytes, limit: int) -> None:
    """Raise `TooLarge` if a list of the request has more elements than `limit`."""
    depth = elements = 0
    key = name = b""
    for token in _tokens(body):
        if token in b"{[":
            depth += 1
            if depth == 2:
                name, elements = key, 1
        elif token in b"}]":
            depth -= 1
        elif token == b",":
            elements += depth == 2
            if elements > limit:
                param = name.strip(b'"').decode(errors="replace")[:40]
                raise TooLarge(
                    f"more than {limit} {param}: send them in several requests", param=param
                )
        elif depth == 1:
            key = token


def _tokens(body: bytes) -> Iterator[bytes]:
    return (match[0] for match in _TOKEN.finditer(body))


def _invalid(error: msgspec.ValidationError) -> InvalidRequest:
    """The error in our words. Msgspec's are `Expected …, got … - at $.passages[3]` and the like."""
    found = _MISTAKE.fullmatch(str(error))
    assert found is not None
    what, at = found["what"], found["path"] or ""
    where = at.replace("[", ".").replace("]", "").strip(".")
    if isinstance(error.__cause__, Mistake):
        name, said = error.__cause__.field, error.__cause__.message
        where = f"{where}.{name}" if where else name
    elif field := _FIELD.fullmatch(what):
        name = field["name"]
        where = f"{where}.{name}" if where else name
        unknown = "unknown" in field[1]
        said = "there is no such field" if unknown else "this field is missing"
    elif _ELEMENT.fullmatch(at) and what.startswith("Expected `str | object`"):
        said = (
            f'expected a string or an object with "text", got {_kind(what.rpartition("got ")[2])}'
        )
    else:
        said = re.sub(r"`([^`]*)`", lambda kind: _kind(kind[1]), what)
        said = said[:1].lower() + said[1:]
    param = where[:200] or None
    return InvalidRequest(f"{param or 'the body'}: {said}", param=param)


def _kind(names: str) -> str:
    kinds = [name.strip(" `") for name in names.split("|")]
    return " or ".join(_KINDS.get(kind, kind) for kind in kinds)


def _half_character(body: bytes) -> str | None:
    """Where a text ends or begins within a surrogate pair; None if that is not what is wrong."""
    # The key or the index at which each list or object that is open has arrived.
    path: list[str | int] = []
    for match in _TOKEN.finditer(body):
        token = match[0]
        if token in b"[{":
            path.append(0 if token == b"[" else "")
        elif token in b"]}":
            path = path[:-1]
        elif token == b",":
            if path and isinstance(path[-1], int):
                path[-1] += 1
        elif path and _COLON.match(body, match.end()):
            path[-1] = token[1:41].strip(b'"').decode(errors="replace")
        elif _SURROGATE.search(token) and _broken(token):
            return ".".join(map(str, path))
    return None


def _broken(token: bytes) -> bool:
    try:
        # This decoder lets halves pass.
        json.loads(token).encode()
    except UnicodeEncodeError:
        return True
    except ValueError:
        return False
    return False
