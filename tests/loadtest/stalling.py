"""A server for tests of load: it answers in a millisecond, but for a time it answers nobody."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Status = Callable[[str], int]


class Stall:
    """From the first request on: `after` seconds quick, then `seconds` silent, then quick again."""

    def __init__(self, after: float, seconds: float) -> None:
        self.after, self.seconds = after, seconds
        self._first = 0.0

    def wait(self) -> None:
        """Hold whoever comes during the stall until it is over."""
        now = time.monotonic()
        self._first = self._first or now
        begin = self._first + self.after
        if begin <= now < begin + self.seconds:
            time.sleep(begin + self.seconds - now)


@contextmanager
def serve(
    stall: Stall | None = None,
    status: Status = lambda query: 200,
    results: int | None = None,
    seen: list[str] | None = None,
    retry_after: int | None = None,
) -> Iterator[str]:
    """Serve `POST /score` in a thread of this process; gives the URL.

    `results` are given in place of one for each passage; headers are noted in `seen`; every
    answer says `retry_after` if that is set.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if seen is not None:
                seen.append(f"{self.path} {body.get('mode')} {self.headers['Authorization']}")
            if stall is not None:
                stall.wait()
            time.sleep(0.001)
            count = len(body["passages"]) if results is None else results
            answer = json.dumps({"results": [{"index": i} for i in range(count)]}).encode()
            head = f"HTTP/1.1 {status(body['query'])} -\r\nContent-Length: {len(answer)}\r\n"
            if retry_after is not None:
                head += f"Retry-After: {retry_after}\r\n"
            self.wfile.write(f"{head}\r\n".encode() + answer)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is none."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
