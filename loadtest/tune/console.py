"""The console: shows on standard error what a tuning run does and has found so far."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from loadtest.tune.progress import Progress

# The run measures how fast this machine is: it must not be busy with drawing.
REFRESHES_A_SECOND = 2.0


@contextmanager
def watch(console: Console | None = None) -> Iterator[Progress]:
    """A line that says what is measured now, and above it a line for everything found."""
    shown = console or Console(stderr=True)
    with shown.status("starting", refresh_per_second=REFRESHES_A_SECOND) as status:

        def step(what: str) -> None:
            # A status line shows nothing where there is no terminal.
            status.update(what)
            if not shown.is_terminal:
                shown.print(what, highlight=False, markup=False, soft_wrap=True)

        def found(what: str) -> None:
            shown.print(what, highlight=False, markup=False, style="bold", soft_wrap=True)

        yield Progress(step, found)
