"""The steps of a fit: each says what it does and how long that may take, and then how long it took.

A step that is done leaves its time in the work folder, and is not done again unless one before it
is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from retort.training.study.estimate import in_words

STEPS_FILE = "steps.json"
Log = Callable[[str], None]


class Steps:
    """The steps that were done in a work folder, by name, in seconds."""

    def __init__(self, work: Path, count: int, log: Log) -> None:
        self._path = work / STEPS_FILE
        self._count = count
        self._log = log
        self._passed: list[str] = []
        self.seconds: dict[str, float] = {}
        if self._path.is_file():
            self.seconds = json.loads(self._path.read_text(encoding="utf-8"))

    def run(
        self,
        name: str,
        doing: str,
        work: Callable[[], object],
        *,
        expected: float | None = None,
        made: Path | None = None,
    ) -> None:
        """Do one step unless it was done, and what it `made` is still there.

        `expected` is in seconds; what takes a moment has none.
        """
        place = f"[{len(self._passed) + 1}/{self._count}] {name}"
        self._passed.append(name)
        if name in self.seconds and (made is None or made.exists()):
            self._log(f"{place}: done before, in {in_words(self.seconds[name])}")
            return
        about = "a moment" if expected is None else f"about {in_words(max(expected, 1))}"
        self._log(f"{place}: {doing}; {about}")
        started = time.monotonic()
        work()
        self.seconds = {n: s for n, s in self.seconds.items() if n in self._passed}
        self.seconds[name] = round(time.monotonic() - started, 1)
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.seconds, indent=1) + "\n", encoding="utf-8")
        temporary.replace(self._path)
        self._log(f"{place}: done in {in_words(self.seconds[name])}")
