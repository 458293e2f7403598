"""A study as a user runs it: killed, gone on with, two runs at once, changed, with failing runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console
from typer.testing import CliRunner

from retort.cli import app
from retort.training.data.evaluation_set import read_sets
from retort.training.evaluate.evaluation import point_values
from retort.training.evaluate.measures import expected_calibration_error
from retort.training.methods.distill import distill
from retort.training.recipes.study import Cell, StudyRecipe
from retort.training.study.jobs import COMMAND, plan_jobs, run_jobs, thread_variables
from retort.training.study.progress import Job, Progress, Report
from retort.training.study.records import locked, write_record
from retort.training.study.run import StaleRunError, do_job, is_done
from tests.training.study.tiny_study import OPTIMISER, load_study, recipe_values, save_study

RUNS = ["one/none/seed-1", "one/tmkd/seed-1"]


def invoke(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["study", *words])
    return result.exit_code, result.stdout, result.stderr


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()]


def wait_for(condition: Callable[[], object], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def read_json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's folder that was killed in a step and has then been gone on with."""
    folder = tmp_path_factory.mktemp("study")
    recipe = save_study(folder, seeds=[1])
    words = ["study", str(recipe), "--jobs", "2", "--no-speeds"]
    command = [sys.executable, "-m", "retort", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: list(folder.glob("out/*/*/*/stage-*-run/checkpoint/progress.json")))
        running = children(process.pid)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert 1 <= len(running) <= 2
    # Nobody is left to train next to the second sitting.
    wait_for(lambda: not any(Path(f"/proc/{pid}/fd").exists() for pid in running), 60.0)
    finished = list(folder.glob("out/one/*/seed-*/run.json"))
    assert len(finished) < len(RUNS)
    code, out, err = invoke(*words[1:], "--json")
    assert code == 0, err
    assert json.loads(out) == {"studies": [{"study": str(folder / "out")}], "failed": []}
    return folder


@pytest.mark.slow
def test_every_run_leaves_figures_and_scores(killed: Path) -> None:
    sets = {item.name: item for item in read_sets(killed / "measure")}
    records = {name: read_json(killed / "out" / name / "run.json") for name in RUNS}
    assert any(record["resumed"] for record in records.values())
    for name, record in records.items():
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
        assert "stage 1" in (killed / "out" / "logs" / f"{name}.log").read_text()


@pytest.mark.slow
def test_teachers_are_measured_with_their_students(killed: Path) -> None:
    record = read_json(killed / "out/one/teachers/run.json")
    assert set(record["figures"]) == {"ce", "bi", "ensemble"}
    with np.load(killed / "out/one/teachers/scores.npz") as arrays:
        assert {"ce/words", "bi/ranks", "ensemble/words"} <= set(arrays.files)
        items = read_sets(killed / "measure", ["words"])[0]
        for name in ("ce", "bi", "ensemble"):
            auc = point_values(items, arrays[f"{name}/words"])["AUC"]
            assert record["figures"][name]["words"]["AUC"] == pytest.approx(auc)
        assert 0 < arrays["ensemble/words"].min() < arrays["ensemble/words"].max() < 1


@pytest.mark.slow
def test_a_killed_run_ends_where_a_whole_one_ends(killed: Path, tmp_path: Path) -> None:
    study = load_study(killed / "study.yaml")
    whole = study.compose(Cell("tmkd", 1, ("one",))).model_copy(update={"out": tmp_path / "whole"})
    # A sum over another number of threads has other last bits; two runs at once share the cores.
    threads = torch.get_num_threads()
    torch.set_num_threads(int(thread_variables(2)["OMP_NUM_THREADS"]))
    try:
        weights = distill(whole, lambda text: None) / "model.safetensors"
    finally:
        torch.set_num_threads(threads)
    assert (
        weights.read_bytes()
        == (killed / "out/one/tmkd/seed-1/student/model.safetensors").read_bytes()
    )


@pytest.mark.slow
def test_what_is_finished_is_kept(killed: Path) -> None:
    before = (killed / "out/one/tmkd/seed-1/run.json").stat().st_mtime_ns
    code, _, err = invoke(str(killed / "study.yaml"), "--no-speeds")
    assert code == 0, err
    assert err.count("was there") == 3
    assert (killed / "out/one/tmkd/seed-1/run.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_what_has_changed_is_refused_unless_it_is_to_be_made_again(
    killed: Path, tmp_path: Path
) -> None:
    shutil.copytree(killed / "out", tmp_path / "out")
    # Another learning rate for one row: only that row is stale.
    change = f"rows.0.stage={{optimiser: {{lr: {OPTIMISER['lr'] * 2}}}}}"
    study = load_study(killed / "study.yaml", f"out={tmp_path / 'out'}", change)
    assert [name for name in ("one/teachers", *RUNS) if is_done(study, name)] == [
        "one/teachers",
        "one/tmkd/seed-1",
    ]
    with pytest.raises(StaleRunError, match=r"none/seed-1 was made by.*--redo"):
        do_job(study, RUNS[0], print)
    assert do_job(study, RUNS[0], print, redo=True)
    record = read_json(tmp_path / "out/one/none/seed-1/run.json")
    assert record["recipe"]["stages"][0]["optimiser"]["lr"] == 0.006


