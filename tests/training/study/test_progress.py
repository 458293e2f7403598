"""The progress display: done, running, left, and what was found so far."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from retort.training.recipes.study import Cell, StudyRecipe
from retort.training.study.jobs import plan_jobs
from retort.training.study.progress import Progress, Report, last_line
from retort.training.study.records import RunRecord, write_record
from tests.training.study.tiny_study import load_study, save_study


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=120)


def text_of(shown: Console) -> str:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue()


def finish(study: StudyRecipe, cell: Cell, value: float) -> None:
    """Figures of a run, as far as they are shown."""
    record = RunRecord(
        row=cell.row, seed=cell.seed, headline={"words": "AUC"}, figures={"words": {"AUC": value}},
        parameters=1, layers=1, seconds={"train": 4.0, "measure": 1.0},
    )  # fmt: skip
    write_record(study.results(cell)[0] / "run.json", record)


def play(study: StudyRecipe, shown: Console) -> Progress:
    """Three runs: one finished before, one that works, one that fails."""
    jobs = plan_jobs(study)[2:]
    none, tmkd, _ = study.cells()[:3]
    with Progress(study, jobs, 1, shown) as progress:
        finish(study, none, 0.5)
        progress.begun(jobs[0])
        progress.ended(Report(none.name, "kept", 0.0))
        progress.begun(jobs[1])
        jobs[1].log.parent.mkdir(parents=True, exist_ok=True)
        jobs[1].log.write_text("stage 1:  10%\rstage 1:  20%\n")
        progress.looked()
        finish(study, tmkd, 0.75)
        progress.ended(Report(tmkd.name, "done", 5.0))
        progress.begun(jobs[2])
        progress.ended(Report(jobs[2].name, "failed", 1.0, "ValueError: lower the lr"))
    return progress


def test_elsewhere_it_is_a_line_for_each_run(tmp_path: Path) -> None:
    shown = console(terminal=False)
    progress = play(load_study(save_study(tmp_path)), shown)
    lines = text_of(shown).splitlines()
    assert lines[0] == "[1/4] one/none/seed-1: was there"
    assert lines[1].startswith("[2/4] one/tmkd/seed-1: 5 s; words 0.7500; about ")
    assert lines[2] == "[3/4] one/none/seed-2: failed: ValueError: lower the lr"
    assert [report.name for report in progress.failed] == ["one/none/seed-2"]


def test_on_a_terminal_it_shows_what_was_found(tmp_path: Path) -> None:
    shown = console(terminal=True)
    play(load_study(save_study(tmp_path)), shown)
    text = text_of(shown)
    assert "stage 1:  20%" in text
    last = text[text.rindex("tiny: ") :]
    assert "1 done, 1 there before" in last
    assert "1 failed" in last
    assert "1 left" in last
    assert "0.7500 (1) +0.2500" in last
    assert "lower the lr" in last


def test_what_is_left_takes_as_long_as_what_has_run(tmp_path: Path) -> None:
    study = load_study(save_study(tmp_path))
    progress = Progress(study, plan_jobs(study), 2, console(terminal=False))
    before = progress.seconds_left
    progress.estimator.learn(
        "one/none/seed-1", 10 * (progress.estimator.seconds("one/none/seed-1") or 0)
    )
    assert 9.9 * before < progress.seconds_left < 10.1 * before


def test_of_a_log_the_last_state_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert last_line(path) == ""
    path.write_text("x" * 10_000 + "\nbegin\n  7%\r  8%\n\n")
    assert last_line(path) == "8%"
