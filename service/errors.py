"""Service errors: each has an HTTP status, a type, and one shape in which it is answered.

    ServiceError
    ├── InvalidRequest      422
    ├── TooLarge            413
    ├── Unauthorized        401
    ├── Forbidden           403
    ├── ModelNotFound       404
    ├── LoadFailed          409
    ├── Overloaded          429, with Retry-After
    ├── NotReady            503, with Retry-After
    ├── DeadlinePassed      504
    ├── InferenceFailed     500
    ├── InternalError       500
    └── ClientGone          never answered

The shape: `{"error": {"type": …, "message": …, "param": …}}`.
"""

from __future__ import annotations

from typing import ClassVar

import orjson


class ServiceError(Exception):
    """An error that the client gets; `param` names the field at fault."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal"

    def __init__(
        self, message: str, *, param: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after

    def body(self) -> bytes:
        """The error as JSON, in the one shape."""
        return error_body(self.type, self.message, self.param)

    def headers(self) -> dict[str, str]:
        """Headers that belong to the error."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


class InvalidRequest(ServiceError):
    """The request is not what the schema says."""

    status = 422
    type = "invalid_request"


class TooLarge(ServiceError):
    """The body, or the number of passages, is over its limit."""

    status = 413
    type = "too_large"


class Unauthorized(ServiceError):
    """The API key is missing or wrong."""

    status = 401
    type = "unauthorized"

    def headers(self) -> dict[str, str]:
        """Headers that belong to the error."""
        return {"WWW-Authenticate": "Bearer"}


class Forbidden(ServiceError):
    """The key does not open this, or nothing does."""

    status = 403
    type = "forbidden"


class ModelNotFound(ServiceError):
    """No model of that name is served."""

    status = 404
    type = "model_not_found"


class LoadFailed(ServiceError):
    """A bundle could not be loaded; what was served before still is."""

    status = 409
    type = "load_failed"


def not_loaded(name: str, problem: str) -> str:
    """What a `LoadFailed` says of the model `name`."""
    return f"{name} was not loaded, and what was served before still is: {problem}"


class Overloaded(ServiceError):
    """The queue is full, or the request would be late."""

    status = 429
    type = "overloaded"


class NotReady(ServiceError):
    """The server is loading, draining or unwell."""

    status = 503
    type = "not_ready"


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
    TooLarge,
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


def error_body(type_: str, message: str, param: str | None = None) -> bytes:
    """The one error shape as JSON."""
    return orjson.dumps({"error": {"type": type_, "message": message, "param": param}})
