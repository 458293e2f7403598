"""The crowd: clients of one server that check every answer, while something is done to the server.

Each asks, waits for its answer, and asks again. A request that was never answered, or that was
answered with 500, 502 or 504, was lost; one that was turned away with 429 or 503 was not accepted.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter

import httptools
import orjson

from retort.loadtest.client import Connection
from retort.loadtest.servers import HOST, Server
from retort.loadtest.targets import RETORT, by_index
from retort.loadtest.traffic import Request

# How far scores of one pair may be apart: rounding depends on the batch on some backends.
TOLERANCE = 0.02
TIMEOUT_S = 20.0
TURNED_AWAY = (429, 503)
NO_ANSWER = 0
PAUSE_S = 0.01
# What an engine has sent before it is lost arrives within this time.
ON_ITS_WAY_S = 0.05


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one request; `status` 0: nothing, and `problem` says what instead."""

    sent: float
    done: float
    status: int
    problem: str = ""

    @property
    def well(self) -> bool:
        """Whether it has the right scores."""
        return self.status == 200 and not self.problem

    @property
    def wrong(self) -> bool:
        """Whether it was answered with other scores."""
        return self.status == 200 and bool(self.problem)

    @property
    def lost(self) -> bool:
        """Whether it was accepted and not answered."""
        return self.status != 200 and self.status not in TURNED_AWAY


@dataclass(slots=True)
class Crowd:
    """`users` clients of a server. `expected` are the scores by version, for each request.

    With several versions an answer must match the one that it names.
    """

    server: Server
    requests: Sequence[Request]
    expected: Mapping[str, Sequence[Sequence[float]]]
    users: int = 8
    replies: list[Reply] = field(default_factory=list)

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """Ask until the block ends; what is in flight then is still waited for."""
        ending = asyncio.Event()
        users = [asyncio.create_task(self._user(number, ending)) for number in range(self.users)]
        try:
            yield
        finally:
            ending.set()
            await asyncio.gather(*users)

    async def flowing(self, since: float, longest_s: float) -> float | None:
        """Seconds from `since` to the first good answer that was not on its way; None: none."""
        start = len(self.replies)
        while perf_counter() < since + longest_s:
            for reply in self.replies[start:]:
                if reply.well and reply.done > since + ON_ITS_WAY_S:
                    return reply.done - since
            await asyncio.sleep(0.005)
        return None

    async def _user(self, number: int, ending: asyncio.Event) -> None:
        bodies = [json.dumps(RETORT.body(request)).encode() for request in self.requests]
        connection: Connection | None = None
        turn = number
        while not ending.is_set():
            index = turn % len(bodies)
            turn += self.users
            sent = perf_counter()
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    if connection is None:
                        opened = await asyncio.open_connection(HOST, self.server.port)
                        connection = Connection(*opened)
                    response = await connection.post(_post(bodies[index]))
            except ConnectionRefusedError:
                # Nobody listens: this one was never sent.
                await asyncio.sleep(PAUSE_S)
                continue
            except (OSError, TimeoutError, httptools.HttpParserError) as error:
                self.replies.append(Reply(sent, perf_counter(), NO_ANSWER, repr(error)))
                if connection is not None:
                    connection.close()
                connection = None
                await asyncio.sleep(PAUSE_S)
                continue
            status = response.parser.get_status_code()
            problem = self._check(index, bytes(response.body)) if status == 200 else ""
            self.replies.append(Reply(sent, perf_counter(), status, problem))
            if not response.keep_alive:
                connection.close()
                connection = None
            if status in TURNED_AWAY:
                await asyncio.sleep(PAUSE_S)
        if connection is not None:
            connection.close()

    def _check(self, index: int, body: bytes) -> str:
        answer = orjson.loads(body)
        version = answer["version"]
        if version not in self.expected:
            return f"of version {version}, which nobody served"
        scores = by_index(answer["results"], "score")
        apart = max(
            abs(found - right)
            for found, right in zip(scores, self.expected[version][index], strict=True)
        )
        return f"a score is off by {apart:.3f}" if apart > TOLERANCE else ""


def _post(body: bytes) -> bytes:
    head = f"POST /score HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
