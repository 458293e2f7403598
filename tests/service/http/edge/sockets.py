"""Clients on bare sockets, which do what no HTTP library would."""

from __future__ import annotations

import json
import socket
import time
from typing import Any, NamedTuple

from tests.service.running import PATIENCE_SECONDS, ServerProcess

BODY = json.dumps({"query": "how tall is the eiffel tower", "passages": ["paris"]}).encode()
HALF_HEAD = b"POST /score HTTP/1.1\r\nHost: retort\r\n"


class Answer(NamedTuple):
    """What came back, until the server closed or the whole answer was there."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error


def connect(server: ServerProcess) -> socket.socket:
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), PATIENCE_SECONDS)


def head(path: str = "/score", length: int = len(BODY), *lines: str) -> bytes:
    fields = "".join(f"{line}\r\n" for line in (f"Content-Length: {length}", *lines))
    return f"POST {path} HTTP/1.1\r\nHost: retort\r\n{fields}\r\n".encode()


def answer(client: socket.socket) -> Answer:
    """Read one answer and nothing after it; status 0 if the server hangs up before it."""
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        if not byte:
            return Answer(0, {}, received)
        received += byte
    first, *lines = received.decode().strip().split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    headers = {name: value for name, _, value in pairs}
    body = b""
    while len(body) < int(headers["content-length"]):
        data = client.recv(int(headers["content-length"]) - len(body))
        assert data
        body += data
    return Answer(int(first.split()[1]), headers, body)


def seconds_until_closed(client: socket.socket) -> float:
    """How long it takes until the server closes; what it says before is read and dropped."""
    start = time.monotonic()
    try:
        while client.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - start


def seconds_of_sending(client: socket.socket, data: bytes, pause: float) -> float:
    """How long the server lets a client send `data` a byte at a time, with a pause after each."""
    start = time.monotonic()
    try:
        for byte in data:
            client.sendall(bytes([byte]))
            time.sleep(pause)
    except OSError:
        pass
    return time.monotonic() - start


def bytes_sent(client: socket.socket, most: int) -> int:
    """How many bytes the server lets a client send, at most so many."""
    sent = 0
    try:
        while sent < most:
            sent += client.send(b"a" * 65536)
    except OSError:
        pass
    return sent


def bytes_received(client: socket.socket) -> int:
    """How many bytes come until the connection is closed or cut."""
    received = 0
    try:
        while data := client.recv(65536):
            received += len(data)
    except ConnectionResetError:
        pass
    return received
