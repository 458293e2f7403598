"""The console: shows on standard error what a tuning run does and has found so far."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from retort.loadtest.tune.progress import Progress
from retort.loadtest.watching import watching


@contextmanager
def watch(console: Console | None = None) -> Iterator[Progress]:
    """A line that says what is measured now, and above it a line for everything found."""
    shown = console or Console(stderr=True)
    with watching(shown) as step:

        def found(what: str) -> None:
            shown.print(what, highlight=False, markup=False, style="bold", soft_wrap=True)

        yield Progress(step, found)
