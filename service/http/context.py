"""Context: what is known of one request besides its body, from the gate to the log."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import Scope

_KEY = "retort"


@dataclass(slots=True)
class RequestContext:
    """One request; the gate makes it, and its handler adds what it learns."""

    request_id: str = ""


def context_of(scope: Scope) -> RequestContext:
    """The context of a request; made here where no gate has made one."""
    found = scope.get(_KEY)
    if found is None:
        found = scope[_KEY] = RequestContext()
    assert isinstance(found, RequestContext)
    return found
