"""The server under test: `retort serve` as a process of its own, started, awaited and stopped."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"
READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def serve_command(bundle: str, *options: str) -> list[str]:
    """How to start the server that serves `bundle`, by name or path."""
    return [sys.executable, "-m", "retort", "serve", "--bundle", bundle, *options]


class Server:
    """A server process; use it in a `with` block, inside which it is ready.

    with Server(serve_command("retort-small")) as server:
        server.get_json("/info")
    """

    def __init__(
        self,
        command: Sequence[str],
        ready_timeout_s: float = READY_TIMEOUT_S,
        *,
        ready_path: str = "/readyz",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self._ready_path = ready_path
        self._environment = None if environment is None else dict(environment)
        self._ready_timeout_s = ready_timeout_s
        self._command = [*command, "--host", HOST, "--port", str(self.port)]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by stop)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the process and wait for `/readyz`. Raises `RuntimeError` with what it printed."""
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=self._environment,
        )
        try:
            self._await_ready(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + self._ready_timeout_s
        while time.monotonic() < end:
            if process.poll() is not None:
                raise RuntimeError(
                    f"the server ended with status {process.returncode} before it was ready:\n"
                    f"{self.output()}"
                )
            try:
                if self.get(self._ready_path)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError(
            f"the server was not ready after {self._ready_timeout_s:g} s:\n{self.output()}"
        )

    @property
    def pid(self) -> int:
        """The process. Raises `RuntimeError` if it does not run."""
        if self._process is None:
            raise RuntimeError("the server does not run: use it in a `with` block")
        return self._process.pid

    def output(self) -> str:
        """What the process has printed so far, its last 4,000 bytes."""
        end = self._log.seek(0, 2)
        self._log.seek(max(0, end - 4000))
        return self._log.read().decode(errors="replace")

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET. Raises `OSError` if nobody answers."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.HTTPException as error:
            raise ConnectionError(f"GET {path}: {error!r}") from error
        finally:
            connection.close()

    def get_json(self, path: str) -> dict[str, Any]:
        """The JSON object at `path`. Raises `RuntimeError` unless it is answered with 200."""
        status, body = self.get(path)
        if status != 200:
            raise RuntimeError(f"GET {path} was answered with {status}: {body[:200]!r}")
        found: dict[str, Any] = json.loads(body)
        return found

    def backend(self) -> dict[str, Any]:
        """What `GET /info` says of the student's backend."""
        found: dict[str, Any] = self.get_json("/info")["backend"]
        return found

    def stop(self) -> None:
        """Ask the process to drain and end; end it if it does not. Twice is as good as once."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._log.close()
