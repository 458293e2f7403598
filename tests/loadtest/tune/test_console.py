"""The console: what is found stays on the screen, with a terminal and without one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from retort.loadtest.tune.console import watch


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_found_is_shown(terminal: bool) -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=terminal, width=40)
    with watch(console) as progress:
        progress.step("loading [something]")
        progress.found("40 requests a second")
    assert "40 requests a second" in shown.getvalue()
    # Without a terminal a status line cannot be drawn anew, so each step has a line of its own.
    assert ("loading [something]\n" in shown.getvalue()) is not terminal
