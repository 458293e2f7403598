"""The report of a simulation: its tables as Markdown, its plots, its figures as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from retort.loadtest.chart import Line, line_chart
from retort.loadtest.report import write_section
from retort.loadtest.simulation.arrivals import KINDS
from retort.loadtest.simulation.figures import Figures
from retort.loadtest.simulation.policies import CONTENDERS
from retort.loadtest.simulation.scenarios import HeadOfLine, Point, Size, Starvation

BEGIN = "<!-- simulate:begin (written by `retort simulate`; change the command, not the text) -->"
END = "<!-- simulate:end -->"
WANTED_HEAD_OF_LINE = 3.0
# The plots have every load, the table the one in the middle and the highest.
DASHES = {"poisson": "", "bursty": "6 4"}


@dataclass(frozen=True, slots=True)
class Setup:
    """What was simulated, in words."""

    command: str
    demand: str
    machine: str
    limits: str
    requests: int
    seed: int


@dataclass(frozen=True, slots=True)
class Report:
    """All scenarios of one simulation."""

    setup: Setup
    points: tuple[Point, ...]
    heads: tuple[HeadOfLine, ...]
    starved: tuple[Starvation, ...]
    sizes: tuple[Size, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return asdict(self)

    def to_markdown(self) -> str:
        """The setup and a table for each scenario."""
        return (
            "\n\n".join(
                (
                    self._setup(),
                    "### By load",
                    self._loads(),
                    "### A request of 1,000 passages among requests of 10",
                    self._heads(),
                    "### Long pairs in a flood of short ones",
                    self._starved(),
                    "### Token budget and steps of length",
                    self._sizes(),
                )
            )
            + "\n"
        )

    def latency_chart(self) -> str:
        """The p99 of every policy by load, as SVG."""
        return self._chart("p99 by load", "p99, ms", lambda found: found.p99_ms, log_y=True)

    def padding_chart(self) -> str:
        """The padding in every policy's batches by load, as SVG."""
        return self._chart("Padding by load", "padding, %", lambda found: found.padding * 100)

    def _chart(
        self, title: str, label: str, value: Callable[[Figures], float], log_y: bool = False
    ) -> str:
        lines = [
            Line(
                f"{contender.name}, {kind}",
                tuple(
                    (point.load * 100, value(point.figures))
                    for point in self.points
                    if (point.policy, point.kind) == (contender.name, kind)
                ),
                colour,
                DASHES[kind],
            )
            for colour, contender in enumerate(CONTENDERS)
            for kind in KINDS
        ]
        return line_chart(
            lines, title=title, x_label="load, % of capacity", y_label=label, log_y=log_y
        )

    def _setup(self) -> str:
        setup = self.setup
        return (
            f"Simulated by `{setup.command}`.\n\n"
            f"* Requests: {setup.demand}\n"
            f"* Backend: {setup.machine}\n"
            f"* Limits: {setup.limits}\n"
            f"* {setup.requests:,} requests a run, seed {setup.seed}"
        )

    def _loads(self) -> str:
        loads = sorted({point.load for point in self.points})
        shown = {loads[len(loads) // 2], loads[-1]}
        rows = [
            (
                f"{point.kind}, {point.load:.0%}",
                point.policy,
                f"{found.padding:.1%}",
                f"{found.pairs_per_batch:.1f}",
                f"{found.busy:.0%}",
                f"{found.p50_ms:,.0f}",
                f"{found.p99_ms:,.0f}",
                f"{found.longest_ms:,.0f}",
                f"{found.refused:.1%}",
            )
            for point in self.points
            if point.load in shown
            for found in [point.figures]
        ]
        heads = (
            "arrivals, load|policy|padding|pairs a batch|busy|p50, ms|p99, ms|longest, ms|refused"
        )
        return _table(heads, rows, words=2)

    def _heads(self) -> str:
        rows = [
            (
                found.policy,
                f"{found.alone.p99_ms:,.0f}",
                f"{found.beside.p50_ms:,.0f}",
                f"{found.beside.p99_ms:,.0f}",
                f"{found.ratio:.1f}",
            )
            for found in self.heads
        ]
        heads = "policy|p99 alone, ms|p50 beside, ms|p99 beside, ms|times the p99 alone"
        return _table(heads, rows) + f"\n\nWanted of the server: at most {WANTED_HEAD_OF_LINE:g}."

    def _starved(self) -> str:
        rows = [
            (
                found.policy,
                f"{found.long_ms / 1e3:,.1f}",
                f"{found.short_ms / 1e3:,.1f}",
                f"{found.refused:.1%}",
            )
            for found in self.starved
        ]
        text = _table("policy|longest wait of long, s|of short, s|refused", rows)
        return text + f"\n\nThe flood went on for {self.starved[0].flood_seconds:,.0f} s."

    def _sizes(self) -> str:
        rows = [
            (
                f"{size.batch_tokens:,}",
                f"{size.length_step}",
                f"{size.figures.padding:.1%}",
                f"{size.figures.pairs_per_batch:.1f}",
                f"{size.figures.shapes:,}",
                f"{size.figures.p50_ms:,.0f}",
                f"{size.figures.p99_ms:,.0f}",
                f"{size.head_of_line:.1f}",
            )
            for size in self.sizes
        ]
        heads = (
            "batch_tokens|length_step|padding|pairs a batch|shapes|p50, ms|p99, ms|"
            "p99 beside 1,000 passages, times"
        )
        return _table(heads, rows, words=0)


def write_page(report: Report, page: Path) -> list[Path]:
    """Write the tables between the markers of `page` and the plots beside it; what was written.

    Raises `ValueError` if the page has text but not both markers.
    """
    write_section(page, report.to_markdown(), "Scheduling", begin=BEGIN, end=END)
    plots = {
        page.with_suffix(".svg"): report.latency_chart(),
        page.with_name(f"{page.stem}-padding.svg"): report.padding_chart(),
    }
    for path, plot in plots.items():
        path.write_text(plot, encoding="utf-8")
    return [page, *plots]


def _table(heads: str, rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """A table whose first `words` columns stand to the left, the others to the right."""
    names = heads.split("|")
    rules = ["---"] * words + ["---:"] * (len(names) - words)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (names, rules, *rows))
