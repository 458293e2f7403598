"""The worker: a process that does a study's jobs, one after another.

It reads a job a line on its standard input and answers with a report a line on what was its
standard output; whatever else is printed goes to the job's log. When its input ends the one who
asked is gone, and it ends at once, in the middle of a step if need be: what it was at goes on from
its last checkpoint.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from retort.training.study.jobs import Job, Report


def main() -> None:
    """Work until the input ends."""
    # Ctrl-C reaches the whole terminal; the one who asked decides, and closes the input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    while True:
        job = Job.from_line(lines.get())
        with _logged(Path(job.log)):
            report = do(job)
        answers.write(report.to_line() + "\n")
        answers.flush()


def do(job: Job) -> Report:
    """Do a job; whatever goes wrong is in the report, and in full on standard error."""
    started = time.monotonic()
    try:
        kept = _do(job)
    except Exception as error:
        traceback.print_exc()
        text = f"{type(error).__name__}: {error}"
        return Report(job.name, "failed", time.monotonic() - started, text)
    return Report(job.name, "kept" if kept else "done", time.monotonic() - started)


def _do(job: Job) -> bool:
    from retort.training.recipes.study import StudyRecipe
    from retort.training.study.run import run_cell
    from retort.training.study.speeds import measure_speeds
    from retort.training.study.teacher_scores import score_teachers

    study = StudyRecipe.model_validate_json(job.study)
    if job.kind == "speeds":
        return not measure_speeds(study, _log)
    if job.kind == "teachers":
        return not score_teachers(study, study.dataset(job.dataset), _log)
    assert job.cell is not None
    return run_cell(study, job.cell, _log, redo=job.redo).kept


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _read(lines: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(1)


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Send standard output and error to a file, those of libraries in C too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = os.dup(1), os.dup(2)
    with path.open("a", encoding="utf-8") as handle:
        os.dup2(handle.fileno(), 1)
        os.dup2(handle.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, old in enumerate(kept, start=1):
                os.dup2(old, number)
                os.close(old)


if __name__ == "__main__":
    main()
