"""A study as a user runs it: killed, gone on with, two runs at once, changed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from retort.cli import app
from retort.training.data.evaluation_set import read_sets
from retort.training.evaluate.calibration import expected_calibration_error
from retort.training.evaluate.evaluation import point_values
from retort.training.methods.distill import distill
from retort.training.recipes.study import Cell
from retort.training.study.crew import Crew
from retort.training.study.files import read_json
from retort.training.study.study import only_one
from tests.training.study.tiny_study import OPTIMISER, load_study, save_study

pytestmark = pytest.mark.slow
RUNS = ["one/none/seed-1", "one/tmkd/seed-1", "one/none/seed-2", "one/tmkd/seed-2"]


def invoke(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["study", *words])
    return result.exit_code, result.stdout, result.stderr


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()]


def wait_for(condition: object, seconds: float = 300.0) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's folder that was killed in a step and has then been gone on with."""
    folder = tmp_path_factory.mktemp("study")
    recipe = save_study(folder)
    command = [sys.executable, "-m", "retort", "study", str(recipe), "--jobs", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: list(folder.glob("out/*/*/*/stage-*-run/checkpoint/progress.json")))
        workers = children(process.pid)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert len(workers) == 2
    # Nobody is left to train on beside the next sitting.
    wait_for(lambda: not any(Path(f"/proc/{pid}/fd").exists() for pid in workers), 60.0)
    finished = list(folder.glob("out/one/*/seed-*/run.json"))
    assert len(finished) < len(RUNS)
    code, out, err = invoke(str(recipe), "--jobs", "2", "--json")
    assert code == 0, err
    assert json.loads(out) == {"studies": [{"study": str(folder / "out")}], "failed": []}
    return folder


def test_every_run_leaves_figures_and_scores(killed: Path) -> None:
    sets = {item.name: item for item in read_sets(killed / "measure")}
    records = {name: read_json(killed / "out" / name / "run.json") for name in RUNS}
    assert any(record and record["resumed"] for record in records.values())
    for name, record in records.items():
        assert record is not None
        assert (record["row"], record["dataset"]) == (name.split("/")[1], "one")
        assert record["pairs_trained"] == (192 if record["row"] == "none" else 288)
        assert set(record["tables"]) == {str(killed / "one.parquet")}
        assert set(record["teachers"]) == (set() if record["row"] == "none" else {"ce", "bi"})
        assert len(record["curve"]) == len(record["recipe"]["stages"])
        assert record["layers"] == 1
        assert list(record["choose"]) == ["words-dev"]
        with np.load(killed / "out" / name / "scores.npz") as arrays:
            heads = 1 if record["row"] == "none" else 3
            assert arrays["words/logits"].shape == (64, heads)
            scores = arrays["words"]
            for item in sets.values():
                expected = point_values(item, arrays[item.name])
                assert record["figures"][item.name].items() >= expected.items()
        assert record["calibration_error"]["words"] == expected_calibration_error(
            sets["words"].labels, scores
        )
        assert len(record["spread_error"]["words"]) == (0 if heads == 1 else 10)


def test_teachers_stand_beside_their_students(killed: Path) -> None:
    record = read_json(killed / "out/one/teachers/run.json")
    assert record is not None
    assert set(record["figures"]) == {"ce", "bi", "ensemble"}
    with np.load(killed / "out/one/teachers/scores.npz") as arrays:
        assert {"ce/words", "bi/ranks", "ensemble/words"} <= set(arrays.files)
        items = read_sets(killed / "measure", ["words"])[0]
        for name in ("ce", "bi", "ensemble"):
            auc = point_values(items, arrays[f"{name}/words"])["AUC"]
            assert record["figures"][name]["words"]["AUC"] == pytest.approx(auc)
        assert 0 < arrays["ensemble/words"].min() < arrays["ensemble/words"].max() < 1
    speeds = read_json(killed / "out/speeds.json")
    assert speeds is not None
    assert set(speeds["rows"]) == {"none", "tmkd"}
    assert set(speeds["teachers"]) == {"ce", "bi"}
    assert speeds["rows"]["tmkd"]["pairs_per_second"] > speeds["teachers"]["ce"]["pairs_per_second"]


