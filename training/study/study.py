"""The study: its jobs in order of need, done by a crew, with the plan written down first."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from retort.training.recipes.study import Cell, StudyRecipe
from retort.training.study.crew import Crew
from retort.training.study.estimate import Estimator
from retort.training.study.files import PLAN_FILE, RUN_FILE, write_json
from retort.training.study.jobs import Report, plan_jobs
from retort.training.study.progress import Progress


class StudyError(ValueError):
    """A study cannot begin."""


def run_study(
    study: StudyRecipe,
    console: Console,
    *,
    jobs: int = 1,
    speeds: bool = True,
    redo: bool = False,
) -> list[Report]:
    """Do all that is not done yet; the reports of what failed.

    What fails stops nothing else. Raises `StudyError` while the same study is running elsewhere.
    """
    check_files(study)
    planned = plan_jobs(study, speeds=speeds, redo=redo)
    with only_one(study.out):
        write_json(study.out / PLAN_FILE, json.loads(study.model_dump_json()))
        with Progress(study, planned, jobs, console) as progress, Crew(jobs) as crew:
            crew.work(planned, progress.begun, progress.ended, progress.looked)
    return progress.failed


def check_files(study: StudyRecipe) -> None:
    """Raises `StudyError` that names every table and folder that is not there."""
    tables = {
        stage.table
        for cell in study.cells()
        for name in cell.datasets
        for stage in study.stages(study.row(cell.row), study.dataset(name))
    }
    folders = {f for d in study.datasets for f in (*d.measure_folders, *d.choose_folders)}
    missing = sorted(str(path) for path in tables if not path.is_file())
    missing += sorted(
        {
            f"teacher {teacher.name} in {teacher.path}"
            for dataset in study.datasets
            for teacher in dataset.teachers
            if teacher.kind == "cross-encoder"
            and not (Path(teacher.path) / "student.json").is_file()
        }
    )
    missing += sorted(str(path) for path in folders if not path.is_dir())
    if missing:
        raise StudyError(
            f"{study.name}: not there: {', '.join(missing)}; tables come from `retort data build`, "
            "sets from `retort data sets`, teachers from `retort teach`"
        )


def is_finished(study: StudyRecipe, cell: Cell) -> bool:
    """Whether a cell has figures, of whatever basis."""
    return all((folder / RUN_FILE).is_file() for folder in study.results(cell))


def timetable(study: StudyRecipe) -> list[tuple[str, float | None, bool]]:
    """The cells in order: name, estimated seconds, whether it is finished."""
    estimator = Estimator(study)
    return [
        (cell.name, estimator.seconds(cell.name), is_finished(study, cell))
        for cell in study.cells()
    ]


@contextmanager
def only_one(out: Path) -> Iterator[None]:
    """Hold the study's folder. Raises `StudyError` if another process does."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StudyError(
                f"{out}: another `retort study` is at work there; wait for it or stop it"
            ) from None
        yield


def failures(reports: Sequence[Report]) -> str:
    """What failed, a line each."""
    return "\n".join(f"{report.name}: {report.error}" for report in reports)
