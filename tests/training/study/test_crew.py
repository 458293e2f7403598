"""The crew: what fails or dies is reported and stops nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retort.training.study.crew import Crew
from retort.training.study.jobs import Job, Report, plan_jobs
from tests.training.study.tiny_study import load_study, save_study

pytestmark = pytest.mark.slow


class Witness:
    """What the crew said."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: dict[str, Report] = {}
        self.at_once = 0
        self._running: set[str] = set()

    def begin(self, job: Job) -> None:
        self._running.add(job.name)
        assert len(self._running) == 1 or "speeds" not in self._running
        self.at_once = max(self.at_once, len(self._running))
        self.begun.append(job.name)

    def end(self, job: Job, report: Report) -> None:
        self._running.discard(job.name)
        self.ended[job.name] = report

    def look(self) -> None:
        return None


def test_a_job_survives_its_way_to_the_worker(tmp_path: Path) -> None:
    jobs = plan_jobs(load_study(save_study(tmp_path)), redo=True)
    assert [Job.from_line(job.to_line()) for job in jobs] == jobs
    assert [job.name for job in jobs] == [
        "speeds", "one/teachers", "one/none/seed-1", "one/tmkd/seed-1", "one/none/seed-2",
        "one/tmkd/seed-2",
    ]  # fmt: skip


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    study = load_study(save_study(tmp_path))
    jobs = [job for job in plan_jobs(study) if job.name.endswith("none/seed-1")]
    jobs += [job for job in plan_jobs(study) if job.name.endswith("none/seed-2")]
    witness = Witness()
    with Crew(1) as crew:

        def look() -> None:
            if not witness.ended:
                os.kill(crew.workers[0], signal.SIGKILL)

        crew.work(jobs, witness.begin, witness.end, look)
    first, second = witness.ended.values()
    assert (first.status, second.status) == ("failed", "done")
    assert "the worker ended by signal 9" in first.error
    assert "Run the study again" in first.error
    assert witness.at_once == 1


def test_what_fails_stops_nothing_else(tmp_path: Path) -> None:
    study = load_study(save_study(tmp_path))
    (tmp_path / "ce").rename(tmp_path / "lost")
    witness = Witness()
    with Crew(2) as crew:
        speeds, teachers, *runs = plan_jobs(study)
        crew.work([teachers, runs[0], speeds, *runs[1:]], witness.begin, witness.end, witness.look)
        pids = crew.workers
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    failed = {name for name, report in witness.ended.items() if report.status == "failed"}
    assert failed == {"speeds", "one/teachers", "one/tmkd/seed-1", "one/tmkd/seed-2"}
    assert "ce/student.json: missing" in witness.ended["one/tmkd/seed-1"].error
    assert witness.ended["one/none/seed-2"].status == "done"
    assert witness.begun[2] == "speeds"  # and `begin` has seen it alone
    assert witness.at_once == 2
    assert "Traceback" in (study.out / "one" / "tmkd" / "seed-1.log").read_text()


def test_a_worker_whose_master_is_gone_stops_in_the_middle(tmp_path: Path) -> None:
    study = load_study(save_study(tmp_path), "datasets.0.stages.labelled.optimiser.epochs=100000")
    job = next(job for job in plan_jobs(study) if job.kind == "run")
    command = [sys.executable, "-m", "retort.training.study.worker"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as worker:
        assert worker.stdin is not None
        worker.stdin.write(job.to_line() + "\n")
        worker.stdin.flush()
        checkpoint = study.folder(study.cells()[0]) / "stage-1-run/checkpoint/progress.json"
        try:
            while not checkpoint.is_file():
                assert worker.poll() is None
                time.sleep(0.05)
            worker.stdin.close()
            assert worker.wait(timeout=60) == 1
        finally:
            worker.kill()