def test_a_killed_run_ends_where_a_whole_one_ends(killed: Path, tmp_path: Path) -> None:
    study = load_study(killed / "study.yaml")
    whole = study.compose(Cell("tmkd", 1, ("one",))).model_copy(update={"out": tmp_path / "whole"})
    # A sum in another number of threads has other last bits; a worker of two has half the cores.
    threads = torch.get_num_threads()
    torch.set_num_threads(Crew(2).threads)
    try:
        weights = distill(whole, lambda text: None) / "model.safetensors"
    finally:
        torch.set_num_threads(threads)
    assert (
        weights.read_bytes()
        == (killed / "out/one/tmkd/seed-1/student/model.safetensors").read_bytes()
    )


def test_what_is_finished_is_kept_and_what_has_changed_is_refused(
    killed: Path, tmp_path: Path
) -> None:
    shutil.copytree(killed / "out", tmp_path / "out")
    recipe, out = str(killed / "study.yaml"), f"out={tmp_path / 'out'}"
    before = (tmp_path / "out/one/tmkd/seed-2/run.json").stat().st_mtime_ns
    code, _, err = invoke(recipe, out)
    assert code == 0, err
    assert err.count("was there") == 6
    # One more seed, and another learning rate for one row: only that row is stale.
    change = f"rows.0.stage={{optimiser: {{lr: {OPTIMISER['lr'] * 2}}}}}"
    code, _, err = invoke(recipe, out, change)
    assert code == 1
    assert "2 failed" in err
    assert "none/seed-1 was made by another recipe" in err
    assert "--redo" in err
    code, _, err = invoke(recipe, out, change, "--redo")
    assert code == 0, err
    record = read_json(tmp_path / "out/one/none/seed-2/run.json")
    assert record is not None
    assert record["recipe"]["stages"][0]["optimiser"]["lr"] == 0.006
    assert (tmp_path / "out/one/tmkd/seed-2/run.json").stat().st_mtime_ns == before


def test_a_dry_run_tells_the_order_and_does_nothing(killed: Path, tmp_path: Path) -> None:
    recipe = str(killed / "study.yaml")
    code, out, _ = invoke(recipe, "--dry-run", f"out={tmp_path / 'new'}", "seeds=[4]")
    assert code == 0
    assert [line.split()[1] for line in out.splitlines()[:2]] == [
        "one/none/seed-4",
        "one/tmkd/seed-4",
    ]
    assert "0 of 2 runs are finished" in out
    assert not (tmp_path / "new").exists()
    code, out, _ = invoke(recipe, "--dry-run", "--json", "seeds=[1,2,3]")
    runs = json.loads(out)["runs"]
    assert [run["run"] for run in runs if run["finished"]] == RUNS
    assert json.loads(out)["seconds_left"] > 0


def test_only_one_study_works_in_a_folder(killed: Path) -> None:
    with only_one(killed / "out"):
        code, _, err = invoke(str(killed / "study.yaml"))
    assert code == 1
    assert "another `retort study` is at work there" in err


def test_what_is_not_there_is_named_before_anything_runs(killed: Path, tmp_path: Path) -> None:
    code, _, err = invoke(
        str(killed / "study.yaml"), f"out={tmp_path / 'new'}",
        f"datasets.0.stages.labelled.table={tmp_path / 'no.parquet'}",
        f"datasets.0.measure={tmp_path / 'none'}",
    )  # fmt: skip
    assert code == 1
    assert str(tmp_path / "no.parquet") in err
    assert str(tmp_path / "none") in err
    assert not (tmp_path / "new").exists()
