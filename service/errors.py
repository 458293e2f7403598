"""Service errors: each has an HTTP status and a type; `http/refusals.py` answers them.

ServiceError
├── InvalidRequest      422
├── BadHttp             400
├── TooSlow             408
├── TooLarge            413
├── UrlTooLong          414
├── UnsupportedBody     415
├── HeadersTooLarge     431
├── Unauthorized        401
├── Forbidden           403
├── ModelNotFound       404
├── LoadFailed          409
├── Overloaded          429, with Retry-After
├── NotFound            404
├── MethodNotAllowed    405
├── NotReady            503, with Retry-After
├── Busy                503, with Retry-After
├── DeadlinePassed      504
├── InferenceFailed     500
├── InternalError       500
└── ClientGone          never answered
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar


class ServiceError(Exception):
    """An error that the client gets; `param` names the field at fault."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)


class InvalidRequest(ServiceError):
    """The request is not what the schema says."""

    status = 422
    type = "invalid_request"


class TooLarge(ServiceError):
    """The body, or the number of passages, is over its limit."""

    status = 413
    type = "too_large"


class BadHttp(ServiceError):
    """What came is not HTTP/1.1."""

    status = 400
    type = "bad_http"


class TooSlow(ServiceError):
    """The headers or the body did not come in time."""

    status = 408
    type = "too_slow"


class UrlTooLong(ServiceError):
    """The request's line is over the limit of the headers."""

    status = 414
    type = "url_too_long"


class UnsupportedBody(ServiceError):
    """The body's encoding is unknown, or a browser sends it for a page of another site."""

    status = 415
    type = "unsupported_body"


class HeadersTooLarge(ServiceError):
    """The headers are too many, or too large."""

    status = 431
    type = "headers_too_large"


class Unauthorized(ServiceError):
    """The API key is missing or wrong."""

    status = 401
    type = "unauthorized"

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"WWW-Authenticate": "Bearer"})


class Forbidden(ServiceError):
    """The key does not open this, or nothing does."""

    status = 403
    type = "forbidden"


class ModelNotFound(ServiceError):
    """No model of that name is served."""

    status = 404
    type = "model_not_found"


class NotFound(ServiceError):
    """There is no such path."""

    status = 404
    type = "not_found"


class MethodNotAllowed(ServiceError):
    """The path is there, and takes another method."""

    status = 405
    type = "method_not_allowed"


class LoadFailed(ServiceError):
    """A bundle could not be loaded; what was served before still is."""

    status = 409
    type = "load_failed"


def not_loaded(name: str, problem: str) -> str:
    """What a `LoadFailed` says of the model `name`."""
    return f"{name} was not loaded, and what was served before still is: {problem}"


class Overloaded(ServiceError):
    """The queue is full, or the request would be late; `hopeless`: so would the smallest one."""

    status = 429
    type = "overloaded"
    hopeless: bool = False


class OverBudget(Overloaded):
    """The key has used up what its requests may cost; `seconds` from now there is more."""

    type = "over_budget"

    def __init__(self, message: str, seconds: float) -> None:
        retry_after = max(1, math.ceil(seconds))
        super().__init__(f"{message}: come back in {retry_after} s", retry_after=retry_after)


class NotReady(ServiceError):
    """The server is loading, draining or unwell."""

    status = 503
    type = "not_ready"


def stopping() -> NotReady:
    """What a server that stops says to those who come too late."""
    return NotReady("the server is shutting down: ask another one", retry_after=1)


class Busy(ServiceError):
    """There are too many connections, or too many bytes of bodies."""

    status = 503
    type = "busy"


class DeadlinePassed(ServiceError):
    """The request's time was up before its scores were there."""

    status = 504
    type = "deadline_passed"


class InferenceFailed(ServiceError):
    """The backend could not score the request's pairs."""

    type = "inference_failed"


class InternalError(ServiceError):
    """Something that was not foreseen."""


class ClientGone(ServiceError):
    """The client closed the connection; the answer goes nowhere."""

    status = 499
    type = "client_gone"


# What a scoring route may answer.
ANSWERED: tuple[type[ServiceError], ...] = (
    Unauthorized,
    ModelNotFound,
    TooSlow,
    TooLarge,
    UnsupportedBody,
    InvalidRequest,
    Overloaded,
    InferenceFailed,
    NotReady,
    DeadlinePassed,
)

# What may keep a second look at the passages from being made. The answer stands without it.
UNHELPED: tuple[type[ServiceError], ...] = (
    TooLarge,
    Overloaded,
    InferenceFailed,
    NotReady,
    DeadlinePassed,
)
