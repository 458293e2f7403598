"""The plots of a study's page: which of its figures are drawn, and how."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retort.markdown import interval, percent, signed
from retort.plots import (
    COLOURS,
    Axis,
    Dot,
    Line,
    Panel,
    Point,
    dot_plot,
    line_plot,
    scatter_plot,
)
from retort.training.evaluate.bootstrap import Estimate
from retort.training.recipes.study import ENSEMBLE
from retort.training.study.claims import judge
from retort.training.study.figures import Scope, StudyFigures
from retort.training.study.records import Curve
from retort.training.study.results import THE_ENSEMBLE

Floats = NDArray[np.float64]

BINS = 10
MIN_PAIRS = 20  # with fewer in a bin no share is drawn
GRID = np.linspace(0.0, 1.0, 41)
SIZE = (520.0, 300.0)


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing with its title and a sentence on how to read it."""

    title: str
    caption: str
    svg: str


def schools(figures: StudyFigures) -> list[str]:
    """Whose methods the rows are, in the plan's order."""
    untaught = {*figures.plan.baselines.values()}
    return list(dict.fromkeys(r.school for r in figures.plan.rows if r.name not in untaught))


def colour(figures: StudyFigures, name: str) -> str:
    """The colour of the row's paper; grey for the baseline, ink for teachers."""
    if name in figures.plan.baselines.values():
        return "base"
    row = next((row for row in figures.plan.rows if row.name == name), None)
    if row is None:
        return "ink"
    return COLOURS[schools(figures).index(row.school) % len(COLOURS)]


def families(figures: StudyFigures, scope: Scope) -> list[tuple[str, str]]:
    """Each colour with the names of the papers that have it."""
    found: dict[str, dict[str, None]] = {}
    for row in figures.plan.rows:
        if row.name in scope.rows:
            key = colour(figures, row.name)
            name = "no teacher" if key == "base" else row.school
            found.setdefault(key, {})[name] = None
    return [(key, ", ".join(found[key])) for key in ("base", *COLOURS) if key in found]


def leaders(figures: StudyFigures, scope: Scope) -> list[str]:
    """The baseline and the best row of each paper: as many lines as one can tell apart."""
    usual = figures.plan.baseline
    found: dict[str, str] = {}
    for row in scope.ranked():
        if row == usual or scope.baselines.get(row) == usual:
            found.setdefault(colour(figures, row), row)
    return list(found.values())


def kept(figures: StudyFigures, scope: Scope, width: float = 640) -> str:
    """What each row kept of the ensemble, best first; its plain figure where there is none."""
    ensemble = scope.value(THE_ENSEMBLE).value if scope.has(THE_ENSEMBLE) else None
    dots = []
    for row in scope.ranked():
        seeds = tuple(scope.seeds.get(row, {}).values())
        found: Estimate | None = scope.value(row)
        end = interval(found)
        if ensemble is not None:
            found = scope.compared(row).retained
            seeds = tuple(value / ensemble for value in seeds)
            end = percent(found, bounds=True)
        if found is not None:
            ticks = seeds if len(seeds) > 1 else ()
            name, key = figures.title(row), colour(figures, row)
            dots.append(Dot(name, found.value, found.low, found.high, key, ticks, end))
    if not dots:
        return ""
    if ensemble is None:
        return dot_plot(dots, f"{scope.measure} on {scope.name}", Axis(scope.measure), width=width)
    axis = Axis("of the teachers' ensemble", "percent")
    return dot_plot(dots, f"Kept on {scope.name}", axis, mark=1.0, width=width)


def claims(figures: StudyFigures, scope: Scope) -> str:
    """The difference of every claim, with a line at zero; grey inside the noise."""
    dots = []
    for verdict in judge(figures, scope):
        found, row, other = verdict.difference, verdict.claim.row, verdict.claim.other
        name = f"{figures.title(row)} − {figures.title(other)}"
        key = colour(figures, row) if verdict.outside else "base"
        end = signed(found, bounds=True)
        dots.append(Dot(name, found.value, found.low, found.high, key, end=end))
    axis = Axis(f"difference, {scope.measure}")
    return dot_plot(dots, f"Claims on {scope.name}", axis, mark=0.0, width=760) if dots else ""


def plots(figures: StudyFigures, scope: Scope) -> Iterator[Plot]:
    """All for which there are figures."""
    best = leaders(figures, scope)
    yield from quality_and_speed(figures, scope, best)
    yield from learning(figures, best)
    yield from reliability(figures, best)
    yield from disagreement(figures, scope)


def quality_and_speed(
    figures: StudyFigures, scope: Scope, named: Sequence[str] = ()
) -> Iterator[Plot]:
    """Every row and teacher: pairs per second, or parameters while no speed was measured."""
    speeds = figures.study.pairs_per_second
    timed = any(row in speeds for row in scope.rows)
    places: dict[str, float] = speeds if timed else {**figures.study.parameters}
    first = {places[row]: row for row in reversed(scope.ranked()) if row in places}
    points = [
        Point(
            figures.title(name),
            places[name],
            (value := scope.value(name)).value,
            value.low,
            value.high,
            colour(figures, name),
            labelled=name in scope.teachers
            or first[places[name]] == name
            or name == figures.plan.baseline,
            hollow=name in scope.teachers,
            note=f"{figures.title(name)}: {interval(value)}"
            + (f", {speeds[name]:,.0f} pairs/s" if name in speeds else ""),
        )
        for name in (*scope.rows, *scope.teachers)
        if places.get(name, 0) > 0
    ]
    if not points:
        return
    length = figures.study.speeds.tokens
    what = f"pairs of {length} tokens per second" if timed else "parameters"
    yield Plot(
        f"Quality against {'speed' if timed else 'size'}",
        f"Up is better, {'right is faster' if timed else 'left is smaller'}. Rings are teachers; "
        "among students of one shape, the best and the baseline are named.",
        scatter_plot(
            points,
            f"{scope.measure} on {scope.name} against {what}",
            Axis(what, log=True),
            Axis(scope.measure),
            size=SIZE,
        ),
    )


