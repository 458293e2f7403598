"""Replies: an HTTP response as a value, or as the error that it stands for.

Between client and server there may be proxies with error pages of their own, so no body is trusted
to be JSON, or to have our shape.
"""

from __future__ import annotations

from typing import Any, TypeVar

import httpx
import msgspec

from retort.client.errors import (
    ConnectionFailed,
    DeadlinePassed,
    InvalidRequest,
    NotFound,
    NotReady,
    Overloaded,
    RetortError,
    ServerError,
    TooLarge,
    Unauthorized,
)
from retort.client.retry import retry_after

Shape = TypeVar("Shape")

REQUEST_ID = "X-Request-Id"
SHOWN_CHARACTERS = 200

BY_STATUS: dict[int, type[RetortError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Unauthorized,
    404: NotFound,
    413: TooLarge,
    422: InvalidRequest,
    429: Overloaded,
    502: ConnectionFailed,
    503: NotReady,
    504: DeadlinePassed,
}


def read(response: httpx.Response, shape: type[Shape], now: float) -> Shape:
    """The value in a response. Raises the `RetortError` of any other; `now` as `retry_after`."""
    if response.status_code != 200:
        raise refusal(response, now)
    try:
        return msgspec.json.decode(response.content, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ServerError(
            f"{_where(response)} did not answer as Retort does ({error}): {_shown(response)}",
            status=response.status_code,
            request_id=response.headers.get(REQUEST_ID),
        ) from error


def refusal(response: httpx.Response, now: float) -> RetortError:
    """The error that a response other than 200 stands for."""
    told = _told(response)
    message, type_, param = (told.get(name) for name in ("message", "type", "param"))
    request_id = response.headers.get(REQUEST_ID) or told.get("request_id")
    if not isinstance(message, str):
        reason = f"{response.status_code} {response.reason_phrase}".strip()
        message = f"{_where(response)} answered {reason}: {_shown(response)}"
    return BY_STATUS.get(response.status_code, ServerError)(
        message,
        status=response.status_code,
        type=type_ if isinstance(type_, str) else "",
        param=param if isinstance(param, str) else None,
        request_id=request_id if isinstance(request_id, str) else None,
        retry_after=retry_after(response.headers.get("Retry-After"), now),
    )


def failure(error: httpx.RequestError) -> RetortError:
    """The error that stands for an exchange without a response."""
    what = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        return DeadlinePassed(f"{_asked(error)}: no answer within the timeout ({what})")
    if isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError | httpx.ProxyError):
        return ConnectionFailed(f"{_asked(error)}: {what}; is the server running there?")
    return ServerError(f"{_asked(error)}: {what}")


def _told(response: httpx.Response) -> dict[str, Any]:
    """What the body says of the error; nothing if it is not in our shape."""
    try:
        body = msgspec.json.decode(response.content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def _where(response: httpx.Response) -> str:
    return f"{response.request.method} {response.request.url}"


def _asked(error: httpx.RequestError) -> str:
    return f"{error.request.method} {error.request.url}"


def _shown(response: httpx.Response) -> str:
    """The beginning of a body, for people."""
    text = " ".join(response.text[: 4 * SHOWN_CHARACTERS].split())
    return text[:SHOWN_CHARACTERS] or "nothing"
