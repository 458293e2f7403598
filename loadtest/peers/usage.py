"""The usage: what a server's processes take, and that they take nothing while it is not their turn.

A server's own children count too. Memory is the proportional set size where the system tells it: a
page that several processes share counts once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import psutil

SAMPLE_S = 1.0
KILL_AFTER_S = 5.0


class Tree:
    """A process and all its children, by the parent's id."""

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
        return sum(_each(self.processes(), lambda p: sum(p.cpu_times()[:2])))

    def memory_bytes(self) -> int:
        """Memory of all together now."""
        return int(sum(_each(self.processes(), _memory)))

    def pause(self) -> None:
        """Stop them all, so that an idle server's polling costs the others nothing."""
        _each(self.processes(), lambda p: p.suspend() or 0.0)

    def resume(self) -> None:
        """Let them go on, children first: a parent must not find them stopped."""
        _each(reversed(self.processes()), lambda p: p.resume() or 0.0)

    def end(self, left: Iterable[psutil.Process]) -> None:
        """Kill what is left of `left`, which is what `processes` gave before the parent ended."""
        _, alive = psutil.wait_procs(list(left), timeout=KILL_AFTER_S)
        _each(alive, lambda p: p.kill() or 0.0)

    @contextmanager
    def peak_memory(self) -> Iterator[list[int]]:
        """Look at the memory once a second; the list has the largest so far."""
        found = [self.memory_bytes()]
        done = threading.Event()

        def watch() -> None:
            while not done.wait(SAMPLE_S):
                found[0] = max(found[0], self.memory_bytes())

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield found
        finally:
            done.set()
            thread.join()
            found[0] = max(found[0], self.memory_bytes())


def _memory(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss)
    except (AttributeError, psutil.AccessDenied):
        return float(process.memory_info().rss)


def _each(
    processes: Iterable[psutil.Process], call: Callable[[psutil.Process], float]
) -> list[float]:
    """`call` of each that is still there."""
    found: list[float] = []
    for process in processes:
        try:
            found.append(call(process))
        except psutil.NoSuchProcess:
            continue
    return found
