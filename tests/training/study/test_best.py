"""The teacher that a recipe names as best, held against the sets that choose."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from retort.training.study.best import misnamed
from retort.training.study.figures import measure_study
from retort.training.study.jobs import plan_jobs
from retort.training.study.progress import Progress, Report
from retort.training.study.records import RUN_FILE, TeachersRecord, write_record
from retort.training.study.report import to_markdown
from retort.training.study.results import StudyResults, read_results
from tests.training.study.made import ROWS, Made


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    """A study that names ce-6 as the best of ce-6 and ce-4."""
    return read_results(Made(tmp_path_factory.mktemp("m"), rows=ROWS[:2], seeds=(1,)).write())


def measured(study: StudyResults, **values: float) -> None:
    """Write what the teachers, by their names, have on the set that chooses."""
    record = TeachersRecord(
        headline={"dev": "AP"},
        choose={name.replace("_", "-"): {"dev": {"AP": v}} for name, v in values.items()},
    )
    write_record(study.plan.out / "qa" / "teachers" / RUN_FILE, record)


def test_only_a_teacher_that_is_not_the_best_is_misnamed(study: StudyResults) -> None:
    plan = study.plan
    dataset = plan.dataset("qa")
    (plan.out / "qa" / "teachers" / RUN_FILE).unlink()
    assert misnamed(plan, dataset) == ""
    measured(study, ce_6=0.8, ce_4=0.7, ensemble=0.9)
    assert misnamed(plan, dataset) == ""
    measured(study, ce_6=0.7, ce_4=0.8)
    text = misnamed(plan, dataset)
    assert "names ce-6" in text
    assert "0.7000 and ce-4 has 0.8000" in text
    assert misnamed(plan, dataset.model_copy(update={"best": None})) == ""


def test_a_study_warns_when_its_teachers_have_figures(study: StudyResults) -> None:
    measured(study, ce_6=0.7, ce_4=0.8)
    shown = Console(file=io.StringIO(), width=200)
    jobs = plan_jobs(study.plan, speeds=False)
    with Progress(study.plan, jobs, 1, shown) as progress:
        progress.begun(jobs[0])
        progress.ended(Report("qa/teachers", "done", 1.0))
    assert isinstance(shown.file, io.StringIO)
    lines = [line for line in shown.file.getvalue().splitlines() if line.startswith("warning: qa")]
    assert len(lines) == 1


def test_the_report_calls_no_teacher_the_best_that_is_not(study: StudyResults) -> None:
    measured(study, ce_6=0.8, ce_4=0.7)
    sound = measure_study(study, 100)
    assert "best teacher" in to_markdown([sound])
    measured(study, ce_6=0.7, ce_4=0.8)
    wrong = measure_study(study, 100)
    assert len(wrong.misnamed) == 1
    text = to_markdown([wrong])
    assert f"* {wrong.misnamed[0]}" in text
    # But for the sentence that says what the recipe has called so.
    assert text.replace(wrong.misnamed[0], "").count("best teacher") == 0
    assert "teacher named best" in text
    assert to_markdown([replace(wrong, misnamed=())]) == to_markdown([sound])
