"""Watching: shows on standard error what a measurement does now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

# What runs is measuring how fast this machine is: it must not be busy with drawing.
REFRESHES_A_SECOND = 2.0


@contextmanager
def watching(console: Console) -> Iterator[Callable[[str], None]]:
    """A line that is told what begins; where there is no terminal, a line for each."""
    with console.status("starting", refresh_per_second=REFRESHES_A_SECOND) as status:

        def told(step: str) -> None:
            # A status line shows nothing where there is no terminal.
            status.update(step)
            if not console.is_terminal:
                console.print(step, highlight=False, markup=False, soft_wrap=True)

        yield told
