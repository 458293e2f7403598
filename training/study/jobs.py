"""The jobs of a study, in order of need: each is a `retort` process with its share of the cores.

A job is `python -m retort study-job OUT NAME`, with OUT the study's folder and NAME `speeds`,
`DATASET/teachers`, or a cell as `DATASET/ROW/seed-N`. What it prints stands in `OUT/logs/NAME.log`.
A job that fails or dies stops no other, but for the teachers of a dataset, which stop its cells;
when the study ends, however it ends, no job outlives it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from retort.models.runtime.cores import usable_cores
from retort.training.recipes.files import Absent, absent, not_yet
from retort.training.recipes.study import TEACHERS, StudyRecipe
from retort.training.study.progress import Job, Progress, Report
from retort.training.study.records import (
    PLAN_FILE,
    RUN_FILE,
    SPEEDS,
    SPEEDS_FILE,
    StudyFileError,
    locked,
    write_record,
)

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
# A log keeps the traceback of what failed.
COMMAND = (sys.executable, "-m", "retort", "--debug", "study-job")
LOOK_SECONDS = 0.2
CHECK = "check"


def plan_jobs(study: StudyRecipe, *, speeds: bool = True) -> list[Job]:
    """All of a study in order: speeds, the teachers' own scores, then the cells."""
    jobs = []
    if speeds:
        jobs.append(Job(SPEEDS, study.log(SPEEDS), (study.out / SPEEDS_FILE,)))
    for dataset in study.datasets:
        if dataset.teachers:
            name = f"{dataset.name}/{TEACHERS}"
            jobs.append(Job(name, study.log(name), (study.out / name / RUN_FILE,)))
    for cell in study.cells():
        results = tuple(folder / RUN_FILE for folder in study.results(cell))
        after = tuple(study.needs(cell))
        jobs.append(Job(cell.name, study.log(cell.name), results, cell, after))
    return jobs


def run_study(
    study: StudyRecipe,
    console: Console,
    *,
    jobs: int = 1,
    speeds: bool = True,
    redo: bool = False,
) -> list[Report]:
    """Do everything that is not done yet; the reports of what failed.

    Raises `StudyFileError` for a table, folder or teacher that is not there, and while the same
    study is running elsewhere.
    """
    check_files(study)
    busy = f"{study.out}: another `retort study` is at work there; wait for it or stop it"
    with locked(study.out / ".lock", busy):
        write_record(study.out / PLAN_FILE, study)
        planned = plan_jobs(study, speeds=speeds)
        with Progress(study, planned, jobs, console) as progress:
            run_jobs(study, planned, jobs, progress, redo=redo)
    return progress.failed


def run_jobs(
    study: StudyRecipe,
    jobs: Sequence[Job],
    size: int,
    progress: Progress,
    *,
    redo: bool = False,
    command: Sequence[str] = COMMAND,
) -> None:
    """Run the jobs in order, `size` at a time, and tell `progress` about each.

    `command` starts a job, with the study's folder and the job's name behind it.
    """
    command = (*command, str(study.out))
    kept = _finished(study, jobs, command)
    for job in jobs:
        if job.name in kept:
            progress.ended(Report(job.name, "kept", 0.0))
    waiting = [job for job in jobs if job.name not in kept]
    running: dict[str, _Process] = {}
    try:
        while waiting or running:
            while waiting and _may_begin(waiting[0], running, size):
                job = waiting.pop(0)
                words = (*command, job.name, *(["--redo"] if redo else []))
                running[job.name] = _Process(job, words, 1 if job.alone else size)
                progress.begun(job)
            time.sleep(LOOK_SECONDS)
            for name in list(running):
                report = running[name].report() if name in running else None
                if report is not None:
                    del running[report.name]
                    progress.ended(report)
                    if report.status == "failed":
                        _stop_after(report.name, waiting, running, progress)
            progress.looked()
    finally:
        for process in running.values():
            process.kill()


