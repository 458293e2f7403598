"""Context: what is known of one request besides its body, from the gate to the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from starlette.types import Scope

# How a client's errors look: see refusals.py.
ErrorShape = Literal["own", "tei", "others"]

_KEY = "retort"
# Paths whose clients know our own shape of errors alone. An unknown path is most likely a wrong
# base URL of some other client.
_OWN_PATHS = frozenset({"/score", "/info", "/comparison", "/metrics", "/livez", "/readyz"})


@dataclass(slots=True)
class RequestContext:
    """One request; the gate makes it, and its handler adds what it learns."""

    errors: ErrorShape = "others"
    request_id: str = ""


def context_of(scope: Scope) -> RequestContext:
    """The context of a request; made here where no gate has made one."""
    found = scope.get(_KEY)
    if found is None:
        path = scope["path"]
        own = path in _OWN_PATHS or path.startswith("/admin/")
        found = scope[_KEY] = RequestContext("own" if own else "others")
    assert isinstance(found, RequestContext)
    return found
