"""Speeds: every row and teacher, measured in turn, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from retort.training.study import speeds
from retort.training.study.records import SpeedsRecord, find_record
from tests.training.study.tiny_study import load_study, save_study


@pytest.mark.slow
def test_rows_and_teachers_are_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speeds, "ROUNDS", 2)
    monkeypatch.setattr(speeds, "ROUND_SECONDS", 0.01)
    rows = [
        {"name": name, "method": name, "stages": ["labelled"]} for name in ("none", "mkd", "m-o-m")
    ]
    path = save_study(tmp_path, rows=rows)
    study = load_study(path)
    assert speeds.measure_speeds(study, lambda text: None)
    found = find_record(SpeedsRecord, tmp_path / "out/speeds.json")
    assert found is not None
    assert set(found.rows) == {"none", "mkd", "m-o-m"}
    assert set(found.teachers) == {"ce", "bi"}
    assert found.rows["m-o-m"].students == 2
    assert found.rows["none"].layers == 1
    # Two students of one shape are half as fast as one of them.
    assert found.rows["m-o-m"].pairs_per_second == found.rows["none"].pairs_per_second / 2
    total = sum(1 / found.teachers[name].pairs_per_second for name in ("ce", "bi"))
    assert found.ensembles == {"one": pytest.approx(1 / total)}
    assert not speeds.measure_speeds(study, lambda text: None)
    assert not speeds.has_speeds(load_study(path, "rows.0.name=other", "baseline=other"))


def test_models_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speeds, "ROUND_SECONDS", 0.001)
    turns: list[str] = []
    asks = {"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}
    assert set(speeds.in_turn(asks)) == {"a", "b"}
    changes = [name for name, last in zip(turns, ["", *turns], strict=False) if name != last]
    assert changes == ["a", "b"] * (1 + speeds.ROUNDS)
