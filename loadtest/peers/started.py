"""The started peer: its processes, running in its turn and stopped between.

All peers are up from beginning to end, so that turns can alternate quickly; only the one whose turn
it is may run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from retort.loadtest.peers.api import Api
from retort.loadtest.peers.peer import Peer, Places
from retort.loadtest.peers.usage import Tree
from retort.loadtest.server import HOST, Server
from retort.loadtest.texts import Request

READY_TIMEOUT_S = 600.0


@dataclass(slots=True)
class Used:
    """What a turn took; filled in when it is over."""

    cpu_seconds: float = 0.0
    memory_bytes: int = 0


class Started:
    """A peer's server; use it in a `with` block. It is stopped except inside `turn`."""

    def __init__(self, peer: Peer, places: Places, python: Path | None = None) -> None:
        """`python` is that of the peer's environment; this project's own where it has none."""
        self.peer = peer
        self._command = peer.command(places, python or Path(sys.executable))
        self._server: Server | None = None
        self._tree: Tree | None = None

    @property
    def name(self) -> str:
        """The peer's name."""
        return self.peer.name

    @property
    def label(self) -> str:
        """What the peer is called in tables."""
        return self.peer.label

    @property
    def api(self) -> Api:
        """How it is asked."""
        return self.peer.api

    @property
    def host(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self._running()[0].port}"

    def __enter__(self) -> Self:
        """Raises `RuntimeError` with what it printed if it does not start."""
        self._server = Server(
            self._command,
            READY_TIMEOUT_S,
            ready_path=self.peer.ready_path,
            environment=self.peer.environ(),
        ).__enter__()
        self._tree = Tree(self._server.pid)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        server, tree = self._running()
        # A stopped process does not hear that it is to end, and some leave their children behind.
        tree.resume()
        processes = tree.processes()
        server.stop()
        tree.end(processes)

    def _running(self) -> tuple[Server, Tree]:
        if self._server is None or self._tree is None:
            raise RuntimeError(f"{self.name} does not run: use it in a `with` block")
        return self._server, self._tree

    def pause(self) -> None:
        """Stop its processes until its turn."""
        self._running()[1].pause()

    @contextmanager
    def turn(self) -> Iterator[Used]:
        """Let it run, and measure what it takes meanwhile."""
        tree, used = self._running()[1], Used()
        tree.resume()
        before = tree.cpu_seconds()
        try:
            with tree.peak_memory() as peak:
                yield used
        finally:
            used.cpu_seconds, used.memory_bytes = tree.cpu_seconds() - before, peak[0]
            tree.pause()

    def ask(self, request: Request) -> list[float]:
        """Its scores, one for each passage. Raises `RuntimeError`, or `OSError`."""
        return self.api.ask(HOST, self._running()[0].port, request)

    def get_json(self, path: str) -> dict[str, Any]:
        """The JSON object at `path`."""
        return self._running()[0].get_json(path)

    def metrics(self) -> str:
        """What `/metrics` says, of ours."""
        return self._running()[0].get("/metrics")[1].decode()
