"""A child: one process of the server, as the supervisor sees it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from retort.service.engine.board import Board
from retort.service.processes.orders import EngineOrder, FrontEndOrder, give

# What runs an engine and a front end, each with its order on standard input. The first is also the
# seam for tests: a command of theirs puts a fault before the backend.
ENGINE_COMMAND = ("-m", "retort.service.processes.engine")
FRONT_END_COMMAND = ("-m", "retort.service.processes.front_end")


class Child:
    """A process that has been started by `command`, a Python command line, with `order`."""

    def __init__(
        self,
        command: Sequence[str],
        order: EngineOrder | FrontEndOrder,
        descriptors: Sequence[int] = (),
    ) -> None:
        self.identity = order.identity
        self.name = order.name
        self.board = Board(Path(order.board))
        self.started_at = self.board.beat = time.perf_counter()
        warnings = [f"-W{option}" for option in sys.warnoptions]
        self.process = subprocess.Popen(
            [sys.executable, *warnings, *command],
            stdin=subprocess.PIPE,
            pass_fds=descriptors,
            # A key pressed in the terminal is a signal to the supervisor alone.
            start_new_session=True,
        )
        assert self.process.stdin is not None
        with self.process.stdin as stdin:
            stdin.write(give(order))

    @property
    def status(self) -> int | None:
        """How it ended; None while it runs. Negative: the signal that ended it."""
        return self.process.poll()

    @property
    def begun(self) -> bool:
        """Whether its heart has beaten at all: before, it imports what it needs."""
        return self.board.beat > self.started_at

    def silent_seconds(self, now: float) -> float:
        """How long its heart has not beaten."""
        return now - self.board.beat

    def kill(self) -> None:
        """End it at once, and wait for that."""
        self.process.kill()
        self.process.wait()
