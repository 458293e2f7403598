"""The ground: what all parts of the stress run stand on: the server, the bundle, the options."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort.loadtest.client import Load, Outcome, run_in_process
from retort.loadtest.counters import Counters
from retort.loadtest.extract import EXTRACT, bodies
from retort.loadtest.server import HOST, Server
from retort.loadtest.step import Loop, Step, Taken, run_step
from retort.loadtest.texts import Request
from retort.models.bundle import Bundle
from retort.models.encoding import PairEncoder
from retort.service.settings import Settings

ROUTE = "/score"
# A batch is counted a moment after its last request is answered.
SETTLE_S = 0.2

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What `retort stress` was asked for; `seconds` are those of one measurement."""

    bundle: str = "retort-small"
    settings: Path | None = None
    pairs: Path = EXTRACT
    clients: int = 32
    rounds: int = 3
    seconds: float = 20.0
    rate: float = 5.0  # small requests a second, in quiet and beside large ones
    large: int = 1000  # passages of a large request
    timeout_ms: int = 1000
    memory_pairs: int = 500_000
    warmup_pairs: int = 50_000
    seed: int = 0
    command: str = "retort stress"


@dataclass(frozen=True, slots=True)
class Ground:
    """A server that is ready, what it serves, and how to put load on it."""

    server: Server
    bundle: Bundle
    encoder: PairEncoder
    settings: Settings
    options: Options
    progress: Progress
    run: Callable[[Step], Taken] = run_step
    send: Callable[[Load], Outcome] = run_in_process

    def step(
        self,
        requests: Sequence[Request],
        loop: Loop,
        *,
        users: int = 1,
        rate: float = 1.0,
        even: bool = False,
        **asked: object,
    ) -> Taken:
        """Run one step of the options' seconds; `asked` goes into every body."""
        return self.run(
            Step(
                host=f"http://{HOST}:{self.server.port}",
                bodies=bodies(requests, **asked),
                pairs=tuple(len(request.passages) for request in requests),
                seconds=self.options.seconds,
                loop=loop,
                users=users,
                rate=rate,
                arrivals="even" if even else "poisson",
                seed=self.options.seed,
            )
        )

    def load(self, requests: Sequence[Request], seconds: float) -> Outcome:
        """Put the closed load of the lean client on the server for so long."""
        clients = self.options.clients
        port = self.server.port
        return self.send(Load(HOST, port, ROUTE, bodies(requests), clients, seconds))

    def counters(self) -> Counters:
        """What the server's metrics have counted so far."""
        time.sleep(SETTLE_S)
        return Counters.parse(self.server.get("/metrics")[1].decode())

    def backend(self) -> dict[str, Any]:
        """What the server says of its backend."""
        return self.server.backend()


def request_body(request: Request, **asked: object) -> bytes:
    """One request as the JSON body of `POST /score`."""
    return bodies([request], **asked)[0].encode()
