"""The load client, against a tiny server on this machine."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from retort.loadtest.client import Load, Outcome, run_in_process, run_load

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


async def read_request(reader: asyncio.StreamReader) -> bytes | None:
    """The body of the next request; None when the client is gone."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    assert head.startswith(b"POST /score HTTP/1.1\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


def answers(statuses: Callable[[bytes], str], connections: list[int]) -> Handler:
    """A handler that answers every request with the status that its body gets."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        while (body := await read_request(reader)) is not None:
            # In two pieces: an answer seldom arrives whole.
            writer.write(f"HTTP/1.1 {statuses(body)}\r\nContent-Length: 5\r\n\r\nhe".encode())
            await writer.drain()
            await asyncio.sleep(0.001)
            writer.write(b"llo")
        writer.close()

    return handle


def send(handler: Handler, *bodies: str, clients: int = 3) -> Outcome:
    """Run a short load against a server with this handler."""

    async def run() -> Outcome:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await run_load(Load("127.0.0.1", port, "/score", bodies, clients, 0.3))

    return asyncio.run(run())


def test_answers_are_counted_and_connections_kept() -> None:
    connections: list[int] = []
    outcome = send(answers(lambda body: "200 OK", connections), "a", "b", clients=3)
    assert len(connections) == 3
    assert outcome.statuses == {"200": len(outcome.latencies)}
    assert len(outcome.latencies) > 6
    assert all(0.001 <= latency < 0.3 for latency in outcome.latencies)
    assert set(outcome.completed) == {0, 1}
    assert outcome.failed == 0


def test_refusals_are_counted_and_not_timed() -> None:
    handler = answers(lambda body: "200 OK" if body == b"good" else "429 Too Many", [])
    outcome = send(handler, "good", "bad")
    assert set(outcome.statuses) == {"200", "429"}
    assert outcome.failed == outcome.statuses["429"]
    assert len(outcome.latencies) == outcome.statuses["200"]
    assert set(outcome.completed) == {0}


def test_a_broken_connection_is_counted_and_opened_again() -> None:
    connections: list[int] = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        await read_request(reader)
        writer.close()

    outcome = send(hang_up, "a", clients=1)
    assert outcome.statuses == {"ConnectionError": outcome.failed}
    assert outcome.failed >= 2
    assert len(connections) >= 2
    assert outcome.latencies == []


def test_nobody_listening_is_counted() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        outcome = asyncio.run(run_load(Load("127.0.0.1", port, "/score", ("a",), 2, 0.2)))
    assert set(outcome.statuses) == {"ConnectionRefusedError"}


def test_the_process_of_its_own_gives_the_same_kind_of_outcome() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        outcome = run_in_process(Load("127.0.0.1", port, "/score", ("a",), 1, 0.1))
    assert isinstance(outcome, Outcome)
    assert outcome.failed > 0


def test_a_load_process_that_fails_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="load client ended with status"):
        run_in_process(Load("127.0.0.1", 1, "/score", (), 1, 0.1))
