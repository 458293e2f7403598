"""HAProxy over the shipped configuration, and servers to put behind it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from retort.loadtest.servers import free_port
from tests.docker.dockerfile import DOCKER
from tests.service.running import PATIENCE_SECONDS

CONFIG = DOCKER / "balancing" / "haproxy.cfg"
installed = pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for it."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.05)


class Balancer:
    """HAProxy with the shipped file, in front of servers at these ports of this machine."""

    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._metrics = f"http://127.0.0.1:{free_port()}"
        places = {f"RETORT_{n}": f"127.0.0.1:{port}" for n, port in enumerate(ports, start=1)}
        places |= {"BIND": self.url[7:], "BIND_METRICS": self._metrics[7:]}
        self._log = (folder / "haproxy.log").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            ["haproxy", "-db", "-f", str(CONFIG)],
            env={**os.environ, **places},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Self:
        """Wait until it answers."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"HAProxy does not answer: {self.log()}")
            time.sleep(0.05)
        return self

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self._metrics}/metrics").status_code == 200
        except httpx.TransportError:
            return False

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def log(self) -> str:
        """What it has written: changes of servers, and requests that went wrong."""
        return Path(self._log.name).read_text(encoding="utf-8")

    def number(self, name: str, **labels: str) -> float:
        """The sum over the series of a metric with these labels."""
        total = 0.0
        text = httpx.get(f"{self._metrics}/metrics", timeout=PATIENCE_SECONDS).text
        for line in text.splitlines():
            found = re.fullmatch(rf"{name}(?:{{(.*)}})? (\S+)", line)
            if found and all(f'{key}="{value}"' in found[1] for key, value in labels.items()):
                total += float(found[2])
        return total

    def is_up(self, number: int) -> bool:
        """Whether server `number`, from 1 on, gets requests."""
        labels = {"proxy": "retort", "server": f"retort-{number}", "state": "UP"}
        return self.number("haproxy_server_status", **labels) == 1

    def answers_of(self, number: int) -> float:
        """How many answers of the class 2xx server `number` has given."""
        labels = {"proxy": "retort", "server": f"retort-{number}", "code": "2xx"}
        return self.number("haproxy_server_http_responses_total", **labels)

    @property
    def retried(self) -> float:
        """Attempts beyond the first one of a request: each is on another server."""
        return self.number("haproxy_backend_redispatch_warnings_total", proxy="retort")


class Stub:
    """A server that is ready and answers every POST with `status`, in the API's shape."""

    def __init__(self) -> None:
        self.status = 200
        self.seconds = 0.0
        self.asked = 0
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body are two packets, and the second one should not wait.
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self._answer(200, {"status": "ready"})

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                stub.asked += 1
                time.sleep(stub.seconds)
                self._answer(stub.status, {"by": stub.port})

            def _answer(self, status: int, body: dict[str, Any]) -> None:
                text = json.dumps(body).encode()
                self.send_response(status)
                if status in (429, 503):
                    self.send_header("Retry-After", "7")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """HAProxy hangs up as soon as it has the status of a check."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def stubs(folder: Path) -> Iterator[tuple[Balancer, list[Stub]]]:
    """A balancer before three stubs, all up."""
    servers = [Stub() for _ in range(3)]
    try:
        with Balancer(folder, [stub.port for stub in servers]) as balancer:
            yield balancer, servers
    finally:
        for stub in servers:
            stub.close()
