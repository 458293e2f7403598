"""The crew: worker processes that do jobs side by side, each with its share of the cores."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import IO, Self

from retort.models.cores import usable_cores
from retort.training.study.jobs import Job, Report

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
LOOK_SECONDS = 0.5


@dataclass
class _Worker:
    """A process and what it is at."""

    process: subprocess.Popen[str]
    job: Job | None = None
    reader: threading.Thread | None = field(default=None, repr=False)

    @property
    def pipe(self) -> IO[str]:
        assert self.process.stdin is not None
        return self.process.stdin


class Crew:
    """`size` workers; use it as a context, so that none outlives it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.threads = max(1, usable_cores() // size)
        self._workers: list[_Worker] = []
        self._reports: SimpleQueue[tuple[_Worker, Report | None]] = SimpleQueue()

    @property
    def workers(self) -> list[int]:
        """The processes' numbers."""
        return [worker.process.pid for worker in self._workers]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.process.kill()
            worker.process.wait()
            worker.pipe.close()
            if worker.reader is not None:
                worker.reader.join()

    def work(
        self,
        jobs: Sequence[Job],
        begun: Callable[[Job], None],
        ended: Callable[[Job, Report], None],
        looked: Callable[[], None],
    ) -> None:
        """Do all jobs in order, as many at once as there are workers.

        `begun` and `ended` are called at each job's ends, `looked` about twice a second between.
        """
        waiting = list(jobs)
        while waiting or self._busy():
            while waiting and self._may_begin(waiting[0]):
                job = waiting.pop(0)
                begun(job)
                self._give(job)
            try:
                worker, report = self._reports.get(timeout=LOOK_SECONDS)
            except Empty:
                looked()
                continue
            job_done = worker.job
            if report is None:
                report = self._bury(worker)
            worker.job = None
            if job_done is not None and report is not None:
                ended(job_done, report)

    def _busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.job is not None]

    def _may_begin(self, job: Job) -> bool:
        busy = self._busy()
        if job.alone or any(worker.job.alone for worker in busy if worker.job is not None):
            return not busy
        running = {worker.job.name for worker in busy if worker.job is not None}
        return len(busy) < self.size and running.isdisjoint(job.after)

    def _give(self, job: Job) -> None:
        Path(job.log).parent.mkdir(parents=True, exist_ok=True)
        idle = [worker for worker in self._workers if worker.job is None]
        worker = idle[0] if idle else self._start(job)
        worker.job = job
        try:
            worker.pipe.write(job.to_line() + "\n")
            worker.pipe.flush()
        except BrokenPipeError:
            pass  # it died while idle; its reader says so, and the job is reported as failed

    def _start(self, job: Job) -> _Worker:
        variables = dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        # What a worker says before its first job, and how it dies, stands in that job's log.
        with Path(job.log).open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "retort.training.study.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                encoding="utf-8", env={**os.environ, **variables, "TOKENIZERS_PARALLELISM": "true"},
            )  # fmt: skip
        worker = _Worker(process)
        worker.reader = threading.Thread(target=self._listen, args=(worker,), daemon=True)
        self._workers.append(worker)
        worker.reader.start()
        return worker

    def _listen(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        with worker.process.stdout as answers:
            for line in answers:
                self._reports.put((worker, Report.from_line(line)))
        self._reports.put((worker, None))

    def _bury(self, worker: _Worker) -> Report | None:
        """A worker has died: the report of what it was at, if anything."""
        status = worker.process.wait()
        worker.pipe.close()
        self._workers.remove(worker)
        if worker.job is None:
            return None
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        text = f"the worker ended {how}; see {worker.job.log}. Run the study again to go on"
        return Report(worker.job.name, "failed", 0.0, text)
