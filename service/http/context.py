"""Context: what is known of one request besides its body, from the gate to the log."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from starlette.types import Scope

from retort.service.engine.job import StageSeconds

# How a client's errors look: see refusals.py.
ErrorShape = Literal["own", "tei", "infinity", "others"]

_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?P<more>-.*)?"
)


class TraceParent(NamedTuple):
    """The trace that a request belongs to, and the span that it comes from; in hex."""

    trace_id: str
    span_id: str
    flags: str


def parse_traceparent(value: str) -> TraceParent | None:
    """What a `traceparent` header says (W3C Trace Context); None for any other text.

    A later version than 00 may say more, after what 00 says.

    >>> parse_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").span_id
    'b7ad6b7169203331'
    """
    found = _TRACEPARENT.fullmatch(value)
    if found is None or found["version"] == "ff" or (found["version"] == "00" and found["more"]):
        return None
    if not int(found["trace"], 16) or not int(found["span"], 16):
        return None
    return TraceParent(found["trace"], found["span"], found["flags"])


_KEY = "retort"
# Paths whose clients know our own shape of errors alone. An unknown path is most likely a wrong
# base URL of some other client.
_OWN_PATHS = frozenset({"/score", "/info", "/comparison", "/metrics", "/livez", "/readyz"})
# What a client may call its request.
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")


@dataclass(slots=True)
class RequestContext:
    """One request; the gate makes it, and its handler adds what it learns.

    `key` is the name of its API key, `parent` the trace that it belongs to. `stages` are the
    seconds that its scores took.
    """

    errors: ErrorShape = "others"
    request_id: str = ""
    route: str = ""
    key: str = ""
    parent: TraceParent | None = None
    model: str = ""
    passages: int = 0
    pairs: int = 0
    tokens: int = 0
    stages: StageSeconds | None = None

    @property
    def trace_id(self) -> str:
        """The id of its trace, if it has one."""
        return "" if self.parent is None else self.parent.trace_id


def error_shape(path: str) -> ErrorShape:
    """How errors look on a path, as long as nothing is known of the body."""
    if path.startswith("/infinity/"):
        return "infinity"
    return "own" if path in _OWN_PATHS or path.startswith("/admin/") else "others"


def new_context(scope: Scope) -> RequestContext:
    """The context of a request that has just come, known to all that handle it from now on."""
    context = RequestContext(error_shape(scope["path"]))
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            context.request_id = value.decode()
        elif name == b"traceparent":
            context.parent = parse_traceparent(value.decode("latin-1"))
    if not context.request_id:
        context.request_id = os.urandom(16).hex()
    scope[_KEY] = context
    return context


def context_of(scope: Scope) -> RequestContext:
    """The context of a request."""
    found = scope[_KEY]
    assert isinstance(found, RequestContext)
    return found
