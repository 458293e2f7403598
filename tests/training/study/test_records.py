"""The records of a study: written whole, and read in every shape that was ever written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from retort.training.study.records import (
    RunRecord,
    StudyFileError,
    code_version,
    find_record,
    locked,
    read_record,
    write_arrays,
    write_record,
)


def test_records_are_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run.json"
    assert find_record(RunRecord, path) is None
    record = RunRecord(row="tmkd", seed=1, curves=(((0.0, 1.5),),), figures={"a": {"AP": 0.5}})
    write_record(path, record)
    assert find_record(RunRecord, path) == record
    assert json.loads(path.read_text())["schema"] == 1
    assert json.loads(path.read_text())["curve"] == [[[0.0, 1.5]]]
    path.write_text('{"a": ')
    assert find_record(RunRecord, path) is None
    with pytest.raises(StudyFileError, match=r"run\.json: the file: Invalid JSON.*: delete it"):
        read_record(RunRecord, path, "delete it")
    write_arrays(tmp_path / "scores.npz", {"set": np.array([0.5]), "set/logits": np.ones((1, 2))})
    with np.load(tmp_path / "scores.npz") as arrays:
        assert set(arrays.files) == {"set", "set/logits"}
    assert {item.name for item in tmp_path.iterdir()} == {"deep", "scores.npz"}


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked(path, "busy"), pytest.raises(StudyFileError, match="busy"), locked(path, "busy"):
        pass
    with locked(tmp_path / "lock", "busy"):
        pass


def test_the_code_has_a_version() -> None:
    assert code_version()


@pytest.mark.parametrize(
    "curve",
    [
        [[[0, 2.0], [10, 1.0]], [[0, 3.0]]],
        {"unlabelled": [[0, 2.0], [10, 1.0]], "labelled": [[0, 3.0]]},
    ],
)
def test_curves_by_stage(curve: object) -> None:
    record = RunRecord.model_validate({"schema": 1, "row": "a", "seed": 1, "curve": curve})
    assert record.curves == (((0, 2.0), (10, 1.0)), ((0, 3.0),))


def test_the_points_of_one_stage_alone() -> None:
    record = RunRecord.model_validate({"schema": 1, "row": "a", "seed": 1, "curve": [[0, 2.0]]})
    assert record.curves == (((0, 2.0),),)


def test_a_student_of_one_head_has_no_spread() -> None:
    values = {"schema": 1, "row": "a", "seed": 1, "spread_error": {"one": None, "two": []}}
    assert RunRecord.model_validate(values).spread_error == {"one": (), "two": ()}
