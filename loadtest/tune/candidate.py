"""The candidate: settings of a server that may be the best ones here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from retort.models.runtime.base import BackendInfo


@dataclass(frozen=True, slots=True)
class Candidate:
    """Settings of `retort serve`; what is None is left to the server.

    >>> str(Candidate(BackendInfo("openvino", "cpu", "int8"), streams=2))
    'openvino/cpu/int8, 2 streams'
    """

    engine: BackendInfo | None = None
    threads: int | None = None
    streams: int | None = None
    slots: int | None = None
    batch_tokens: int | None = None
    length_step: int | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What is set, by the names that `retort serve` gives it."""
        engine = self.engine
        found = {
            "backend": engine.backend if engine else None,
            "provider": engine.provider if engine else None,
            "precision": engine.precision if engine else None,
            "threads": self.threads,
            "streams": self.streams,
            "slots": self.slots,
            "batch_tokens": self.batch_tokens,
            "length_step": self.length_step,
        }
        return {name: value for name, value in found.items() if value is not None}

    def __str__(self) -> str:
        parts = [str(self.engine) if self.engine else None]
        if self.threads is not None:
            parts.append(_count(self.threads, "thread") if self.threads else "all threads")
        for value, noun in ((self.streams, "stream"), (self.slots, "slot")):
            parts.append(None if value is None else _count(value, noun))
        if self.batch_tokens is not None:
            parts.append(f"batches of {self.batch_tokens:,} tokens")
        if self.length_step is not None:
            parts.append(f"steps of {self.length_step}")
        return ", ".join(part for part in parts if part) or "the defaults"


# What a server does that is told nothing.
DEFAULTS = Candidate()
TUNED_SETTINGS = (
    "backend", "provider", "precision", "threads", "streams", "slots", "batch_tokens",
    "length_step",
)  # fmt: skip


def _count(value: int, noun: str) -> str:
    return f"{value} {noun}{'s' * (value != 1)}"
