"""Parts of `retort chaos` in which a process is lost, asked to stop, or replaced."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from retort.loadtest.experiments.chaos.crowd import Reply
from retort.loadtest.experiments.chaos.setting import (
    ADMIN_KEY,
    ENGINE,
    Found,
    Setting,
    processes,
    until_engines,
)
from retort.loadtest.result import Cell, Column, Table
from retort.loadtest.servers import Server
from retort.models.bundle import Bundle, read_bundle
from retort.models.manifest import MANIFEST_FILE

LOSS_COLUMNS = (
    Column("what is done"), Column("times", "count"), Column("requests", "count"),
    Column("accepted and lost", "count"), Column("wrong answers", "count"),
    Column("turned away", "count"), Column("until answers flow, median, s", "s"),
    Column("longest, s", "s"),
)  # fmt: skip
STOP_COLUMNS = (
    Column("SIGTERM"), Column("times", "count"), Column("requests", "count"),
    Column("accepted and lost", "count"), Column("wrong answers", "count"),
    Column("ended within, s", "s"), Column("not ended", "count"),
)  # fmt: skip
RELOAD_COLUMNS = (
    Column("reloads under load"), Column("times", "count"), Column("failed", "count"),
    Column("requests", "count"), Column("lost", "count"),
    Column("of no known version, or wrong", "count"), Column("turned away", "count"),
    Column("seconds each, median", "s"),
)  # fmt: skip
FLOWING_S = 30.0
DRAIN_S = 5
BETWEEN_S = 1.0


async def engine(setting: Setting) -> Found:
    """Kill or stop the engine that answers, again and again."""
    rows = []
    for number, what in ((signal.SIGKILL, "killed (-9)"), (signal.SIGSTOP, "stopped")):
        for flags, how in (((), "no standby"), (("--standby",), "standby")):
            setting.log(f"engine {what}, {how}")
            rows.append(await _lose(setting, number, f"engine {what}, {how}", flags))
    return Found(
        Table("engine", LOSS_COLUMNS, tuple(rows)),
        (
            "Every request had 10 s, enough for a second try. `turned away` were answered 503 with "
            "`Retry-After` at once, while there was no engine.",
        ),
    )


async def _lose(
    setting: Setting, number: signal.Signals, name: str, flags: tuple[str, ...]
) -> tuple[Cell, ...]:
    engines = 2 if flags else 1
    times: list[float] = []
    with setting.server(*flags) as server:
        crowd = setting.crowd(server)
        await until_engines(server, engines)
        async with crowd.asking():
            await asyncio.sleep(BETWEEN_S)
            for _ in range(setting.options.faults):
                victim = processes(server, ENGINE)[0].pid
                at = time.perf_counter()
                os.kill(victim, number)
                flowing = await crowd.flowing(at, FLOWING_S)
                times.append(FLOWING_S if flowing is None else flowing)
                await until_engines(server, engines)
                await asyncio.sleep(BETWEEN_S)
    return (name, len(times), *_counts(crowd.replies), _median(times), max(times))


async def terminate(setting: Setting) -> Found:
    """SIGTERM while requests are in flight; then also with an engine that hangs."""
    rows = []
    for stopped, name in ((False, "under load"), (True, "under load, the engine stopped")):
        times = setting.options.stops if not stopped else max(1, setting.options.stops // 5)
        replies: list[Reply] = []
        seconds: list[float] = []
        hung = 0
        for turn in range(times):
            setting.log(f"SIGTERM {name}: {turn + 1} of {times}")
            with setting.server("--drain-seconds", str(DRAIN_S)) as server:
                crowd = setting.crowd(server)
                async with crowd.asking():
                    await asyncio.sleep(BETWEEN_S)
                    if stopped:
                        os.kill(processes(server, ENGINE)[0].pid, signal.SIGSTOP)
                    at = time.perf_counter()
                    ended = await asyncio.to_thread(_ended, server)
                    seconds.append(time.perf_counter() - at)
                    hung += not ended
                replies += crowd.replies
        # While the engine hangs nobody can answer; that it ends is what counts.
        lost: Cell = None if stopped else _counts(replies)[1]
        rows.append((name, times, len(replies), lost, _counts(replies)[2], max(seconds), hung))
    note = (
        f"`drain_seconds` is {DRAIN_S}. Accepted is what was sent on a connection before it was "
        "closed. With the engine stopped, requests wait for the next one while there is time."
    )
    return Found(Table("terminate", STOP_COLUMNS, tuple(rows)), (note,))


async def reload(setting: Setting) -> Found:
    """Two versions of the bundle take turns."""
    times = setting.options.reloads
    seconds: list[float] = []
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        other = _renumbered(setting, Path(folder))
        with setting.server() as server:
            crowd = setting.crowd(server)
            expected = dict(crowd.expected)
            expected[other.manifest.version] = expected[setting.bundle.manifest.version]
            crowd.expected = expected
            async with crowd.asking():
                for turn in range(times):
                    setting.log(f"reload {turn + 1} of {times}")
                    place = setting.bundle.folder if turn % 2 else other.folder
                    at = time.perf_counter()
                    failed += not await asyncio.to_thread(_load, setting, server, place)
                    seconds.append(time.perf_counter() - at)
    _, lost, wrong, turned = _counts(crowd.replies)
    row = ("by /admin", times, failed, len(crowd.replies), lost, wrong, turned, _median(seconds))
    note = "Two versions take turns, with the same weights; each is loaded, checked and warmed."
    return Found(Table("reload", RELOAD_COLUMNS, (row,)), (note,))


def _renumbered(setting: Setting, folder: Path) -> Bundle:
    target = folder / "other"
    shutil.copytree(setting.bundle.folder, target)
    manifest = json.loads((target / MANIFEST_FILE).read_text())
    manifest["version"] = f"{manifest['version']}.other"
    (target / MANIFEST_FILE).write_text(json.dumps(manifest))
    return read_bundle(target)


def _load(setting: Setting, server: Server, place: Path) -> bool:
    request = urllib.request.Request(
        f"{server.host}/admin/models/{setting.bundle.manifest.name}",
        data=json.dumps({"bundle": str(place)}).encode(),
        headers={"Authorization": f"Bearer {ADMIN_KEY}"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _ended(server: Server) -> bool:
    """Ask it to stop; whether it did within the time that it may take."""
    return server.terminate(DRAIN_S + 10.0)


def _counts(replies: Sequence[Reply]) -> tuple[int, int, int, int]:
    """Requests, those lost, wrong answers, those turned away."""
    turned = sum(reply.status in (429, 503) for reply in replies)
    lost, wrong = (sum(getattr(reply, kind) for reply in replies) for kind in ("lost", "wrong"))
    return len(replies), lost, wrong, turned


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]
