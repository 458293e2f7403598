"""Words: what a study found, in sentences, with `code` in backticks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from retort.training.evaluate.report import interval, percent, signed
from retort.training.study.claims import judge
from retort.training.study.figures import THE_BEST, THE_ENSEMBLE, Scope, StudyFigures

# Fewer runs than this of a row say little about the noise of seeds.
ENOUGH_SEEDS = 3


def in_short(figures: StudyFigures) -> Iterator[str]:
    """What one would say of the study on the telephone."""
    scope = figures.top
    if scope is None:
        yield "No run of this study has finished yet."
        return
    best, first = scope.ranked()[0], lead(figures, scope)
    how = "chosen by validation" if first in figures.chosen else "the highest figure"
    kept = _kept(figures, scope, first)
    yield f"`{figures.title(first)}`, {how} among {len(scope.rows)} rows, {kept}."
    yield f"It has {interval(scope.value(first))} ({scope.measure}, {scope.name})."
    if best != first:
        yield (
            f"`{figures.title(best)}` has the highest figure, "
            f"{signed(scope.difference(best, first), bounds=True)} from "
            f"`{figures.title(first)}`: {_noise(scope, best, first)}."
        )
    others = [row for row in scope.ranked() if row != first]
    level = [row for row in others if not scope.difference(row, first).excludes_zero]
    if level:
        yield f"Inside the noise of it: {_listed(figures, level)}."
    for side, sign in (("Above", 1), ("Below", -1)):
        rows = [
            row
            for row in others
            if (found := scope.difference(row, first)).excludes_zero and found.value * sign > 0
        ]
        if rows:
            yield f"{side} it, outside the noise: {_listed(figures, rows)}."
    if scope.has(THE_ENSEMBLE) and scope.has(THE_BEST):
        found = scope.difference(THE_ENSEMBLE, THE_BEST)
        text = (
            f"The teachers' ensemble has {scope.value(THE_ENSEMBLE).value:.4f}, "
            f"{signed(found, bounds=True)} from the best teacher, as the recipe names it: "
            f"{_noise(scope, THE_ENSEMBLE, THE_BEST)}."
        )
        if found.high < 0:
            text += " So the shares of the ensemble flatter: read those of the best teacher."
        yield text
    yield from _doubtful(figures, scope)


def lead(figures: StudyFigures, scope: Scope) -> str:
    """The row that validation chose, or while that is unknown the one with the highest figure."""
    known = [row for row in scope.rows if row in figures.chosen]
    return max(known, key=lambda row: figures.chosen[row]) if known else scope.ranked()[0]


def _kept(figures: StudyFigures, scope: Scope, row: str) -> str:
    found = scope.compared(row)
    texts = []
    if found.retained is not None:
        texts.append(f"keeps {percent(found.retained, bounds=True)} of the teachers' ensemble")
    baseline = figures.title(scope.baselines.get(row, ""))
    if found.gap_closed is not None:
        closed = percent(found.gap_closed, bounds=True)
        texts.append(f"closes {closed} of the gap from `{baseline}`")
    elif found.gain is not None:
        texts.append(f"lies {signed(found.gain, bounds=True)} from `{baseline}`")
    return " and ".join(texts) or f"has {interval(scope.value(row))}"


def _noise(scope: Scope, row: str, other: str) -> str:
    return f"{'out' if scope.difference(row, other).excludes_zero else 'in'}side the noise"


def _doubtful(figures: StudyFigures, scope: Scope) -> Iterator[str]:
    few = [row for row in scope.rows if len(scope.seeds.get(row, ())) < ENOUGH_SEEDS]
    if few:
        yield (
            f"Of fewer than {ENOUGH_SEEDS} seeds, so with intervals that are too narrow: "
            f"{_listed(figures, few)}."
        )


def claims(figures: StudyFigures, scope: Scope) -> list[str]:
    """A sentence a claim."""
    return [
        f"{verdict.claim.paper or 'All'}: {verdict.claim.words}? {verdict.sentence(figures.title)}."
        for verdict in judge(figures, scope)
    ]


def progress(figures: StudyFigures) -> list[str]:
    """How far the study is, and what is missing; empty for a study that is whole and sound."""
    study = figures.study
    lines = []
    if study.missing:
        lines.append(f"{study.done} of {study.wanted} runs have finished. Missing:")
        lines += [f"* {text}" for text in study.missing]
    if figures.doubts:
        lines.append("Figures that do not fit:")
        lines += [f"* {text}" for text in figures.doubts]
    return lines


def made(figures: StudyFigures) -> str:
    """When, by which code, and what it took."""
    runs = [run for row in figures.plan.rows for run in figures.runs(row.name)]
    if not runs:
        return ""
    days = sorted(run.record.finished[:10] for run in runs if run.record.finished)
    codes = sorted({run.record.code for run in runs if run.record.code})
    hours = sum(sum(run.record.seconds.values()) for run in runs) / 3600
    text = f"{len(runs)} runs"
    if days:
        text += f", {days[0]}" + (f" to {days[-1]}" if days[-1] != days[0] else "")
    text += f", {hours:.1f} hours of training and measuring"
    return text + (f", code {', '.join(codes)}." if codes else ".")


def spread(figures: StudyFigures, rows: Sequence[str]) -> Iterator[str]:
    """Whether the heads' disagreement tells errors, a sentence a row."""
    for row in rows:
        deciles = spread_deciles(figures, row)
        if deciles is not None:
            first, last = deciles[0], deciles[-1]
            yield (
                f"`{figures.title(row)}` is wrong on {last:.1%} of the tenth of pairs on which its "
                f"heads disagree most, and on {first:.1%} of the tenth on which they agree most."
            )


