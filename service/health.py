"""Health: what the server says of itself to those who route traffic to it.

    loading ──► ready ──► draining
       └──► failed

Liveness is that the event loop turns. Readiness is that the golden pairs came out right, every
shape is warm, the last forward pass worked and nobody asked the server to stop.
"""

from __future__ import annotations

import enum


class State(enum.Enum):
    """Where a server is in its life."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class Health:
    """The state, and why it is that."""

    def __init__(self) -> None:
        self.state = State.LOADING
        self.reason = "the model is loading"

    def ready(self) -> None:
        """The model can be asked; not for a server that is draining already."""
        if self.state is State.LOADING:
            self.state, self.reason = State.READY, ""

    def drain(self) -> None:
        """The server is about to stop."""
        self.state, self.reason = State.DRAINING, "the server is shutting down"

    def fail(self, reason: str) -> None:
        """The model cannot be served."""
        self.state, self.reason = State.FAILED, reason
