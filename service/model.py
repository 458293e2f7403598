"""A served model: under one name, the bundle that answers now, on the engine that runs it.

A newer version, or another engine of the same version, takes over between two requests; what the
old one has accepted it still answers. A request whose engine ends is tried once more on the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from retort.models.arrays import FloatArray
from retort.models.bundle import Bundle
from retort.models.manifest import Manifest
from retort.models.reading.windows import Reading
from retort.service.engine.job import Outcome
from retort.service.engine.link import EngineLost
from retort.service.engine.scorer import Scorer
from retort.service.errors import ClientGone, DeadlinePassed, NotReady
from retort.service.metrics import Role

# How stale an engine's heartbeat may be before it does not count as ready.
STALE_SECONDS = 0.8


@dataclass(frozen=True, slots=True)
class Served:
    """A bundle on an engine; `backend` describes what runs it, as `/info` shows it."""

    bundle: Bundle
    scorer: Scorer
    backend: dict[str, Any]

    @property
    def manifest(self) -> Manifest:
        """The bundle's manifest."""
        return self.bundle.manifest

    @property
    def trouble(self) -> str | None:
        """What the engine cannot mend by itself, if it is in this process."""
        return self.scorer.link.trouble

    @property
    def healthy(self) -> bool:
        """Whether its engine lives, and its last forward pass worked and is not overdue."""
        link = self.scorer.link
        board, now = link.board, time.perf_counter()
        beating = now - board.beat < STALE_SECONDS and now < board.overdue_at
        return not link.lost and not link.trouble and beating and board.healthy > 0


class Model:
    """Student or teacher, by `name`; `served` is None until it is loaded and between engines."""

    def __init__(self, role: Role, name: str) -> None:
        self.role = role
        self.name = name
        self.served: Served | None = None
        self._changed = asyncio.Event()

    @property
    def healthy(self) -> bool:
        """Whether it can answer."""
        return self.served is not None and self.served.healthy

    @property
    def queue_tokens(self) -> float:
        """Tokens accepted and not yet scored."""
        return 0.0 if self.served is None else self.served.scorer.link.board.tokens

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU."""
        served = self.served
        return served is not None and served.backend["provider"] in ("cuda", "tensorrt")

    def now(self) -> Served:
        """What answers now. Raises `NotReady`."""
        if self.served is None:
            raise NotReady(f"{self.name} has no engine at the moment: ask again", retry_after=1)
        return self.served

    def serve(self, served: Served | None) -> Served | None:
        """Let `served` answer from now on; returns what did before."""
        before, self.served = self.served, served
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        return before

    async def score(
        self,
        queries: Sequence[str],
        passages: Sequence[str],
        seconds: float,
        gone: asyncio.Future[None] | None = None,
        *,
        reading: Reading,
        client: int = 0,
        background: bool = False,
    ) -> tuple[Served, Outcome]:
        """Score within `seconds`, as `Scorer.score`; also what scored it.

        Raises what that raises; instead of `EngineLost`, `NotReady` if the engine ended twice.
        """
        deadline = time.perf_counter() + seconds

        async def ask(served: Served, *, alone: bool = False) -> tuple[Served, Outcome]:
            return served, await served.scorer.score(
                queries,
                passages,
                deadline,
                gone,
                reading=reading,
                client=client,
                background=background,
                alone=alone,
            )

        served = self.now()
        try:
            return await ask(served)
        except EngineLost:
            served = await self._next(served, deadline, gone)
        try:
            # Perhaps it was this request that the engine died of: it must not take others along.
            return await ask(served, alone=True)
        except EngineLost:
            raise NotReady(
                "the engine ended twice while it scored this request: leave out what may be "
                "unusual about it, or ask again",
                retry_after=1,
            ) from None

    def estimate_seconds(self, query: str, passages: Sequence[str], reading: Reading) -> FloatArray:
        """Estimate when each passage would be scored, in seconds from now; (passages,)."""
        return self.now().scorer.estimate_seconds([query], passages, reading)

    async def _next(
        self, lost: Served, deadline: float, gone: asyncio.Future[None] | None
    ) -> Served:
        while self.served is None or self.served is lost:
            left = deadline - time.perf_counter()
            if gone is not None and gone.done():
                raise ClientGone("the client has gone")
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                raise DeadlinePassed(
                    "the engine ended, and no other was there in time: ask again",
                    param="timeout_ms",
                ) from None
        return self.served
