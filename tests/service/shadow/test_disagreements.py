from __future__ import annotations

import hashlib
import json
import logging
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retort.models.errors import StartError
from retort.service.shadow.disagreements import DisagreementFile
from retort.service.shadow.teacher import Sample, TeacherScores
from tests.fake_bundle import make_manifest

FOUND = (
    Sample(
        "who wrote hamlet", ["Shakespeare.", "Köln"], np.array([0.2, 0.7]), make_manifest("student")
    ),
    TeacherScores(np.array([0.9, 0.1]), "teacher", "0.0.1"),
)


def disagreement_file(
    path: Path, *, texts: bool = True, max_bytes: int = 10_000
) -> DisagreementFile:
    return DisagreementFile(path, texts=texts, max_bytes=max_bytes)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_record_with_its_texts(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    assert disagreement_file(path).write(*FOUND)
    (row,) = rows(path)
    assert datetime.fromisoformat(row.pop("time")).tzinfo is not None
    assert row == {
        "student": "student",
        "version": "0.0.1",
        "teacher": "teacher",
        "teacher_version": "0.0.1",
        "teacher_raw": False,
        "hashed": False,
        "query": "who wrote hamlet",
        "passages": ["Shakespeare.", "Köln"],
        "student_scores": [0.2, 0.7],
        "teacher_scores": [0.9, 0.1],
    }
    assert path.stat().st_mode & 0o777 == 0o600


def test_without_leave_no_text_is_written(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    disagreement_file(path, texts=False).write(*FOUND)
    text = path.read_text(encoding="utf-8")
    for word in ("hamlet", "Shakespeare", "Köln"):
        assert word not in text
    (row,) = rows(path)
    assert row["hashed"] is True
    digest = hashlib.sha256("Köln".encode()).hexdigest()
    assert row["passages"][1] == f"sha256:{digest}"


def test_it_never_grows_over_its_bound(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "d.jsonl"
    file = disagreement_file(path, max_bytes=1_000)
    with caplog.at_level(logging.WARNING):
        written = [file.write(*FOUND) for _ in range(20)]
    assert 1 < written.count(True) < 20
    assert path.stat().st_size <= 1_000
    assert len(rows(path)) == written.count(True)
    assert len(caplog.records) == 1
    assert "is full (1000 bytes): move it away" in caplog.text
    # Moved away, it goes on, and tells again when it is full again.
    path.rename(tmp_path / "old.jsonl")
    assert file.write(*FOUND)
    assert len(rows(path)) == 1


def test_what_was_there_before_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    disagreement_file(path).write(*FOUND)
    disagreement_file(path).write(*FOUND)
    assert len(rows(path)) == 2


def test_a_file_that_cannot_be_written_is_a_start_error(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"disagreements: .*/no/d\.jsonl cannot be written"):
        disagreement_file(tmp_path / "no" / "d.jsonl")


def test_a_disk_that_refuses_is_logged_and_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "d.jsonl"
    file = disagreement_file(path)
    path.unlink()
    path.mkdir()
    with caplog.at_level(logging.WARNING):
        assert not file.write(*FOUND)
    assert "cannot be written" in caplog.text
