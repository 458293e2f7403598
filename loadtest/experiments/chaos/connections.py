"""Connections that take their time: the part of `retort chaos` in which clients say too little.

Most are silent; others send half a request, or a byte of it per second. Whichever the server closes
comes back at once, so that as many are there all the time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from time import perf_counter

from retort.loadtest.experiments.chaos.crowd import Crowd, Reply
from retort.loadtest.experiments.chaos.setting import Found, Setting, until_ready
from retort.loadtest.result import Cell, Column, Table
from retort.loadtest.rounds import percentile
from retort.loadtest.servers import HOST, Server

COLUMNS = (
    Column("who else is there"), Column("requests", "count"), Column("p50, ms", "ms"),
    Column("p99, ms", "ms"), Column("lost", "count"), Column("their connections", "count"),
    Column("longest open, s", "s"), Column("open past their limit", "count"),
)  # fmt: skip
SILENT, HALF = 500, 250
BLOCK_S = 30.0
# What the server is told, and how much later than that it may notice.
HEADER_S, BODY_S, NOTICED_S = 10, 15, 2.0
FLAGS = ("--header-seconds", str(HEADER_S), "--body-seconds", str(BODY_S))
FILES, IDLE = 128, 140
FEW_S = 5.0
DRIP_S = 1.0
HEAD = b"POST /score HTTP/1.1\r\nHost: retort\r\n"
BODY = HEAD + b'Content-Length: 1000\r\n\r\n{"query":'


@dataclass(frozen=True, slots=True)
class Dawdler:
    """A client that sends `first`, and then a byte per second if it `drips`."""

    first: bytes
    drips: bool
    limit_s: float


SILENCE = Dawdler(b"", False, HEADER_S)
HALVES = (
    Dawdler(HEAD, False, HEADER_S),
    Dawdler(HEAD + b"X-Long: ", True, HEADER_S),
    Dawdler(BODY, False, BODY_S),
    Dawdler(BODY, True, BODY_S),
)


@dataclass(slots=True)
class Flood:
    """Dawdlers of a server, and how long each of their connections was open, in seconds."""

    server: Server
    dawdlers: Sequence[Dawdler]
    lives: list[tuple[Dawdler, float]] = field(default_factory=list)

    @asynccontextmanager
    async def there(self) -> AsyncIterator[None]:
        """Be there until the block ends."""
        tasks = [asyncio.create_task(self._dawdle(dawdler)) for dawdler in self.dawdlers]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def longest(self) -> float:
        """The longest that one was open."""
        return max((life for _, life in self.lives), default=0.0)

    @property
    def past_limit(self) -> int:
        """How many were open for longer than they may be."""
        return sum(life > dawdler.limit_s + NOTICED_S for dawdler, life in self.lives)

    async def _dawdle(self, dawdler: Dawdler) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection(HOST, self.server.port)
            except OSError:
                await asyncio.sleep(DRIP_S)
                continue
            start = perf_counter()
            try:
                writer.write(dawdler.first)
                closed = asyncio.ensure_future(reader.read())
                while not (
                    await asyncio.wait((closed,), timeout=DRIP_S if dawdler.drips else None)
                )[0]:
                    writer.write(b"a")
                closed.exception()
            finally:
                self.lives.append((dawdler, perf_counter() - start))
                writer.close()


async def connections(setting: Setting) -> Found:
    """Alternately with and without a flood; then with more connections than files."""
    quiet: list[Reply] = []
    flooded: list[Reply] = []
    with setting.server(*FLAGS) as server:
        await until_ready(server)
        flood = Flood(server, [SILENCE] * SILENT + list(islice(cycle(HALVES), HALF)))
        crowd = await asyncio.to_thread(setting.crowd, server)
        left = setting.options.flood_s
        while left > 0:
            block_s = min(BLOCK_S, left)
            setting.log(f"connections: {left:.0f} s with and without a flood to come")
            quiet += await _traffic(crowd, block_s)
            async with flood.there():
                flooded += await _traffic(crowd, block_s)
            left -= block_s
    rows = [
        _row("nobody", quiet, Flood(server, [])),
        _row(f"{SILENT} silent connections, {HALF} that send half a request", flooded, flood),
    ]
    few = setting.server()
    few.target = replace(
        few.target, command=("sh", "-c", f'ulimit -n {FILES}; exec "$@"', "sh", *few.target.command)
    )
    with few as server:
        await until_ready(server)
        setting.log("connections: more than files")
        idle = Flood(server, [SILENCE] * IDLE)
        crowd = await asyncio.to_thread(setting.crowd, server)
        async with idle.there():
            replies = await _traffic(crowd, FEW_S)
        told = "closed to make room" in server.output()
    rows.append(_row(f"{IDLE} silent connections, of {FILES} files", replies, idle))
    note = (
        f"A silent or half-sent request has {HEADER_S} s for its headers and {BODY_S} s for its "
        f"body, and counts as past its limit {NOTICED_S:g} s later. What is closed comes back at "
        "once. With and without them by turns. Where the files were too few, the log "
        f"{'says' if told else 'does not say'} what was closed to make room."
    )
    return Found(Table("connections", COLUMNS, tuple(rows)), (note,))


async def _traffic(crowd: Crowd, seconds: float) -> list[Reply]:
    """Have a crowd ask for some seconds; its replies."""
    before = len(crowd.replies)
    async with crowd.asking():
        await asyncio.sleep(seconds)
    return crowd.replies[before:]


def _row(who: str, replies: Sequence[Reply], flood: Flood) -> tuple[Cell, ...]:
    took = [reply.done - reply.sent for reply in replies if reply.well]
    p50, p99 = (percentile(took, share) * 1e3 for share in (0.5, 0.99))
    lost = sum(not reply.well for reply in replies)
    return who, len(replies), p50, p99, lost, len(flood.lives), flood.longest, flood.past_limit
