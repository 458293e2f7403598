"""What the parts of `retort chaos` share: the servers, the crowd, the processes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import psutil

from retort.loadtest.experiments.chaos.crowd import Crowd
from retort.loadtest.options import ChaosOptions
from retort.loadtest.result import Table
from retort.loadtest.rounds import Log
from retort.loadtest.servers import Server
from retort.loadtest.targets import RETORT, serve
from retort.loadtest.traffic import Request, real
from retort.models.bundle import Bundle

PASSAGES = 10
REQUESTS = 40
ADMIN_KEY = "chaos"
ENGINE, FRONT_END = "retort.service.processes.engine", "retort.service.processes.front_end"
READY_S = 120.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a part measured."""

    table: Table
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """The bundle that is served, the options, and where progress is told."""

    bundle: Bundle
    options: ChaosOptions
    log: Log

    def server(self, *flags: str) -> Server:
        """A server of the bundle, to be started."""
        options = ("--log-level", "warning", *flags)
        environment = {"RETORT_ADMIN_API_KEY": ADMIN_KEY}
        return Server(serve(self.bundle.folder, *options, environment=environment))

    def crowd(self, server: Server) -> Crowd:
        """Clients of a server that knows the right answers: those that it gives undisturbed."""
        requests = self.requests()
        version = self.bundle.manifest.version
        expected = [RETORT.ask(server.host, request) for request in requests]
        return Crowd(server, requests, {version: expected}, self.options.users)

    def requests(self) -> tuple[Request, ...]:
        """Requests of real texts."""
        return real(self.bundle.encoder(), None, passages=PASSAGES).requests[:REQUESTS]


def processes(server: Server, module: str) -> list[psutil.Process]:
    """The server's processes that run a module, the oldest first."""
    found = [
        child
        for child in psutil.Process(server.pid).children(recursive=True)
        if module in _command(child)
    ]
    return sorted(found, key=lambda child: child.create_time())


def memory_bytes(server: Server) -> int:
    """Resident bytes of all processes of a server."""
    whole = psutil.Process(server.pid)
    return sum(_resident(process) for process in (whole, *whole.children(recursive=True)))


async def until_ready(server: Server, seconds: float = READY_S) -> None:
    """Wait until it says that it is ready. Raises `RuntimeError`."""
    for _ in range(round(seconds / 0.05)):
        if (await asyncio.to_thread(server.get, "/readyz"))[0] == 200:
            return
        await asyncio.sleep(0.05)
    raise RuntimeError(f"the server was not ready again after {seconds:g} s: {server.output()}")


async def until_engines(server: Server, count: int) -> None:
    """Wait until it has so many engines that beat. Raises `RuntimeError`."""
    for _ in range(round(READY_S / 0.05)):
        engines = processes(server, ENGINE)
        # It listens once it is loaded.
        if len(engines) == count and all(_loaded(engine) for engine in engines):
            await until_ready(server)
            return
        await asyncio.sleep(0.05)
    raise RuntimeError(f"the server had no {count} engines: {server.output()}")


def _loaded(engine: psutil.Process) -> bool:
    try:
        sockets = engine.net_connections("unix")
        listens = any("/engine" in str(socket.laddr) for socket in sockets)
        return listens and engine.status() != psutil.STATUS_STOPPED
    except psutil.Error:
        return False


def _command(process: psutil.Process) -> list[str]:
    try:
        command: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return command


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