def _stop_after(
    failed: str, waiting: list[Job], running: dict[str, _Process], progress: Progress
) -> None:
    """Give up a dataset whose teachers failed: its cells would all fail of the same."""
    dataset, _, what = failed.partition("/")
    if what != TEACHERS:
        return
    given_up = [
        job
        for job in (*(process.job for process in running.values()), *waiting)
        if job.cell is not None and dataset in job.cell.datasets
    ]
    for job in given_up:
        if job.name in running:
            running.pop(job.name).kill()
        else:
            waiting.remove(job)
    progress.stopped(given_up, f"the teachers of {dataset} failed")


def _may_begin(job: Job, running: dict[str, _Process], size: int) -> bool:
    if job.alone or any(process.job.alone for process in running.values()):
        return not running
    return len(running) < size and running.keys().isdisjoint(job.after)


def _finished(study: StudyRecipe, jobs: Sequence[Job], command: Sequence[str]) -> set[str]:
    """The jobs with nothing to do, told by one process: to start one for each takes seconds."""
    begun = [job for job in jobs if all(path.is_file() for path in job.results)]
    if len(begun) < 2:
        return set()
    check = Job(CHECK, study.log(CHECK), ())
    process = _Process(check, (*command, "--check", *(job.name for job in begun)), 1)
    try:
        # Not `communicate`: that would end its standard input, and with it the process.
        assert process.process.stdout is not None
        kept = set(process.process.stdout.read().split())
    finally:
        process.kill()
    for job in jobs:
        # What a job rests on may change before its turn: then it looks for itself.
        if not kept.issuperset(job.after):
            kept.discard(job.name)
    return kept


class _Process:
    """A job's process. It ends itself when its standard input does: with this process."""

    def __init__(self, job: Job, command: Sequence[str], size: int) -> None:
        self.job = job
        self.started = time.monotonic()
        self._before = self._written()
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("ab") as log:
            self._start = log.tell()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if job.name == CHECK else log,
                stderr=log,
                text=True,
                env={**os.environ, **thread_variables(size)},
            )

    def report(self) -> Report | None:
        """None while it runs."""
        status = self.process.poll()
        if status is None:
            return None
        self.kill()
        seconds = time.monotonic() - self.started
        if status == 0:
            kept = self._written() == self._before
            return Report(self.job.name, "kept" if kept else "done", seconds)
        text = self._said()
        if status < 0 or not text:
            how = f"by signal {-status}" if status < 0 else f"with status {status}"
            text = f"ended {how}; see {self.job.log}. Run the study again to go on"
        return Report(self.job.name, "failed", seconds, text)

    def kill(self) -> None:
        """End it if it still runs."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _written(self) -> list[int]:
        return [path.stat().st_mtime_ns for path in self.job.results if path.is_file()]

    def _said(self) -> str:
        """The last words of its log: the error, where there is one."""
        with self.job.log.open("rb") as log:
            log.seek(self._start)
            text = log.read().decode("utf-8", "replace").strip()
        _, found, error = f"\n{text}".rpartition("\nerror: ")
        return error if found else "\n".join(text.splitlines()[-3:])


def thread_variables(size: int) -> dict[str, str]:
    """The environment of one of `size` processes that share the cores."""
    threads = dict.fromkeys(THREAD_VARIABLES, str(max(1, usable_cores() // size)))
    return {**threads, "TOKENIZERS_PARALLELISM": "true"}


def check_files(study: StudyRecipe, *, planned: bool = False) -> list[Absent]:
    """What a command is still to make for a study; where it is only `planned`, such may be missing.

    Raises `StudyFileError` that names every table, teacher and folder that is missing, and what
    stands where the study is to write.
    """
    used = {
        str(stage.table)
        for cell in study.cells()
        for name in cell.datasets
        for stage in study.stages(study.row(cell.row), study.dataset(name))
    }
    values = study.model_dump(mode="json")
    lacking = [
        item
        for item in absent(values, Path("recipes"))
        if item.place.what != "table" or item.place.path in used
    ]
    later = [item for item in lacking if planned and item.maker]
    if problem := not_yet(values, [item for item in lacking if item not in later], study.name):
        raise StudyFileError(problem)
    return later
