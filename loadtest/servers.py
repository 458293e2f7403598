"""Servers: a target as a process of its own, started, awaited and stopped, and its counters."""

from __future__ import annotations

import http.client
import json
import math
import os
import platform
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from prometheus_client.parser import text_string_to_metric_families

from retort.loadtest.load import Step
from retort.loadtest.targets import Target
from retort.loadtest.traffic import Request
from retort.models.runtime.cores import usable_cores

HOST = "127.0.0.1"
READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0
# A batch is counted a moment after its last request is answered.
SETTLE_S = 0.2
# Instructions that decide how fast a matrix product is.
TELLING_FLAGS = ("amx_bf16", "amx_int8", "avx512_bf16", "avx512_vnni", "avx512f", "avx2")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A target's process; use it in a `with` block, inside which it is ready.

    with Server(serve("retort-small")) as server:
        server.get_json("/info")
    """

    def __init__(self, target: Target, *, ready_timeout_s: float = READY_TIMEOUT_S) -> None:
        self.target = target
        self.port = free_port()
        self._ready_timeout_s = ready_timeout_s
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the process and wait until it is ready.

        Raises `RuntimeError` with what it printed if it ends or is not ready in time.
        """
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [*self.target.command, "--host", HOST, "--port", str(self.port)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self.target.environment},
        )
        try:
            self._await_ready(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + self._ready_timeout_s
        while time.monotonic() < end:
            if process.poll() is not None:
                raise RuntimeError(
                    f"{self.target.label} ended with status {process.returncode} before it was "
                    f"ready:\n{self.output()}"
                )
            try:
                if self.get(self.target.ready_path)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError(
            f"{self.target.label} was not ready after {self._ready_timeout_s:g} s:\n{self.output()}"
        )

    @property
    def host(self) -> str:
        """The server's URL."""
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The process. Raises `RuntimeError` if it does not run."""
        if self._process is None:
            raise RuntimeError(f"{self.target.label} does not run: use it in a `with` block")
        return self._process.pid

    def output(self) -> str:
        """The last 4,000 bytes that the process has printed so far."""
        if self._log is None:
            return ""
        end = self._log.seek(0, os.SEEK_END)
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

    def text(self, path: str) -> str:
        """What `path` answers. Raises `RuntimeError` unless that is a 200."""
        status, body = self.get(path)
        if status != 200:
            raise RuntimeError(
                f"GET {path} of {self.target.label} was answered with {status}: {body[:200]!r}"
            )
        return body.decode()

    def get_json(self, path: str) -> dict[str, Any]:
        """The JSON object at `path`. Raises `RuntimeError` unless it is answered with 200."""
        answer: dict[str, Any] = json.loads(self.text(path))
        return answer

    def backend(self) -> dict[str, Any]:
        """The student's backend, as `GET /info` of `retort serve` describes it."""
        backend: dict[str, Any] = self.get_json("/info")["backend"]
        return backend

    def counters(self) -> Counters:
        """What the metrics of `retort serve` have counted so far, the last batch included."""
        time.sleep(SETTLE_S)
        return Counters.parse(self.text("/metrics"))

    def step(
        self,
        requests: Sequence[Request],
        *,
        fields: Mapping[str, object] | None = None,
        **options: Any,
    ) -> Step:
        """A step of `requests` for this server.

        `fields` go into every body; `options` are the further ones of `Step`.
        """
        api = self.target.api
        return Step(
            host=self.host,
            bodies=tuple(json.dumps({**api.body(r), **(fields or {})}) for r in requests),
            pairs=tuple(len(request.passages) for request in requests),
            route=api.route,
            results_at=api.results_at,
            **options,
        )

    def terminate(self, seconds: float) -> bool:
        """Send SIGTERM; whether the process has ended within so many seconds."""
        if self._process is None:
            return True
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """Ask the process to drain and end; end it if it does not. Idempotent."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._log is not None:
            self._log.close()
            self._log = None


@dataclass(frozen=True, slots=True)
class Counters:
    """Batches, their pairs, their tokens with padding; requests and seconds by stage."""

    batches: float
    pairs: float
    tokens: float
    stages: Mapping[str, tuple[float, float]]

    @classmethod
    def parse(cls, text: str) -> Counters:
        """Read the Prometheus text of `/metrics`. Raises `KeyError` if a series is not there."""
        plain: dict[str, float] = {}
        stages: dict[str, dict[str, float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if family.name == "retort_stage_seconds":
                    kind = sample.name.removeprefix(f"{family.name}_")
                    stages.setdefault(sample.labels["stage"], {})[kind] = sample.value
                elif not sample.labels:
                    plain[sample.name] = sample.value
        return cls(
            plain["retort_batch_pairs_count"],
            plain["retort_batch_pairs_sum"],
            plain["retort_batch_tokens_sum"],
            {name: (sums["count"], sums["sum"]) for name, sums in stages.items()},
        )

    def since(self, before: Counters) -> Counters:
        """What was counted after `before`."""
        return Counters(
            self.batches - before.batches,
            self.pairs - before.pairs,
            self.tokens - before.tokens,
            {
                name: (count - before.stages[name][0], seconds - before.stages[name][1])
                for name, (count, seconds) in self.stages.items()
            },
        )

    def usual_batch(self) -> int:
        """Pairs in the mean batch, rounded. Raises `ValueError` if no batch ran."""
        if not self.batches:
            raise ValueError("the server ran no batch between the two readings of its metrics")
        return max(1, math.floor(self.pairs / self.batches + 0.5))

    def mean_seconds(self, stage: str) -> float:
        """Mean seconds per request in a stage. Raises `ValueError` if no request was in it."""
        count, seconds = self.stages[stage]
        if not count:
            raise ValueError(
                f"no request went through the stage {stage!r} between the two readings of the "
                "server's metrics"
            )
        return seconds / count


def shadow_outcomes(text: str) -> dict[str, int]:
    """Shadowed requests by outcome: compared, dropped because no slot was idle, or failed."""
    return {
        sample.labels["outcome"]: round(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "retort_shadow_requests_total"
    }


def describe_machine(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Processor, cores that this process may use, telling instructions, Python.

    >>> describe_machine()  # doctest: +SKIP
    'AMD EPYC, 2 cores (avx512_bf16, avx512_vnni, avx512f, avx2), Python 3.11.7'
    """
    try:
        text = cpuinfo.read_text()
    except OSError:
        text = ""
    facts = {
        key.strip(): value.strip()
        for key, colon, value in (line.partition(":") for line in text.splitlines())
        if colon
    }
    flags = set(facts.get("flags", "").split())
    telling = ", ".join(flag for flag in TELLING_FLAGS if flag in flags)
    name = facts.get("model name") or platform.processor() or platform.machine()
    count = usable_cores()
    cores = f"{count} core{'s' * (count != 1)}"
    return (
        f"{name}, {cores}{f' ({telling})' if telling else ''}, Python {platform.python_version()}"
    )
