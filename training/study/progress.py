"""The jobs of a study and their progress: what is done, running, left, and found so far.

On a terminal it is one picture that changes; elsewhere one line per job that ends.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from retort.training.recipes.study import TEACHERS, Cell, StudyRecipe
from retort.training.study.best import misnamed
from retort.training.study.estimate import Estimator, in_words
from retort.training.study.records import SPEEDS, Finding, findings

TAIL_BYTES = 4_000


Status = Literal["done", "kept", "failed"]


@dataclass(frozen=True, slots=True)
class Job:
    """`results` are the files it writes; `after` names jobs that have to end before it begins."""

    name: str
    log: Path
    results: tuple[Path, ...]
    cell: Cell | None = None
    after: tuple[str, ...] = ()

    @property
    def alone(self) -> bool:
        """Speeds are measured while the study does nothing else on this machine."""
        return self.name == SPEEDS


@dataclass(frozen=True, slots=True)
class Report:
    """How a job ended. `error` is the end of its log."""

    name: str
    status: Status
    seconds: float
    error: str = ""


class Progress:
    """What the user of a study sees; use it as a context."""

    def __init__(
        self, study: StudyRecipe, jobs: Sequence[Job], size: int, console: Console
    ) -> None:
        self.study = study
        self.console = console
        self.estimator = Estimator(study)
        self.size = size
        self.jobs = {job.name: job for job in jobs}
        self.left = list(self.jobs)
        self.running: dict[str, tuple[Job, float]] = {}
        self.kept = 0
        self.done = 0
        self.given_up = 0
        self.failed: list[Report] = []
        self.started = time.monotonic()
        self._found = list(findings(study))
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self.looked()
            self._live.stop()

    def begun(self, job: Job) -> None:
        """A job has begun."""
        self.running[job.name] = (job, time.monotonic())
        self.looked()

    def ended(self, report: Report) -> None:
        """A job has ended."""
        job = self.jobs[report.name]
        self.running.pop(job.name, None)
        self.left.remove(job.name)
        self._found = list(findings(self.study))
        if report.status == "failed":
            self.failed.append(report)
        elif report.status == "kept":
            self.kept += 1
        else:
            self.done += 1
            if job.cell is not None:
                self.estimator.learn(job.name, report.seconds)
        if self._live is None:
            self.console.print(self._line(job, report), soft_wrap=True, markup=False)
        self._warn_of_best(report)
        self.looked()

    def _warn_of_best(self, report: Report) -> None:
        """Where the teachers of a dataset have figures, and another than the named one is best."""
        dataset, _, what = report.name.partition("/")
        if what != TEACHERS or report.status == "failed":
            return
        if text := misnamed(self.study, self.study.dataset(dataset)):
            line = f"warning: {text}: name that one in best:"
            self.console.print(line, soft_wrap=True, markup=False)

    def stopped(self, jobs: Sequence[Job], reason: str) -> None:
        """These will not be done."""
        for job in jobs:
            self.running.pop(job.name, None)
            self.left.remove(job.name)
        self.given_up += len(jobs)
        if jobs and self._live is None:
            line = f"{len(jobs)} runs are given up: {reason}"
            self.console.print(line, soft_wrap=True, markup=False)
        self.looked()

    def looked(self) -> None:
        """Draw what there is to see."""
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)

    @property
    def seconds_left(self) -> float:
        """About how long the rest will take."""
        total = self.estimator.total(self.left, self.size)
        now = time.monotonic()
        for name, (_, began) in self.running.items():
            expected = self.estimator.seconds(name) or 0.0
            total -= min(now - began, expected) / self.size
        return total

    def _line(self, job: Job, report: Report) -> str:
        count = f"[{len(self.jobs) - len(self.left)}/{len(self.jobs)}] {job.name}"
        if report.status == "failed":
            alike = next((r for r in self.failed if r.error == report.error), report)
            if alike is not report:
                return f"{count}: failed as {alike.name} did"
            return f"{count}: failed: {report.error}"
        if report.status == "kept":
            return f"{count}: was there"
        parts = [in_words(report.seconds)]
        if job.cell is not None:
            parts += [
                _values(found)
                for found in self._found
                if found.row == job.cell.row and found.dataset in job.cell.datasets
            ]
        parts.append(f"about {in_words(self.seconds_left)} left")
        return f"{count}: {'; '.join(parts)}"

    def _picture(self) -> RenderableType:
        now = time.monotonic()
        head = Text(f"{self.study.name}: {self.done} done", style="bold")
        if self.kept:
            head.append(f", {self.kept} there before")
        if self.failed:
            head.append(f", {len(self.failed)} failed", style="red")
        if self.given_up:
            head.append(f", {self.given_up} given up", style="red")
        head.append(
            f", {len(self.left)} left; at work {in_words(now - self.started)}, "
            f"about {in_words(self.seconds_left)} left"
        )
        running = Table.grid(padding=(0, 2))
        for name, (job, began) in self.running.items():
            expected = in_words(self.estimator.seconds(name)) if job.cell is not None else "?"
            running.add_row(name, f"{in_words(now - began)} of {expected}", last_line(job.log))
        parts: list[RenderableType] = [head, running]
        if self._found:
            parts.append(findings_table(self.study, self._found))
        for report in self.failed[-3:]:
            parts.append(Text(f"{report.name}: {report.error}"[:300], style="red"))
        return Group(*parts)


def findings_table(study: StudyRecipe, found: Sequence[Finding]) -> Table:
    """Rows by datasets: the mean of the sets' headlines, and the difference to the baseline."""
    table = Table(box=None, title="found so far (mean over sets and seeds)", title_justify="left")
    table.add_column("")
    datasets = list(dict.fromkeys(one.dataset for one in found))
    for name in datasets:
        table.add_column(name, justify="right")
    cells = {(one.row, one.dataset): one for one in found}
    for row in dict.fromkeys(one.row for one in found):
        line = [row]
        for name in datasets:
            here, base = cells.get((row, name)), cells.get((study.baseline or "", name))
            text = "" if here is None else f"{here.mean:.4f} ({here.seeds})"
            if here is not None and base is not None and base is not here:
                text += f" {here.mean - base.mean:+.4f}"
            line.append(text)
        table.add_row(*line)
    return table


def last_line(path: Path) -> str:
    """The last line of a log, or the last state of a progress bar."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - TAIL_BYTES))
            text = log.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.replace("\r", "\n").split("\n")]
    return next((line[-90:] for line in reversed(lines) if line), "")


def _values(found: Finding) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in found.values.items()) + (
        f" (mean of {found.seeds} seeds)" if found.seeds > 1 else ""
    )