def test_the_command_says_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = [sys.executable, "-c", "import sys; sys.exit('error: ValueError: lower the lr')"]
    monkeypatch.setattr("retort.training.study.jobs.run_jobs", partial(run_jobs, command=failing))
    code, out, err = invoke(str(save_study(tmp_path, seeds=[1])), "--json")
    assert code == 1
    assert json.loads(out)["failed"] == ["speeds", "one/teachers"]
    assert "[2/4] one/teachers: failed as speeds did" in err
    assert "2 runs are given up: the teachers of one failed" in err
    assert "error: 2 failed:\nspeeds, one/teachers: ValueError: lower the lr" in err
    assert err.count("ValueError: lower the lr") == 2  # as it happens, and at the end


def test_a_job_ends_with_its_error(tmp_path: Path) -> None:
    command = [*COMMAND, str(tmp_path / "nowhere"), "one/none/seed-1"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr.startswith("Traceback")  # the log is where it is looked for
    assert found.stderr.splitlines()[-1].startswith(f"error: {tmp_path / 'nowhere/plan.json'}: not")


def test_a_dry_run_tells_the_order_and_does_nothing(tmp_path: Path) -> None:
    recipe = str(save_study(tmp_path))
    code, out, _ = invoke(recipe, "--dry-run", "seeds=[4]")
    assert code == 0
    assert [line.split()[1] for line in out.splitlines()[:2]] == [
        "one/none/seed-4",
        "one/tmkd/seed-4",
    ]
    assert "0 of 2 runs are finished" in out
    assert not (tmp_path / "out").exists()
    write_record(tmp_path / "out/one/tmkd/seed-1/run.json", {"schema": 1})
    code, out, err = invoke(recipe, "--dry-run", "datasets.0.measure=runs/none")
    assert code == 0
    assert "datasets.0.measure: runs/none: missing; run `retort data sets" in err
    code, out, err = invoke(recipe, "--dry-run", "datasets.0.teachers.0.kind=hub-cross-encoder")
    assert (code, out) == (1, "")
    assert "write kind: cross-encoder" in err
    code, out, _ = invoke(recipe, "--dry-run", "--json", "seeds=[1,2,3]")
    runs = json.loads(out)["runs"]
    assert [run["run"] for run in runs if run["finished"]] == ["one/tmkd/seed-1"]
    assert json.loads(out)["seconds_left"] > 0


def test_a_dry_run_a_recommendation_and_a_report_need_no_pytorch(tmp_path: Path) -> None:
    recipe = save_study(tmp_path)
    program = (
        "import sys\n"
        "from retort.cli import app\n"
        "app(['study', sys.argv[1], '--dry-run'], standalone_mode=False)\n"
        "heavy = {'torch', 'transformers', 'scipy', 'pyarrow', 'datasets', 'matplotlib'}\n"
        "print(heavy & set(sys.modules))\n"
        "import retort.training.study.recommend, retort.training.study.report\n"
        "import retort.training.study.jobs\n"
        "print({'torch', 'transformers', 'matplotlib'} & set(sys.modules))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, str(recipe)], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    *_, told, after_dry_run, after_imports = found.stdout.splitlines()
    assert told.startswith("0 of 4 runs are finished")
    assert (after_dry_run, after_imports) == ("set()", "set()")


def test_only_one_study_works_in_a_folder(tmp_path: Path) -> None:
    recipe = save_study(tmp_path)
    with locked(tmp_path / "out" / ".lock"):
        code, _, err = invoke(str(recipe))
    assert code == 1
    assert "another `retort study` is at work there" in err


def test_what_is_not_there_is_named_before_anything_runs(tmp_path: Path) -> None:
    code, _, err = invoke(
        str(save_study(tmp_path)),
        f"datasets.0.stages.labelled.table={tmp_path / 'no.parquet'}",
        f"datasets.0.measure={tmp_path / 'none'}",
    )
    assert code == 1
    assert str(tmp_path / "no.parquet") in err
    assert str(tmp_path / "none") in err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def study(tmp_path: Path) -> StudyRecipe:
    """A study of which no file is there."""
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(recipe_values(tmp_path)))
    return load_study(path)


class Witness(Progress):
    """Notes what begins and ends, and when."""

    def __init__(self, study: StudyRecipe, jobs: list[Job], size: int) -> None:
        super().__init__(study, jobs, size, Console(quiet=True))
        self.begun_at: list[str] = []
        self.reports: dict[str, Report] = {}
        self.at_once = 0
        self.look: Callable[[], None] = lambda: None

    def begun(self, job: Job) -> None:
        super().begun(job)
        assert len(self.running) == 1 or "speeds" not in self.running
        self.at_once = max(self.at_once, len(self.running))
        self.begun_at.append(job.name)

    def ended(self, report: Report) -> None:
        super().ended(report)
        self.reports[report.name] = report

    def looked(self) -> None:
        self.look()


# A job of another kind, without PyTorch: its folder says what it does.
JOB = """
import pathlib, sys, time
out, *names = sys.argv[1:]
if names[0] == "--check":
    print("\\n".join(name for name in names if name.endswith("kept")))
    sys.exit()
does = names[0].rpartition("/")[2].replace("teachers", "fails")
print("stage 1: 7%")
if does == "hangs":
    time.sleep(600)
if does == "fails":
    sys.exit("Traceback\\n  here\\nerror: ValueError: lower the lr")
if does != "idle":
    pathlib.Path(out, names[0]).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(out, names[0]).write_text(" ".join(names[1:]))
"""


def jobs_that(study: StudyRecipe, *names: str, after: str = "") -> list[Job]:
    """Jobs of these names; the last one needs the one that `after` names."""
    jobs = [Job(name, study.log(name), (study.out / name,)) for name in names]
    return [*jobs[:-1], replace(jobs[-1], after=(after,))] if after else jobs


def run(study: StudyRecipe, jobs: list[Job], witness: Witness, *, redo: bool = False) -> Witness:
    run_jobs(study, jobs, witness.size, witness, redo=redo, command=[sys.executable, "-c", JOB])
    return witness


def test_jobs_are_planned_in_order_of_need(study: StudyRecipe, tmp_path: Path) -> None:
    cells = [f"one/{row}/seed-{seed}" for seed in (1, 2) for row in ("none", "tmkd")]
    jobs = plan_jobs(study)
    assert [job.name for job in jobs] == ["speeds", "one/teachers", *cells]
    assert [job.alone for job in jobs] == [True, *[False] * 5]
    assert jobs[2].log == tmp_path / "out/logs/one/none/seed-1.log"
    assert jobs[2].results == (tmp_path / "out/one/none/seed-1/run.json",)
    assert [job.name for job in plan_jobs(study, speeds=False)] == ["one/teachers", *cells]


def test_what_fails_or_dies_stops_nothing_else(study: StudyRecipe) -> None:
    jobs = jobs_that(study, "a/done", "a/fails", "speeds", "b/hangs", "b/idle", "c", after="b/idle")
    witness = Witness(study, jobs, 2)

    def kill_what_hangs() -> None:
        # Only when the others are done: they have not waited for it.
        if len(witness.reports) == 5:
            for pid in children(os.getpid()):
                os.kill(pid, signal.SIGKILL)

    witness.look = kill_what_hangs
    run(study, jobs, witness)
    assert children(os.getpid()) == []
    assert {name: report.status for name, report in witness.reports.items()} == {
        "a/done": "done", "a/fails": "failed", "speeds": "done", "b/hangs": "failed",
        "b/idle": "kept", "c": "done",
    }  # fmt: skip
    assert witness.reports["a/fails"].error == "ValueError: lower the lr"
    assert "Traceback" in (study.out / "logs/a/fails.log").read_text()
    assert "by signal 9; see" in witness.reports["b/hangs"].error
    assert witness.begun_at == [job.name for job in jobs]  # and `begun` has seen `speeds` alone
    assert witness.at_once == 2


def test_teachers_that_fail_stop_their_dataset_and_no_other(study: StudyRecipe) -> None:
    jobs = jobs_that(study, "one/teachers", "one/hangs", "one/done", "two/done")
    cells = (Cell("row", 1, (job.name.partition("/")[0],)) for job in jobs)
    jobs = [jobs[0], *(replace(job, cell=c) for job, c in zip(jobs[1:], [*cells][1:], strict=True))]
    witness = Witness(study, jobs, 2)
    run(study, jobs, witness)
    assert {name: report.status for name, report in witness.reports.items()} == {
        "one/teachers": "failed", "two/done": "done",
    }  # fmt: skip
    assert (witness.given_up, witness.left) == (2, [])
    assert children(os.getpid()) == []


def test_one_process_tells_what_is_finished(study: StudyRecipe) -> None:
    jobs = jobs_that(study, "a/kept", "b/kept", "c/done", "d/kept", after="c/done")
    for job in jobs:
        write_record(job.results[0], {})
    witness = run(study, jobs, Witness(study, jobs, 1), redo=True)
    # What rests on a job that is done again looks for itself.
    assert witness.begun_at == ["c/done", "d/kept"]
    assert witness.reports["a/kept"].status == "kept"
    assert (study.out / "c/done").read_text() == "--redo"


def test_when_the_study_is_interrupted_no_job_outlives_it(study: StudyRecipe) -> None:
    jobs = jobs_that(study, "a/hangs", "b/hangs", "c/done")
    witness = Witness(study, jobs, 2)

    def interrupt() -> None:
        if len(witness.begun_at) == 2:
            raise KeyboardInterrupt

    witness.look = interrupt
    with pytest.raises(KeyboardInterrupt):
        run(study, jobs, witness)
    assert len(witness.begun_at) == 2
    assert children(os.getpid()) == []


def test_a_study_gives_each_run_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retort.training.study.jobs.usable_cores", lambda: 5)
    assert thread_variables(2)["OMP_NUM_THREADS"] == "2"
    assert thread_variables(9)["RAYON_NUM_THREADS"] == "1"
