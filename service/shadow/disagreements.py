"""Disagreements: shadowed requests for which student and teacher rank another passage first."""

from __future__ import annotations

import hashlib
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

import orjson

from retort.models.errors import StartError
from retort.service.shadow.teacher import Sample, TeacherScores

logger = logging.getLogger("retort")


class DisagreementFile:
    """Shadowed requests whose top passage differs between student and teacher: JSON, one per line.

    It appends to `path`; not thread-safe, and it waits for the disk: call it from one thread.
    Raises `StartError` if the file cannot be written.

        {"time": "2026-01-31T12:00:00+00:00", "student": "retort-small", "version": "0.2.0",
         "teacher": "retort-teacher", "teacher_version": "0.1.0", "teacher_raw": false,
         "hashed": false,
         "query": "how tall …", "passages": ["The tower …", "Paris …"],
         "student_scores": [0.41, 0.52], "teacher_scores": [0.93, 0.02]}

    `student_scores` and `teacher_scores` are probabilities in the order of `passages`; while
    `teacher_raw` is true, those of the teacher are on a scale of its own. While `hashed` is true,
    the query and each passage are `sha256:` and 64 hex digits of their UTF-8 text: so one can see
    that a text came again and compare it with known texts, but one cannot train on it. Records with
    `hashed` false can: each passage with the query is a stage-1 pair.

    Only its owner can read the file (mode 0600), and it never grows over its bound: a record that
    does not fit is not written. Move the file away, and the next record begins a new one. Mind
    that the sha256 of a short query can be guessed; what must not leak must not be written.
    """

    def __init__(self, path: Path, *, texts: bool, max_bytes: int) -> None:
        self._path = path
        self._texts = texts
        self._max_bytes = max_bytes
        self._warned = False
        try:
            self._append(b"")
        except OSError as error:
            raise StartError(
                f"disagreements: {path} cannot be written ({error.strerror}): "
                "name a file in a folder that the server may write to"
            ) from None

    def write(self, sample: Sample, teacher: TeacherScores) -> bool:
        """Write one record; False if there is no room for it, or the disk refused it."""
        shown = str if self._texts else hashed
        record = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "student": sample.student.name,
            "version": sample.student.version,
            "teacher": teacher.name,
            "teacher_version": teacher.version,
            "teacher_raw": teacher.raw,
            "hashed": not self._texts,
            "query": shown(sample.query),
            "passages": [shown(passage) for passage in sample.passages],
            "student_scores": [round(score, 6) for score in sample.student_scores.tolist()],
            "teacher_scores": [round(score, 6) for score in teacher.scores.tolist()],
        }
        line = orjson.dumps(record) + b"\n"
        try:
            written = self._append(line)
        except OSError as error:
            self._warn(f"{self._path} cannot be written: {error.strerror}")
            return False
        if written:
            self._warned = False
        else:
            self._warn(f"{self._path} is full ({self._max_bytes} bytes): move it away to go on")
        return written

    def _append(self, line: bytes) -> bool:
        # Opened each time, so that it can be moved away while the server runs.
        number = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(number, "ab") as file:
            if file.tell() + len(line) > self._max_bytes:
                return False
            file.write(line)
        return True

    def _warn(self, problem: str) -> None:
        if not self._warned:
            logger.warning("disagreements: %s", problem)
            self._warned = True


def hashed(text: str) -> str:
    """A text's sha256, so that a text that came again can be recognised.

    Example: `sha256:` and then `2cf24dba5fb0a30e…` for "hello".
    """
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
