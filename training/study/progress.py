"""The progress of a study: what is done, what is running, what is left, what was found so far.

On a terminal it is one picture that changes; elsewhere a line for each job that ends.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from retort.training.recipes.study import StudyRecipe
from retort.training.study.estimate import Estimator, in_words
from retort.training.study.findings import Finding, find
from retort.training.study.jobs import Job, Report

TAIL_BYTES = 4_000


class Progress:
    """What the crew tells its user; use it as a context."""

    def __init__(self, study: StudyRecipe, jobs: list[Job], crew: int, console: Console) -> None:
        self.study = study
        self.console = console
        self.estimator = Estimator(study)
        self.crew = crew
        self.left = [job.name for job in jobs]
        self.total = len(jobs)
        self.running: dict[str, tuple[Job, float]] = {}
        self.kept = 0
        self.done = 0
        self.failed: list[Report] = []
        self.started = time.monotonic()
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

    def ended(self, job: Job, report: Report) -> None:
        """A job has ended."""
        self.running.pop(job.name, None)
        self.left.remove(job.name)
        if report.status == "failed":
            self.failed.append(report)
        elif report.status == "kept":
            self.kept += 1
        else:
            self.done += 1
            if job.kind == "run":
                self.estimator.learn(job.name, report.seconds)
        if self._live is None:
            self.console.print(self._line(job, report), soft_wrap=True, markup=False)
        self.looked()

    def looked(self) -> None:
        """Draw what there is to see."""
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)

    @property
    def seconds_left(self) -> float:
        """About how long the rest will take."""
        total = self.estimator.total(self.left, self.crew)
        now = time.monotonic()
        for name, (_, began) in self.running.items():
            expected = self.estimator.seconds(name) or 0.0
            total -= min(now - began, expected) / self.crew
        return total

    def _line(self, job: Job, report: Report) -> str:
        count = f"[{self.total - len(self.left)}/{self.total}] {job.name}"
        if report.status == "failed":
            return f"{count}: failed: {report.error}"
        if report.status == "kept":
            return f"{count}: was there"
        parts = [in_words(report.seconds)]
        if job.cell is not None:
            for name in job.cell.datasets:
                for found in find(self.study):
                    if (found.dataset, found.row) == (name, job.cell.row):
                        parts.append(_values(found))
        parts.append(f"about {in_words(self.seconds_left)} left")
        return f"{count}: {'; '.join(parts)}"

    def _picture(self) -> RenderableType:
        now = time.monotonic()
        head = Text(f"{self.study.name}: {self.done} done", style="bold")
        if self.kept:
            head.append(f", {self.kept} there before")
        if self.failed:
            head.append(f", {len(self.failed)} failed", style="red")
        head.append(
            f", {len(self.left)} left; at work {in_words(now - self.started)}, "
            f"about {in_words(self.seconds_left)} left"
        )
        running = Table.grid(padding=(0, 2))
        for name, (job, began) in self.running.items():
            expected = in_words(self.estimator.seconds(name)) if job.cell is not None else "?"
            running.add_row(name, f"{in_words(now - began)} of {expected}", last_line(job.log))
        parts: list[RenderableType] = [head, running]
        findings = find(self.study)
        if findings:
            parts.append(findings_table(self.study, findings))
        for report in self.failed[-3:]:
            parts.append(Text(f"{report.name}: {report.error}"[:300], style="red"))
        return Group(*parts)


def findings_table(study: StudyRecipe, findings: list[Finding]) -> Table:
    """Rows by datasets: the mean of the sets' headlines, and the difference to the baseline."""
    table = Table(box=None, title="found so far (mean over sets and seeds)", title_justify="left")
    table.add_column("")
    datasets = list(dict.fromkeys(found.dataset for found in findings))
    for name in datasets:
        table.add_column(name, justify="right")
    cells = {(found.row, found.dataset): found for found in findings}
    for row in dict.fromkeys(found.row for found in findings):
        line = [row]
        for name in datasets:
            found = cells.get((row, name))
            text = "" if found is None else f"{found.mean:.4f} ({found.seeds})"
            base = cells.get((study.baseline or "", name))
            if found is not None and base is not None and base is not found:
                text += f" {found.mean - base.mean:+.4f}"
            line.append(text)
        table.add_row(*line)
    return table


def last_line(path: str) -> str:
    """The end of a log: of a progress bar its last state."""
    try:
        with Path(path).open("rb") as log:
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
