"""The client: many keep-alive connections on one event loop, each with one request in flight.

It runs as a process of its own (`python -m retort.loadtest.client`, prints a JSON line), so that
what it costs is not counted as the server's Python. It speaks HTTP/1.1 on bare sockets because a
comfortable client costs more a request than the server does. The load is closed: a client asks
again as soon as it is answered, so the latencies say how long a request takes at that many clients,
not what happens at a set arrival rate.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import count
from time import perf_counter

import httptools

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: the bodies in turn, by `clients` clients, for `seconds` after `warmup_s`."""

    host: str
    port: int
    path: str
    bodies: tuple[str, ...]
    clients: int
    seconds: float
    warmup_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: answers by status, and the latencies (seconds) of those with status 200.

    `completed` are the indices of the bodies answered with 200 within the counted `seconds`.
    """

    seconds: float
    statuses: dict[str, int]
    latencies: list[float] = field(default_factory=list)
    completed: list[int] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Answers that were no 200, and connections that broke."""
        return sum(number for status, number in self.statuses.items() if status != "200")


class _Answer:
    """Takes one response from the parser's callbacks."""

    def __init__(self) -> None:
        self.complete = False
        self.body = bytearray()
        self.parser = httptools.HttpResponseParser(self)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


class Connection:
    """One keep-alive connection; `post` one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, host: str, port: int) -> Connection:
        """Connect. Raises `OSError` if nobody listens."""
        return cls(*await asyncio.open_connection(host, port))

    async def post(self, request: bytes) -> tuple[int, bytes]:
        """Send a whole HTTP request; status and body of the answer.

        Raises `ConnectionError` if the server hangs up before it has answered.
        """
        self._writer.write(request)
        answer = _Answer()
        while not answer.complete:
            data = await self._reader.read(65536)
            if not data:
                raise ConnectionError("the server closed the connection before it answered")
            answer.parser.feed_data(data)
        return answer.parser.get_status_code(), bytes(answer.body)

    async def close(self) -> None:
        """Close the connection."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return


def http_request(host: str, port: int, path: str, body: bytes) -> bytes:
    """A whole HTTP/1.1 POST request."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def run_load(load: Load) -> Outcome:
    """Send the load and time each answer. A broken connection is counted and opened again."""
    requests = [
        http_request(load.host, load.port, load.path, body.encode()) for body in load.bodies
    ]
    turn = count()
    statuses: Counter[str] = Counter()
    latencies: list[float] = []
    completed: list[int] = []
    start = perf_counter() + load.warmup_s
    end = start + load.seconds

    async def client() -> None:
        connection: Connection | None = None
        try:
            while perf_counter() < end:
                index = next(turn) % len(requests)
                began = perf_counter()
                try:
                    async with asyncio.timeout(TIMEOUT_S):
                        if connection is None:
                            connection = await Connection.open(load.host, load.port)
                        status, _ = await connection.post(requests[index])
                except (OSError, TimeoutError, httptools.HttpParserError) as error:
                    statuses[type(error).__name__] += 1
                    if connection is not None:
                        await connection.close()
                    connection = None
                    # A server that refuses every connection must not be asked in a tight loop.
                    await asyncio.sleep(0.05)
                    continue
                done = perf_counter()
                # Answers are counted by when they come: at both edges some are half inside, and
                # these cancel.
                if start <= done < end:
                    statuses[str(status)] += 1
                    if status == 200:
                        latencies.append(done - began)
                        completed.append(index)
        finally:
            if connection is not None:
                await connection.close()

    await asyncio.gather(*(client() for _ in range(load.clients)))
    return Outcome(load.seconds, dict(statuses), latencies, completed)


def run_in_process(load: Load) -> Outcome:
    """Run the load in a client process of its own. Raises `RuntimeError` if that process fails."""
    done = subprocess.run(
        [sys.executable, "-m", "retort.loadtest.client"],
        input=json.dumps(asdict(load)).encode(),
        stdout=subprocess.PIPE,
        timeout=load.warmup_s + load.seconds + 2 * TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the load client ended with status {done.returncode}; see above")
    return Outcome(**json.loads(done.stdout))


def main() -> None:
    """Read a load as JSON from standard input, run it, print the outcome as JSON."""
    import uvloop

    load = Load(**json.load(sys.stdin))
    print(json.dumps(asdict(uvloop.run(run_load(load)))))


if __name__ == "__main__":
    main()