def learning(figures: StudyFigures, rows: Sequence[str]) -> Iterator[Plot]:
    """One plot per stage: the training loss as a share of where it began."""
    by_stage: dict[str, list[Line]] = {}
    for row in rows:
        stages = next(r.stages for r in figures.plan.rows if r.name == row)
        for place, stage in enumerate(stages):
            curves = [
                course
                for run in figures.study.runs(row)
                if place < len(run.record.curves)
                and (course := _course(run.record.curves[place])) is not None
            ]
            if curves:
                points = zip(GRID.tolist(), np.mean(curves, axis=0).tolist(), strict=True)
                by_stage.setdefault(stage, []).append(_line(figures, row, tuple(points)))
    for stage, lines in by_stage.items():
        yield Plot(
            f"Learning curves, stage {stage}",
            "The loss on the training pairs, smoothed, relative to its first value: losses of "
            "different methods have different units, so compare their courses, not their levels.",
            _draw(lines, f"Training loss, stage {stage}", "of the stage's steps", "loss", low=0),
        )


def _course(curve: Curve) -> Floats | None:
    """The loss over its start on a grid of shares of the steps; None for fewer than two points."""
    if len(curve) < 2:
        return None
    steps, losses = np.asarray(curve, dtype=np.float64).T
    width = max(1, len(losses) // 20)
    # At the ends the window is cut short: padding would pull the curve towards the pad.
    weights = np.convolve(np.ones(len(losses)), np.ones(width), mode="same")
    smooth = np.convolve(losses, np.ones(width), mode="same") / weights
    if smooth[0] <= 0 or not np.isfinite(smooth).all():
        return None
    shares = (steps - steps[0]) / (steps[-1] - steps[0])
    course: Floats = np.interp(GRID, shares, smooth / smooth[0])
    return course


def reliability(figures: StudyFigures, rows: Sequence[str]) -> Iterator[Plot]:
    """Score against share of relevant pairs, on the first set of each dataset."""
    lines = [
        _line(figures, name, points, marked=True)
        for name in (*rows, THE_ENSEMBLE)
        if (points := _reliable(figures, name))
    ]
    if lines:
        sets = ", ".join(d.sets[0].name for d in figures.study.datasets if d.sets)
        yield Plot(
            "Calibration",
            "Are 80% of the pairs with a score of 80% relevant? On the dashed line, yes; below it "
            f"the model is overconfident. All seeds, on {sets}.",
            _draw(lines, "Relevant pairs against score", "score", "relevant", low=0, square=True),
        )


def _reliable(figures: StudyFigures, name: str) -> tuple[tuple[float, float], ...]:
    """(mean score, share relevant) by bins of equal width, over datasets and seeds."""
    scores, labels = [], []
    for dataset in figures.study.datasets:
        if not dataset.sets:
            continue
        items = dataset.sets[0]
        columns = [run.scores[items.name] for run in dataset.runs.get(name, ())]
        if name == THE_ENSEMBLE and ENSEMBLE in dataset.teachers:
            columns = [dataset.teachers[ENSEMBLE][items.name]]
        scores += columns
        labels += [items.labels] * len(columns)
    if not scores:
        return ()
    given, truth = np.concatenate(scores), np.concatenate(labels)
    place = np.minimum((given * BINS).astype(np.int64), BINS - 1)
    return tuple(
        (float(given[place == bin_].mean()), float(truth[place == bin_].mean()))
        for bin_ in range(BINS)
        if (place == bin_).sum() >= MIN_PAIRS
    )


def spread_deciles(figures: StudyFigures, row: str) -> list[float] | None:
    """Share of errors in each tenth of the pairs by spread, the mean over sets and seeds."""
    found = [
        [share for _, share, _ in deciles]
        for run in figures.study.runs(row)
        for deciles in run.record.spread_error.values()
    ]
    long = [shares for shares in found if len(shares) == 10]
    return np.mean(long, axis=0).tolist() if long else None


def disagreement(figures: StudyFigures, scope: Scope) -> Iterator[Plot]:
    """Share of errors against spread, of the best rows with several heads."""
    best: dict[str, tuple[str, list[float]]] = {}
    for row in scope.ranked():
        shares = spread_deciles(figures, row)
        if shares is not None:
            best.setdefault(colour(figures, row), (row, shares))
    lines = []
    for row, shares in best.values():
        points = tuple(((place + 0.5) / len(shares), share) for place, share in enumerate(shares))
        lines.append(_line(figures, row, points, marked=True))
    if lines:
        yield Plot(
            "Disagreement of the heads against error",
            "The share of wrong pairs in each tenth of the pairs, from those on which the heads "
            "agree to those on which they disagree; the mean over sets and seeds.",
            _draw(lines, "Errors against spread", "of the pairs, by spread", "wrong", low=0),
        )


def _line(
    figures: StudyFigures,
    name: str,
    points: tuple[tuple[float, float], ...],
    *,
    marked: bool = False,
) -> Line:
    key = colour(figures, name)
    return Line(figures.title(name), points, key, dashed=key in ("base", "ink"), marked=marked)


def _draw(
    lines: Sequence[Line], title: str, x: str, y: str, *, low: float, square: bool = False
) -> str:
    across = Axis(x, "percent", low=0, high=1)
    down = Axis(y, "percent", low=low, high=1 if square else None)
    panel = Panel("", across, down, tuple(lines), diagonal=square)
    return line_plot([panel], title, size=SIZE)
