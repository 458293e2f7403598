"""A server whose engines fail as a file says: the real processes with a fault before the backend.

`python -m tests.service.processes.faults serve FLAGS` is `retort serve` with such engines. The
variable `FAULT_FILE` names the file; it holds one of these words:

    raise, nan, slow     every pass, while the file is there
    hang, wrong, exit    for ever, in the first engine that reads it; it removes the file
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np

from retort.models.arrays import LogitArray
from retort.models.encoding import Batch
from retort.models.runtime.base import Backend

ENGINE_COMMAND = ("-m", "tests.service.processes.faults", "engine")
SLOW_SECONDS = 0.2


class FaultyBackend:
    """`backend` with the fault that the file holds."""

    def __init__(self, backend: Backend) -> None:
        self.info = backend.info
        self._backend = backend
        self._file = Path(os.environ["FAULT_FILE"])
        self._mine = ""
        self._reading = threading.Lock()

    def infer(self, batch: Batch) -> LogitArray:
        """Logits (batch, heads), or not."""
        # Two passes at once, of a request and of warming: a fault is for both.
        with self._reading:
            word = self._mine or self._read()
        if word == "raise":
            raise RuntimeError("a secret of the backend")
        if word == "hang":
            threading.Event().wait()
        if word == "exit":
            os._exit(9)
        if word == "slow":
            time.sleep(SLOW_SECONDS)
        logits = self._backend.infer(batch)
        if word == "nan":
            return np.full_like(logits, np.nan)
        return -logits if word == "wrong" else logits

    def _read(self) -> str:
        try:
            word = self._file.read_text().strip()
        except OSError:
            return ""
        if word in ("hang", "wrong", "exit"):
            try:
                self._file.unlink()
            except OSError:
                return ""
            self._mine = word
        return word


def main() -> None:
    """An engine, or the server."""
    if sys.argv[1] == "engine":
        from retort.service.processes.engine import main as engine

        engine(wrap=FaultyBackend)
        return
    from retort.service.server import serve
    from retort.service.settings import load_settings

    flags = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
    named = {name.removeprefix("--").replace("-", "_"): value for name, value in flags.items()}
    serve(load_settings(None, **named), engine_command=ENGINE_COMMAND)


if __name__ == "__main__":
    main()
