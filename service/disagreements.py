"""The disagreement file: shadowed requests of which student and teacher put another passage first.

It is off unless a path is set. One JSON object a line:

    {"time": "2026-01-31T12:00:00+00:00", "student": "retort-small", "version": "0.2.0",
     "teacher": "retort-teacher", "teacher_version": "0.1.0", "hashed": false,
     "query": "how tall …", "passages": ["The tower …", "Paris …"],
     "student_scores": [0.41, 0.52], "teacher_scores": [0.93, 0.02]}

`student_scores` and `teacher_scores` are probabilities in the order of `passages`. While
`hashed` is true, the query and each passage are `sha256:` and 64 hex digits of their UTF-8 text:
that tells that a text came again, and can be compared with texts one has, but it cannot be trained
on. Records with `hashed` false can: each passage with the query is a stage-1 pair.

The file is for its owner alone (mode 0600) and never grows over its bound: a record that does not
fit is not written. Move the file away, and the next record begins a new one. Mind that the sha256
of a short query can be guessed; what must not leak must not be written.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from retort.models.errors import StartError
from retort.models.manifest import Manifest

logger = logging.getLogger("retort")


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One request, with both roles' scores (passages,)."""

    query: str
    passages: Sequence[str]
    student_scores: Sequence[float]
    teacher_scores: Sequence[float]


class DisagreementFile:
    """Appends to `path`; not thread-safe, and it waits for the disk: call it from one thread.

    Raises `StartError` if the file cannot be written.
    """

    def __init__(
        self, path: Path, *, texts: bool, max_bytes: int, student: Manifest, teacher: Manifest
    ) -> None:
        self._path = path
        self._texts = texts
        self._max_bytes = max_bytes
        self._told = False
        self._head = {
            "student": student.name,
            "version": student.version,
            "teacher": teacher.name,
            "teacher_version": teacher.version,
            "hashed": not texts,
        }
        try:
            self._append(b"")
        except OSError as error:
            raise StartError(
                f"disagreements: {path} cannot be written ({error.strerror}): "
                "name a file in a folder that the server may write to"
            ) from None

    def write(self, found: Disagreement) -> bool:
        """Write one record; False if there is no room for it, or the disk refused it."""
        line = orjson.dumps(self._record(found)) + b"\n"
        try:
            written = self._append(line)
        except OSError as error:
            self._say(f"{self._path} cannot be written: {error.strerror}")
            return False
        if written:
            self._told = False
        else:
            self._say(f"{self._path} is full ({self._max_bytes} bytes): move it away to go on")
        return written

    def _record(self, found: Disagreement) -> dict[str, object]:
        told = (lambda text: text) if self._texts else hashed
        return {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            **self._head,
            "query": told(found.query),
            "passages": [told(passage) for passage in found.passages],
            "student_scores": list(found.student_scores),
            "teacher_scores": list(found.teacher_scores),
        }

    def _append(self, line: bytes) -> bool:
        # Opened each time, so that it can be moved away while the server runs.
        number = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(number, "ab") as file:
            if file.tell() + len(line) > self._max_bytes:
                return False
            file.write(line)
        return True

    def _say(self, problem: str) -> None:
        if not self._told:
            logger.warning("disagreements: %s", problem)
            self._told = True


def hashed(text: str) -> str:
    """A text's sha256, so that a text that came again can be known again.

    Example: `sha256:` and then `2cf24dba5fb0a30e…` for "hello".
    """
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
