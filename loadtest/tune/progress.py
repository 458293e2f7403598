"""Progress: what a run that takes minutes tells whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """`step` is told what is measured next, `found` what came out so far, a line each."""

    step: Callable[[str], None]
    found: Callable[[str], None]


def silent() -> Progress:
    """Tells nobody."""
    return Progress(lambda _: None, lambda _: None)
