"""Plots: which of a study's figures are drawn, and how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retort.training.evaluate.report import interval
from retort.training.recipes.study import ENSEMBLE
from retort.training.study.chart import Dot, Series, dot_chart, line_chart
from retort.training.study.figures import THE_ENSEMBLE, Scope, StudyFigures
from retort.training.study.reading import Curve
from retort.training.study.sizes import Sizes
from retort.training.study.words import spread, spread_deciles

Floats = NDArray[np.float64]

COLOURS = 6  # of papers; the baseline is grey, teachers have the ink's colour
BINS = 10
MIN_PAIRS = 20  # of fewer in a bin no share is drawn
GRID = np.linspace(0.0, 1.0, 41)


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing with its title, a sentence on how to read it, and its legend (colour, name)."""

    title: str
    caption: str
    svg: str
    legend: tuple[tuple[str, str], ...] = ()


def papers(figures: StudyFigures) -> list[str]:
    """Whose methods the rows are, in the plan's order."""
    untaught = {*figures.plan.baselines.values()}
    return list(
        dict.fromkeys(r.paper or r.method for r in figures.plan.rows if r.name not in untaught)
    )


def colour(figures: StudyFigures, name: str) -> str:
    """A class: of the row's paper, of the baseline, or of the teachers."""
    if name in figures.plan.baselines.values():
        return "base"
    row = next((row for row in figures.plan.rows if row.name == name), None)
    if row is None:
        return "teacher"
    return f"c{papers(figures).index(row.paper or row.method) % COLOURS}"


def leaders(figures: StudyFigures, scope: Scope) -> list[str]:
    """The baseline and the best row of each paper: as many lines as an eye can hold apart."""
    usual = figures.plan.baseline
    found: dict[str, str] = {}
    for row in scope.ranked():
        if row == usual or scope.baselines.get(row) == usual:
            found.setdefault(colour(figures, row), row)
    return list(found.values())


def plots(figures: StudyFigures, scope: Scope, sizes: Sizes) -> Iterator[Plot]:
    """All that there are figures for."""
    best = leaders(figures, scope)
    for plot in (
        quality_and_speed(figures, scope, sizes, best),
        *learning(figures, best),
        reliability(figures, best),
        disagreement(figures, scope),
    ):
        if plot is not None:
            yield plot


def quality_and_speed(
    figures: StudyFigures, scope: Scope, sizes: Sizes, named: Sequence[str]
) -> Plot | None:
    """Every row and teacher: pairs a second, or parameters while no speed was measured."""
    timed = any(row in sizes.pairs_per_second for row in scope.rows)
    places: Mapping[str, float] = sizes.pairs_per_second if timed else sizes.parameters_of
    first = {places[row]: row for row in reversed(scope.ranked()) if row in places}
    dots = [
        Dot(
            figures.title(name),
            colour(figures, name),
            places[name],
            (value := scope.value(name)).value,
            value.low,
            value.high,
            f"{figures.title(name)}: {interval(value)}, {sizes.speed(name)} pairs/s".strip(),
            labelled=name in scope.teachers
            or first[places[name]] == name
            or name == figures.plan.baseline,
            hollow=name in scope.teachers,
        )
        for name in (*scope.rows, *scope.teachers)
        if places.get(name, 0) > 0
    ]
    if not dots:
        return None
    what = f"pairs of {sizes.tokens} tokens a second" if timed else "parameters"
    return Plot(
        f"Quality against {'speed' if timed else 'size'}",
        f"Up is better, {'right is faster' if timed else 'left is smaller'}. Rings are teachers; "
        "of students of one shape the best and the baseline are named.",
        dot_chart(
            dots,
            told=f"{scope.measure} on {scope.name} against {what}",
            x_label=what,
            y_label=scope.measure,
        ),
    )


def learning(figures: StudyFigures, rows: Sequence[str]) -> Iterator[Plot]:
    """A plot a stage: the training loss as a share of where it began."""
    by_stage: dict[str, list[Series]] = {}
    for row in rows:
        stages = next(r.stages for r in figures.plan.rows if r.name == row)
        for place, stage in enumerate(stages):
            curves = [
                course
                for run in figures.runs(row)
                if place < len(run.record.curves)
                and (course := _course(run.record.curves[place])) is not None
            ]
            if curves:
                points = zip(GRID.tolist(), np.mean(curves, axis=0).tolist(), strict=True)
                series = Series(figures.title(row), colour(figures, row), tuple(points))
                by_stage.setdefault(stage, []).append(series)
    for stage, lines in by_stage.items():
        yield Plot(
            f"Learning curves, stage {stage}",
            "The loss on the training pairs, smoothed, over its first value: losses of different "
            "methods have different units, so compare their courses and not their levels.",
            line_chart(
                lines,
                told=f"Training loss of each method over the stage {stage}",
                x_label="of the stage's steps",
                y_label="loss, of its start",
            ),
            tuple((line.colour, line.name) for line in lines),
        )


def _course(curve: Curve) -> Floats | None:
    """The loss over its start on a grid of shares of the steps; None of fewer than two points."""
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


def reliability(figures: StudyFigures, rows: Sequence[str]) -> Plot | None:
    """Score against share of relevant pairs, on the first set of each dataset."""
    lines = []
    for name in (*rows, THE_ENSEMBLE):
        points = _reliable(figures, name)
        if points:
            lines.append(Series(figures.title(name), colour(figures, name), points, marked=True))
    if not lines:
        return None
    sets = ", ".join(dataset.sets[0].name for dataset in figures.study.datasets if dataset.sets)
    return Plot(
        "Calibration",
        f"Of the pairs with a score of 80%, are 80% relevant? On the line, yes; below it the model "
        f"is too sure. All seeds, on {sets}.",
        line_chart(
            lines,
            told="Share of relevant pairs against score",
            x_label="score",
            y_label="relevant",
            square=True,
        ),
        tuple((line.colour, line.name) for line in lines),
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


def disagreement(figures: StudyFigures, scope: Scope) -> Plot | None:
    """Share of errors against spread, of the best rows with several heads."""
    rows: dict[str, str] = {}
    for row in scope.ranked():
        if spread_deciles(figures, row) is not None:
            rows.setdefault(colour(figures, row), row)
    if not rows:
        return None
    lines = []
    for row in rows.values():
        shares = spread_deciles(figures, row) or []
        points = tuple(((place + 0.5) / len(shares), share) for place, share in enumerate(shares))
        lines.append(Series(figures.title(row), colour(figures, row), points, marked=True))
    return Plot(
        "Disagreement of the heads against error",
        " ".join(spread(figures, list(rows.values())[:1])).replace("`", "")
        + " Tenths of the pairs by spread, the mean over sets and seeds.",
        line_chart(
            lines,
            told="Share of wrong pairs against the spread of the heads",
            x_label="of the pairs, by spread of the heads",
            y_label="wrong",
        ),
        tuple((line.colour, line.name) for line in lines),
    )
