"""Progress on standard error: how much is done, how fast, and how long the rest will take.

On a terminal it is a line that changes; elsewhere, as in the log of a job, a line now and then.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

SECONDS_BETWEEN_LINES = 10.0


class BulkProgress:
    """The progress of `total` units of work, of which `done` were done before; use it in a `with`.

    >>> in_words(3_725.0), in_words(59.6)
    ('1:02:05', '0:01:00')
    """

    def __init__(self, title: str, unit: str, total: int, done: int = 0) -> None:
        self.title, self.unit, self.total = title, unit, total
        self._before = self._done = done
        self._start = self._said = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} {task.fields[unit]}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._task: TaskID = self._bar.add_task(
            title, total=total, completed=done, unit=unit, rate=""
        )

    def advance(self, units: int) -> None:
        """So many more are done."""
        self._done += units
        now = time.monotonic()
        self._bar.update(self._task, completed=self._done, rate=f"{self.rate:,.0f} {self.unit}/s")
        if self._bar.disable and now - self._said >= SECONDS_BETWEEN_LINES:
            self._said = now
            print(self.line(), file=sys.stderr, flush=True)

    @property
    def rate(self) -> float:
        """Units per second of this run."""
        return (self._done - self._before) / max(1e-9, time.monotonic() - self._start)

    def line(self) -> str:
        """How much is done, how fast, and how long the rest will take."""
        left = (self.total - self._done) / max(1e-9, self.rate)
        return (
            f"{self.title}: {self._done:,} of {self.total:,} {self.unit} "
            f"({self._done / max(1, self.total):.0%}), {self.rate:,.0f} {self.unit}/s, "
            f"{in_words(left)} left"
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()


def in_words(seconds: float) -> str:
    """Hours, minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
