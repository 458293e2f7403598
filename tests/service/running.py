"""Servers for tests: one in this process over a function, one in its own over the real graph."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx

from retort.models.arrays import LogitArray
from retort.models.bundle import Bundle
from retort.models.encoding import Batch
from retort.service.engines import LocalEngines
from retort.service.http.app import create_app
from retort.service.metrics import Metrics
from retort.service.service import Service
from retort.service.settings import Settings
from tests.fake_bundle import FakeBackend, InferFunction, make_encoder, overlap

ROOT = Path(__file__).parents[2]
# A machine that is busy with something else is slow, not wrong.
PATIENCE_SECONDS = 180


AppTest = Callable[[httpx.AsyncClient, Service], Awaitable[None]]
# In no golden pair.
POISON = make_encoder().encode_passages(["%"])[0].ids[0]


class Held:
    """Scores as `overlap` does; from `hold` on, every batch waits for `release`."""

    def __init__(self) -> None:
        self._held = False
        self._go = threading.Event()

    def hold(self) -> None:
        """Keep what comes from now on."""
        self._held = True

    def release(self) -> None:
        """Let everything go."""
        self._go.set()

    def __call__(self, batch: Batch) -> LogitArray:
        if self._held:
            assert self._go.wait(60)
        return overlap(batch)


def fake_service(
    bundle: Bundle,
    infer: InferFunction,
    settings: Settings,
    teacher_infer: InferFunction | None = None,
) -> Service:
    """A service of one process over functions."""
    backends = {bundle.manifest.name: FakeBackend(infer)}
    teacher = None
    if teacher_infer is not None:
        manifest = bundle.manifest.model_copy(update={"name": "fake-teacher"})
        teacher = replace(bundle, manifest=manifest)
        backends["fake-teacher"] = FakeBackend(teacher_infer)
        settings = settings.model_copy(update={"teacher": "fake-teacher"})
    engines = LocalEngines(settings, Metrics(), [bundle], teacher, backends=backends)
    return Service(settings, engines)


@asynccontextmanager
async def in_process(
    bundle: Bundle,
    infer: InferFunction,
    settings: Settings,
    teacher_infer: InferFunction | None = None,
) -> AsyncIterator[tuple[httpx.AsyncClient, Service]]:
    """A client of an app that is ready, and its service.

    With `teacher_infer` the bundle has itself, renamed, for a teacher over that function.
    """
    service = fake_service(bundle, infer, settings, teacher_infer)
    app = create_app(service)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://retort") as client,
    ):
        end = time.monotonic() + PATIENCE_SECONDS
        while (await client.get("/readyz")).json()["status"] == "loading":
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        yield client, service


def ask(
    bundle: Bundle,
    test: AppTest,
    infer: InferFunction = overlap,
    settings: Settings | None = None,
    teacher_infer: InferFunction | None = None,
) -> None:
    async def main() -> None:
        serving = in_process(bundle, infer, settings or Settings(), teacher_infer)
        async with serving as (client, service):
            await test(client, service)

    asyncio.run(main())


def fragile(batch: Batch) -> LogitArray:
    """Fails for every batch with a per cent sign in it."""
    if (batch.input_ids == POISON).any():
        raise RuntimeError("no per cent")
    return overlap(batch)


def ended_at_start(*flags: str) -> subprocess.CompletedProcess[str]:
    """`retort serve` in a process of its own that cannot start, once it has ended."""
    return subprocess.run(
        [sys.executable, "-m", "retort", "serve", "--port", "0", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )


class ServerProcess:
    """`retort serve`, its processes too; `url` once it listens. `module` is what to run."""

    def __init__(self, *flags: str, module: str = "retort", **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", module, "serve", *flags],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        self.url = self._listening()

    def _listening(self) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"((?:https?://\S+:\d+)|(?:unix:\S+)) serves", line):
                return found[1]
        raise AssertionError(f"the server ended: {''.join(self.log)}")

    def wait_until_ready(self, client: httpx.Client | None = None) -> None:
        """Wait for `/readyz` to say so, to a client whose base is the server or to any."""
        end = time.monotonic() + PATIENCE_SECONDS
        ask = partial(httpx.get, f"{self.url}/readyz", timeout=PATIENCE_SECONDS)
        if client is not None:
            ask = partial(client.get, "/readyz")
        while ask().status_code != 200:
            assert time.monotonic() < end
            assert self.process.poll() is None, self.rest()
            time.sleep(0.05)

    def stop(self) -> int:
        """Send SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def rest(self) -> str:
        """Everything that it wrote, once it has ended."""
        assert self.process.stderr is not None
        self.log += self.process.stderr.readlines()
        return "".join(self.log)


@contextmanager
def server(*flags: str, module: str = "retort", **environment: str) -> Iterator[ServerProcess]:
    """A server on a port of its own, ready; killed in the end if it has not stopped."""
    running = ServerProcess("--port", "0", *flags, module=module, **environment)
    with ended(running):
        running.wait_until_ready()
        yield running


@contextmanager
def ended(running: ServerProcess) -> Iterator[None]:
    """Kill a server in the end if it has not stopped."""
    try:
        yield
    finally:
        running.process.kill()
        running.process.wait()
        if running.process.stderr is not None:
            running.process.stderr.close()