def spread_deciles(figures: StudyFigures, row: str) -> list[float] | None:
    """Share of errors in each tenth of the pairs by spread, the mean over sets and seeds."""
    found = [
        [share for _, share, _ in deciles]
        for run in figures.runs(row)
        for deciles in run.record.spread_error.values()
    ]
    long = [shares for shares in found if len(shares) == 10]
    return np.mean(long, axis=0).tolist() if long else None


def how_to_read(figures: Sequence[StudyFigures]) -> list[str]:
    """What the figures mean."""
    resamples, seed = figures[0].resamples, figures[0].seed
    return [
        "Brackets are 95% intervals: percentiles of a paired bootstrap over queries and seeds, "
        f"{resamples:,} resamples, seed {seed}. In each resample the queries are drawn anew, the "
        "same for every system, and of each row's n seeds n - 1, for each row by itself: so an "
        "interval says what other queries and other seeds might have given. Of sets with one "
        "question for all texts the pairs are drawn.",
        "A difference is outside the noise if its interval excludes zero. Of twenty differences "
        "that are nothing, one does so by chance; a claim that holds also among all claims has an "
        "interval that excludes zero when it is widened for their number (Bonferroni).",
        "Of the ensemble, of the best teacher: a row's figure over that of the mean of the "
        "teachers' calibrated probabilities, and over that of the teacher that the recipe names as "
        "best. "
        "Gap closed: how much of the way from the same student without teachers to the ensemble; "
        "empty where that way is no longer than its interval, or where no such student was "
        "measured. AUC is 0.5 for a model that knows nothing, so that a share of AUC flatters: gap "
        "closed does not.",
        "A mean over sets or datasets gives each the same weight. The row that is named first was "
        "chosen on other sets than those on which it is measured; the row with the highest figure "
        "was not, and the highest of many is partly luck.",
        "Calibration error: the mean distance between score and share of relevant pairs (15 bins "
        "of equal width), the mean over sets and seeds.",
    ]


def _listed(figures: StudyFigures, rows: Sequence[str]) -> str:
    return ", ".join(f"`{figures.title(row)}`" for row in rows)
