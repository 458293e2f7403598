"""Bars: rows below each other with their intervals, in HTML that also fits a telephone.

Names and figures are text; only the track between them is drawn, in shares of its width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from retort.training.evaluate.bootstrap import Estimate
from retort.training.evaluate.plot import round_ticks
from retort.training.evaluate.report import interval, percent, signed
from retort.training.study.claims import judge
from retort.training.study.figures import THE_ENSEMBLE, Scope, StudyFigures
from retort.training.study.plots import colour


@dataclass(frozen=True, slots=True)
class Bar:
    """A name, an estimate, its value by seed, and what stands at its end."""

    name: str
    colour: str
    estimate: Estimate
    seeds: tuple[float, ...]
    end: str
    bounds: str


@dataclass(frozen=True, slots=True)
class Track:
    """From `low` to `high`, with a line at `mark`; `digits` is the format of its ticks."""

    low: float
    high: float
    mark: float | None
    digits: str

    def place(self, value: float) -> str:
        """Where a value lies, in per cent of the width."""
        return f"{100 * (value - self.low) / (self.high - self.low):.2f}%"

    def ticks(self) -> list[float]:
        """Round numbers within the track."""
        return [tick for tick in round_ticks(self.low, self.high) if self.low <= tick <= self.high]


def rows(figures: StudyFigures, scope: Scope) -> str:
    """What each row kept of the ensemble, best first; its plain figure where there is none."""
    ensemble = scope.value(THE_ENSEMBLE).value if scope.has(THE_ENSEMBLE) else None
    found = []
    for row in scope.ranked():
        seeds = tuple(scope.seeds.get(row, {}).values())
        estimate: Estimate | None = scope.value(row)
        words: Callable[[Estimate], str] = interval
        if ensemble is not None:
            estimate = scope.compared(row).retained
            seeds = tuple(value / ensemble for value in seeds)
            words = _percent
        if estimate is not None:
            end, _, bounds = words(estimate).partition(" ")
            name = figures.title(row)
            found.append(Bar(name, colour(figures, row), estimate, seeds, end, bounds))
    if ensemble is None:
        return _draw(found, None, scope.measure, shares=False)
    return _draw(found, 1.0, "of the teachers' ensemble", shares=True)


def claims(figures: StudyFigures, scope: Scope) -> str:
    """Every claim's difference beside zero; what is inside the noise is grey."""
    found = []
    for verdict in judge(figures, scope):
        names = (figures.title(verdict.claim.row), figures.title(verdict.claim.other))
        end, _, bounds = signed(verdict.difference, bounds=True).partition(" ")
        key = colour(figures, verdict.claim.row) if verdict.outside else "base"
        found.append(Bar(" − ".join(names), key, verdict.difference, (), end, bounds))
    return _draw(found, 0.0, f"difference, {scope.measure}", shares=False)


def _draw(found: Sequence[Bar], mark: float | None, what: str, *, shares: bool) -> str:
    if not found:
        return ""
    values = [v for bar in found for v in (bar.estimate.low, bar.estimate.high, *bar.seeds)]
    values += [mark] if mark is not None else []
    low, high = min(values), max(values)
    room = 0.03 * (high - low) or 0.01
    digits = (".0%" if high - low > 0.04 else ".1%") if shares else ".3g"
    track = Track(low - room, high + room, mark, digits)
    lines = "".join(_line(bar, track) for bar in found)
    return (
        f'<div class="bars" role="group" aria-label="{escape(what)}">'
        f"{lines}{_scale(track, what)}</div>"
    )


def _line(bar: Bar, track: Track) -> str:
    found = bar.estimate
    marks = [
        f'<line class="whisker" x1="{track.place(found.low)}" x2="{track.place(found.high)}" '
        'y1="50%" y2="50%"/>',
        *(_stroke("seed", track.place(seed), "26%", "74%") for seed in _several(bar.seeds)),
        f'<circle class="dot" cx="{track.place(found.value)}" cy="50%" r="4.5"/>',
    ]
    if track.mark is not None:
        marks.insert(0, _stroke("rule", track.place(track.mark), "0", "100%"))
    return (
        f'<div class="bar {bar.colour}"><span class="name">{escape(bar.name)}</span>'
        f'<svg class="track" aria-hidden="true">{"".join(marks)}</svg>'
        f'<span class="end">{bar.end} <span class="bounds">{bar.bounds}</span></span></div>'
    )


def _several(seeds: Sequence[float]) -> Sequence[float]:
    return seeds if len(seeds) > 1 else ()


def _stroke(kind: str, across: str, top: str, bottom: str) -> str:
    return f'<line class="{kind}" x1="{across}" x2="{across}" y1="{top}" y2="{bottom}"/>'


def _percent(estimate: Estimate) -> str:
    return percent(estimate, bounds=True)


def _scale(track: Track, what: str) -> str:
    ticks = "".join(
        f'<text x="{track.place(tick)}" y="12" text-anchor="middle">{tick:{track.digits}}</text>'
        for tick in track.ticks()
    )
    return (
        '<div class="bar scale"><span class="name"></span>'
        f'<svg class="track" aria-hidden="true">{ticks}</svg>'
        f'<span class="end">{escape(what)}</span></div>'
    )


def legend(entries: Sequence[tuple[str, str]]) -> str:
    """Colours with their names."""
    items = "".join(f'<li class="{key}">{escape(name)}</li>' for key, name in entries)
    return f'<ul class="legend">{items}</ul>' if entries else ""
