"""The client: ranks passages over HTTP, with the methods and results of `retort.load(...)`.

`Client` and `AsyncClient` share everything but the waiting. Importing this package imports neither
numpy nor a backend.
"""

from retort.extras import install_advice

try:
    import httpx  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(install_advice("retort.Client", "httpx", "client"), name="httpx") from error

from retort.client.answers import Answer, Timings, UnscoredPassage, Usage
from retort.client.async_client import AsyncClient
from retort.client.client import Client
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
from retort.client.information import Limits, RunningModel, ServedModel, ServerInfo

__all__ = [
    "Answer",
    "AsyncClient",
    "Client",
    "ConnectionFailed",
    "DeadlinePassed",
    "InvalidRequest",
    "Limits",
    "NotFound",
    "NotReady",
    "Overloaded",
    "RetortError",
    "RunningModel",
    "ServedModel",
    "ServerError",
    "ServerInfo",
    "Timings",
    "TooLarge",
    "Unauthorized",
    "UnscoredPassage",
    "Usage",
]
