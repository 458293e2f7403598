"""Servers that run in their turn and are stopped between turns, and what their processes use.

All servers are up from beginning to end, so that turns can alternate quickly; only the one whose
turn it is may run, so that an idle server's polling costs the others nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import psutil

from retort.loadtest.servers import Server

SAMPLE_S = 1.0
KILL_AFTER_S = 5.0
Value = TypeVar("Value")


@dataclass(slots=True)
class Usage:
    """What a turn used: seconds of processor time, and the most memory; filled in at its end."""

    cpu_seconds: float = 0.0
    memory_bytes: int = 0


class PausableServer(Server):
    """A server whose processes can be stopped; inside `turn` they run and are measured."""

    def pause(self) -> None:
        """Stop its processes until its turn."""
        Tree(self.pid).pause()

    @contextmanager
    def turn(self) -> Iterator[Usage]:
        """Let it run, and measure what it uses."""
        tree, usage = Tree(self.pid), Usage()
        tree.resume()
        before = tree.cpu_seconds()
        try:
            with tree.peak_memory() as peak:
                yield usage
        finally:
            usage.cpu_seconds, usage.memory_bytes = tree.cpu_seconds() - before, peak[0]
            tree.pause()

    def stop(self) -> None:
        """Ask it to end, and end what it leaves behind: some servers leave their children."""
        try:
            tree = Tree(self.pid)
        except (RuntimeError, psutil.NoSuchProcess):
            super().stop()
            return
        # A stopped process does not see that it is asked to end.
        tree.resume()
        processes = tree.processes()
        super().stop()
        end(processes, KILL_AFTER_S)


class Tree:
    """A process and all its children, by the parent's id.

    Memory is the proportional set size where the system reports it: a page that several processes
    share counts once.
    """

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)

    def processes(self) -> list[psutil.Process]:
        """The parent first; none if it has ended."""
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu_seconds(self) -> float:
        """Seconds of processor time that those alive have used so far."""
        return sum(_each(self.processes(), lambda p: float(sum(p.cpu_times()[:2]))))

    def memory_bytes(self) -> int:
        """Memory of all together now."""
        return sum(_each(self.processes(), _memory))

    def pause(self) -> None:
        """Stop them all."""
        _each(self.processes(), psutil.Process.suspend)

    def resume(self) -> None:
        """Let them go on, children first: a parent must not find them stopped."""
        _each(reversed(self.processes()), psutil.Process.resume)

    @contextmanager
    def peak_memory(self) -> Iterator[list[int]]:
        """Look at the memory once per second; the list holds the largest so far."""
        peak = [0]

        def look() -> None:
            peak[0] = max(peak[0], self.memory_bytes())

        with sampling(SAMPLE_S, look):
            yield peak


@contextmanager
def sampling(seconds: float, sample: Callable[[], None]) -> Iterator[None]:
    """Call `sample` at that pace in this block, and once at its beginning and at its end."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(seconds):
            sample()

    sample()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        sample()


def end(processes: Iterable[psutil.Process], within_s: float) -> None:
    """Kill those that have not ended by themselves in that time."""
    _, alive = psutil.wait_procs(list(processes), timeout=within_s)
    _each(alive, psutil.Process.kill)


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (AttributeError, psutil.AccessDenied):
        return int(process.memory_info().rss)


def _each(
    processes: Iterable[psutil.Process], call: Callable[[psutil.Process], Value]
) -> list[Value]:
    """`call` of each that is still there."""
    values: list[Value] = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            values.append(call(process))
    return values
