"""The lean generator: keep-alive connections on one event loop, on bare sockets.

    python -m retort.loadtest.client      reads a `Step` as JSON, prints its `Outcome`

It speaks HTTP/1.1 itself, because a comfortable client costs more per request than the server does.
"""

from __future__ import annotations

import asyncio
import resource
from itertools import count
from time import perf_counter
from urllib.parse import urlsplit

import httptools

from retort.loadtest.load import (
    BACKOFF_S,
    NO_ANSWER,
    OK,
    POLL_S,
    Outcome,
    Recording,
    Step,
    complete,
    gaps,
    print_outcome,
    read_step,
)


class _Response:
    """Takes one response from the parser's callbacks."""

    def __init__(self) -> None:
        self.complete = False
        self.keep_alive = False
        self.retry_after = False
        self.body = bytearray()
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.retry_after |= name.lower() == b"retry-after"

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        # Only here the parser knows.
        self.keep_alive = self.parser.should_keep_alive()
        self.complete = True


class Connection:
    """One keep-alive connection, with one request in flight at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def gone(self) -> bool:
        """Whether the server has closed it meanwhile."""
        return self._reader.at_eof() or self._writer.is_closing()

    async def post(self, request: bytes) -> _Response:
        """Send a whole HTTP request; the response.

        Raises `ConnectionError` if the server hangs up before it has answered.
        """
        self._writer.write(request)
        response = _Response()
        while not response.complete:
            data = await self._reader.read(65536)
            if not data:
                raise ConnectionError("the server closed the connection before it answered")
            response.parser.feed_data(data)
        return response

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


class Client:
    """Sends the requests of one step and fills in its recording."""

    def __init__(self, step: Step) -> None:
        self.recording = Recording(step)
        self._step = step
        parts = urlsplit(step.host)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._requests = [self._http(body.encode()) for body in step.bodies]
        self._turns = count()
        self._idle: list[Connection] = []
        self._room = asyncio.Semaphore(step.connections if step.loop == "open" else step.users)
        self._sending: set[asyncio.Task[bool]] = set()

    async def run(self) -> Outcome:
        """Run the step to its end."""
        closed = self._step.loop == "closed"
        sources = [self._user() for _ in range(self._step.users)] if closed else [self._source()]
        tasks = [asyncio.create_task(source) for source in sources]
        for condition, longest in self.recording.waits():
            end = perf_counter() + longest
            while (left := end - perf_counter()) > 0 and not (condition and condition()):
                await asyncio.sleep(min(POLL_S, left) if condition else left)
        outcome = self.recording.outcome()
        unfinished = [*tasks, *self._sending]
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        for connection in self._idle:
            connection.close()
        return outcome

    async def _user(self) -> None:
        """A closed loop: send, wait for the answer, send again."""
        while (now := perf_counter()) < self.recording.until:
            if not await self._send(now):
                await asyncio.sleep(BACKOFF_S)

    async def _source(self) -> None:
        """An open loop: send each request when it is due, and do not wait for its answer."""
        due = perf_counter()
        for gap in gaps(self._step.rate, self._step.arrivals, self._step.seed):
            due += gap
            # When late it does not wait: the schedule does not depend on server or client.
            await asyncio.sleep(max(0.0, due - perf_counter()))
            if due >= self.recording.until:
                break
            task = asyncio.create_task(self._send(due))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        self.recording.all_sent = True

    async def _send(self, due: float) -> bool:
        """Send the next request, which was due at `due`; whether it was answered well."""
        turn = next(self._turns)
        index = turn % len(self._requests)
        pairs = self._step.pairs[index]
        status, retry_after = NO_ANSWER, False
        self.recording.sent(turn, due, pairs)
        try:
            async with asyncio.timeout(self._step.timeout_s), self._room:
                response = await self._exchange(self._requests[index])
            status, retry_after = response.parser.get_status_code(), response.retry_after
            if status == OK and not complete(bytes(response.body), pairs, self._step.results_at):
                status = NO_ANSWER
        except (OSError, TimeoutError, httptools.HttpParserError):
            pass  # counted as not answered
        self.recording.answered(turn, status, retry_after)
        return status == OK

    async def _exchange(self, request: bytes) -> _Response:
        while self._idle:
            connection = self._idle.pop()
            if not connection.gone:
                break
            connection.close()
        else:
            connection = Connection(*await asyncio.open_connection(self._host, self._port))
        try:
            response = await connection.post(request)
        except BaseException:
            connection.close()
            raise
        if response.keep_alive:
            self._idle.append(connection)
        else:
            connection.close()
        return response

    def _http(self, body: bytes) -> bytes:
        head = (
            f"POST {self._step.route} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def main() -> None:
    """Run the step that standard input holds."""
    import uvloop

    # A connection for each request in flight, and a few files more.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print_outcome(uvloop.run(Client(read_step()).run()))


if __name__ == "__main__":
    main()
