"""Findings on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from retort.loadtest.limits.found import Finding, Kept, Row, read_kept

FINDING = Finding(
    "memory",
    (Row("growth", "none", "none", True), Row("other", "1")),
    ("a note",),
    (("head", "value"), ("line", "2")),
    ((0.0, 1.5), (10.0, 2.0)),
)
KEPT = Kept("2026-01-01", "retort stress", "one core", "tiny on fake", FINDING)


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    assert KEPT.write(folder) == folder / "memory.json"
    assert read_kept(folder, "memory") == KEPT
    assert read_kept(folder, "padding") is None


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"finding": {"part": 1}}'])
def test_a_file_of_something_else_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "memory.json").write_text(text)
    with pytest.raises(ValueError, match=r"memory\.json is not what a stress run keeps"):
        read_kept(tmp_path, "memory")
