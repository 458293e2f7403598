"""Refusals: an error as an answer, in the shape that the clients of its route parse.

    own      {"error": {"type", "message", "param"}}
    tei      {"error": message, "error_type", "type", "param", "message", "detail"}
    infinity {"error": {"type", "message", "param", "code"}, "detail": [{"loc", "msg", "type"}]}
    others   {"error": {"type", "message", "param", "code"}, "message", "detail"}

Clients of Jina's API read `detail`, those of Cohere's `message`, those of vLLM and infinity
`error.message`. Every shape has the `request_id` too.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson
from starlette.types import Scope, Send

from retort.service.errors import ServiceError
from retort.service.http.context import ErrorShape, context_of

JSON = "application/json"
_START = b"content-type", JSON.encode()
# What text-embeddings-inference calls its errors, by status.
_TEI_TYPES = {413: "Validation", 422: "Validation", 429: "Overloaded", 503: "Unhealthy"}


def error_body(error: ServiceError, shape: ErrorShape, request_id: str = "") -> bytes:
    """An error as JSON."""
    said: dict[str, Any] = {"type": error.type, "message": error.message, "param": error.param}
    # What ends before there is a request has no id.
    traced = {"request_id": request_id} if request_id else {}
    if shape == "own":
        return orjson.dumps({"error": said, **traced})
    content: dict[str, Any] = {
        "error": {**said, "code": error.status},
        "message": error.message,
        "detail": error.message,
        **traced,
    }
    if shape == "infinity":
        # As FastAPI says what is wrong with a request.
        where = ["body", error.param or ""]
        content["detail"] = [{"loc": where, "msg": error.message, "type": error.type}]
    if shape == "tei":
        content |= said
        content["error"] = error.message
        content["error_type"] = _TEI_TYPES.get(error.status, "Backend")
    return orjson.dumps(content)


async def refuse(send: Send, scope: Scope, error: ServiceError) -> None:
    """Answer with an error, in the shape that the request's context says."""
    context = context_of(scope)
    body = error_body(error, context.errors, context.request_id)
    await respond(send, error.status, body, error.headers)


async def respond(
    send: Send, status: int, body: bytes, headers: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Send an answer in JSON."""
    fields = [_START, (b"content-length", b"%d" % len(body))]
    fields += [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
