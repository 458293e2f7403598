"""Errors of the client: every failure of a call is one of these.

RetortError
├── InvalidRequest      422: the request is not what the schema says; also a ValueError
├── Unauthorized        401, 403: the API key is missing or wrong
├── NotFound            404: no such model, or no Retort at this URL
├── TooLarge            413: over a limit of the server
├── Overloaded          429: the queue is full; retried
├── NotReady            503: loading, stopping or failing; retried
├── DeadlinePassed      504, or `timeout` was over here; also a TimeoutError
├── ConnectionFailed    no answer, or a proxy's 502; retried
└── ServerError         500, or an answer that is not Retort's
"""

from __future__ import annotations


class RetortError(Exception):
    """A call that failed.

    `status` is the HTTP status, None where there was no answer. `type`, `message` and `param` (the
    field at fault) are the server's; of an answer that is not Retort's, `type` is empty.
    `retry_after` is in seconds, where the server named it.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        type: str = "",
        param: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.type = type
        self.param = param
        self.request_id = request_id
        self.retry_after = retry_after


class InvalidRequest(RetortError, ValueError):
    """The request is not what the schema says; `param` names the field."""


class Unauthorized(RetortError):
    """The API key is missing or wrong, or does not open this."""


class NotFound(RetortError):
    """No model of that name is served, or there is no Retort at this URL."""


class TooLarge(RetortError):
    """The request is over a limit of the server, and cannot be split further."""


class Overloaded(RetortError):
    """The server's queue is full, or the request would be late."""


class NotReady(RetortError):
    """The server is loading, stopping or failing."""


class DeadlinePassed(RetortError, TimeoutError):
    """The time for the call was over before the answer was there."""


class ConnectionFailed(RetortError):
    """The server could not be reached, or closed the connection without an answer."""


class ServerError(RetortError):
    """The server failed, or the answer is not Retort's."""
