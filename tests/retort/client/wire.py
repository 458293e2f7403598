"""What a client talks to in tests that count seconds: a scripted server, and a clock to turn."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import anyio
import httpx
from anyio.from_thread import start_blocking_portal

from retort.client import AsyncClient, Client
from retort.client.retry import Clock

Kind = Literal["threads", "asyncio", "trio"]
KINDS: tuple[Kind, ...] = ("threads", "asyncio", "trio")

LIMITS = {
    "max_passages": 1000,
    "max_body_bytes": 1_000_000,
    "max_pairs": 1000,
    "max_windows": 32,
    "overlap_tokens": 40,
    "timeout_ms": 10_000,
    "max_timeout_ms": 60_000,
}


@dataclass
class Time:
    """A clock that shows noon of 1 January 1970 and moves only during pauses; and chance."""

    now: float = 0.0
    chance: float = 1.0
    pauses: list[float] = field(default_factory=list)

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.now, lambda: 43_200 + self.now, lambda: self.chance)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)


Reply = httpx.Response | httpx.TransportError | Callable[[dict[str, Any]], httpx.Response]


@dataclass
class Wire:
    """A server of which each passage's text is its score: the next of `script`, then those."""

    script: list[Reply] = field(default_factory=list)
    limits: dict[str, int] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.method == "GET":
            return httpx.Response(200, json=information(**self.limits))
        body = json.loads(request.content)
        self.bodies.append(body)
        reply = self.script.pop(0) if self.script else answer(body)
        if isinstance(reply, httpx.TransportError):
            reply.request = request
            raise reply
        return reply if isinstance(reply, httpx.Response) else reply(body)


def information(**limits: int) -> dict[str, Any]:
    """The body of `GET /info`."""
    return {
        "release": "0",
        "status": "ready",
        "mode": "student",
        "modes": ["student"],
        "limits": LIMITS | limits,
    }


def answer(body: dict[str, Any], **more: Any) -> httpx.Response:
    """The answer to a body of `POST /score`."""
    scores = [float(text) for text in body["passages"]]
    order = sorted(range(len(scores)), key=lambda index: -scores[index])[: body.get("top_n")]
    return httpx.Response(
        200,
        json={
            "id": "r1",
            "model": "m",
            "version": "1",
            "mode": "student",
            "score_kind": "probability",
            "results": [
                {"index": index, "score": scores[index], "spread": 0.0}
                for index in order
                if scores[index] >= body.get("min_score", 0)
            ],
            "answerable": 0.5,
            "usage": {
                "passages": len(scores),
                "pairs": len(scores),
                "windows": 0,
                "tokens": 10,
                "teacher_pairs": 0,
                "truncated": 0,
                "unknown_tokens": 0,
                "query_cut": None,
            },
            "timings_ms": {"tokenize": 1.0, "queue": 1.0, "infer": 1.0, "total": 3.0},
            **more,
        },
    )


def refusal(status: int, **headers: str) -> httpx.Response:
    """An error in the server's shape."""
    error = {"type": "t", "message": "why", "param": "query"}
    return httpx.Response(status, json={"error": error}, headers=headers)


Runner = Callable[[Callable[[], Awaitable[Any]]], Any]


class Blocking:
    """Any of the clients, called as `Client` is; `run` is what runs coroutines."""

    def __init__(self, client: Client | AsyncClient, run: Runner) -> None:
        self._client = client
        self._run = run

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._client, name)
        if isinstance(self._client, Client):
            return method
        return lambda *arguments, **options: self._run(partial(method, *arguments, **options))


def client(kind: Kind, wire: Wire, time: Time | None = None, **options: Any) -> Blocking:
    """A client of `wire` by a clock that does not go by itself."""
    time = time or Time()
    common = {"transport": httpx.MockTransport(wire), "clock": time.clock, **options}
    made = (
        Client("http://retort", sleep=time.sleep, **common)
        if kind == "threads"
        else AsyncClient("http://retort", sleep=time.asleep, **common)
    )
    return Blocking(made, partial(anyio.run, backend=kind))


@contextmanager
def connected(kind: Kind, url: str, **options: Any) -> Iterator[Blocking]:
    """A client of a real server, closed in the end."""
    if kind == "threads":
        with Client(url, **options) as client:
            yield Blocking(client, anyio.run)
        return
    with (
        start_blocking_portal(kind) as portal,
        portal.wrap_async_context_manager(AsyncClient(url, **options)) as client,
    ):
        yield Blocking(client, portal.call)
