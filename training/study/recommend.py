"""The recommendation: of a study's rows, the one to take for a time or for a quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from retort.training.study.estimate import in_words
from retort.training.study.records import (
    SPEEDS_FILE,
    SpeedsRecord,
    find_record,
    findings,
    read_plan,
)
from retort.wording import counted


class RecommendError(ValueError):
    """The study has not measured enough to choose by."""


@dataclass(frozen=True, slots=True)
class Option:
    """A row as a choice: its quality, and how long it takes for a query's pairs.

    `quality` is the mean over sets of the headline measure, `retained` its share of the teachers'
    ensemble. `training_seconds` is one run on the machine of the study, labels not counted.
    """

    row: str
    method: str
    layers: int
    parameters: int
    students: int
    quality: float
    retained: float | None
    latency_ms: float
    training_seconds: float
    seeds: int
    teachers: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The row to take, what was asked, and the rows from fast to good.

    Where no row is as asked, `best` is the nearest, and `lacking` says what it lacks.
    """

    best: Option
    pairs: int
    datasets: tuple[str, ...]
    asked: str
    frontier: tuple[Option, ...]
    lacking: str | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """All rows that have runs on all the datasets asked about."""

    rows: tuple[Option, ...]
    pairs: int
    datasets: tuple[str, ...]


def read_options(folder: Path, pairs: int, dataset: str | None = None) -> Options:
    """Raises `StudyFileError` where there is no study, `RecommendError` without speeds or runs."""
    study = read_plan(folder)
    names = [item.name for item in study.datasets]
    if dataset is not None and dataset not in names:
        raise RecommendError(f"no dataset {dataset}: there are {', '.join(names)}")
    wanted = tuple(names if dataset is None else [dataset])
    measured = find_record(SpeedsRecord, folder / SPEEDS_FILE)
    if measured is None or not measured.rows:
        raise RecommendError(f"{folder}: no speeds yet; run `retort study` without --no-speeds")
    found = [finding for finding in findings(study) if finding.dataset in wanted]
    rows = []
    for row in study.rows:
        own = [finding for finding in found if finding.row == row.name]
        if len(own) < len(wanted) or row.name not in measured.rows:
            continue
        shares = [f.retained for f in own if f.retained is not None]
        speed = measured.rows[row.name]
        teachers = study.teachers(row, [study.dataset(name) for name in wanted[:1]])
        rows.append(
            Option(
                row.name, row.method, own[0].layers, own[0].parameters, speed.students,
                fmean(f.mean for f in own),
                fmean(shares) if len(shares) == len(own) else None,
                1000 * pairs / speed.pairs_per_second,
                fmean(f.seconds for f in own), min(f.seeds for f in own), len(teachers),
            )
        )  # fmt: skip
    if not rows:
        raise RecommendError(f"{folder}: no row has finished on {', '.join(wanted)} yet")
    return Options(tuple(rows), pairs, wanted)


def recommend(
    options: Options, latency_ms: float | None = None, quality: float | None = None
) -> Choice:
    """The best row within `latency_ms`, or the fastest that keeps `quality`; both may be given.

    If there is none, the nearest. Raises `RecommendError` where nothing is asked, or quality of a
    study without teachers.
    """
    if latency_ms is None and quality is None:
        raise RecommendError("give --latency-ms, --quality, or both")
    fits = list(options.rows)
    asked = []
    lacking = None
    if quality is not None:
        asked.append(f"{quality:.1%} of the teachers' quality")
        known = [option for option in fits if option.retained is not None]
        if not known:
            raise RecommendError("the study has no teachers to keep a share of: use --latency-ms")
        fits = [option for option in known if (option.retained or 0.0) >= quality]
        if not fits:
            near = max(known, key=lambda option: option.retained or 0.0)
            fits = [near]
            lacking = f"no student keeps {quality:.1%}: {near.row} is the nearest"
    if latency_ms is not None:
        asked.append(f"{latency_ms:g} ms for {options.pairs} pairs")
        quick = [option for option in fits if option.latency_ms <= latency_ms]
        if not quick:
            near = _fastest(fits)
            good = " that good" if quality is not None else ""
            lacking = lacking or (
                f"no student{good} scores {options.pairs} pairs within {latency_ms:g} ms: "
                f"{near.row} is the nearest"
            )
            quick = [near]
        fits = quick
    if latency_ms is not None:
        best = max(fits, key=lambda option: (option.quality, -option.latency_ms))
    else:
        best = _fastest(fits)
    wanted = " and ".join(asked)
    return Choice(best, options.pairs, options.datasets, wanted, frontier(options), lacking)


def _fastest(options: Sequence[Option]) -> Option:
    """The fastest; rows of one shape are equally fast, and of those the best."""
    fastest = min(option.latency_ms for option in options)
    as_fast = [option for option in options if option.latency_ms <= fastest * 1.001]
    return max(as_fast, key=lambda option: option.quality)


def frontier(options: Options) -> tuple[Option, ...]:
    """The rows that no other row beats in both speed and quality, fastest first."""
    ordered: Sequence[Option] = sorted(options.rows, key=lambda o: (o.latency_ms, -o.quality))
    kept: list[Option] = []
    for option in ordered:
        if not kept or option.quality > kept[-1].quality:
            kept.append(option)
    return tuple(kept)


def render(choice: Choice) -> str:
    """The choice in words, then the rows from fast to good."""
    best = choice.best
    several = f", {best.students} students that are averaged" if best.students > 1 else ""
    lines = [] if choice.lacking is None else [f"Not as asked: {choice.lacking}."]
    lines += [
        f"For {choice.asked}: {best.row} (method {best.method}, {best.layers} layers{several}).",
        f"  quality {best.quality:.4f}, the mean over the sets of {', '.join(choice.datasets)}"
        + (f"; {best.retained:.1%} of the teachers" if best.retained is not None else ""),
        f"  {best.latency_ms:.1f} ms for {choice.pairs} pairs of 128 tokens, measured with the "
        "study, on its machine",
        f"  it costs {in_words(best.training_seconds)} of training, the labels of "
        f"{counted(best.teachers, 'teacher')}, and {best.parameters / 1e6:.1f}M parameters",
    ]
    if best.seeds < 3:
        lines.append(f"  measured with {counted(best.seeds, 'seed')}: indicative only")
    if choice.lacking is not None:
        lines.append(
            "  to come nearer: train longer, on more candidates per question and more questions, "
            "take more layers, or ask for less"
        )
    return "\n".join([*lines, "", from_fast_to_good(choice.frontier)])


def from_fast_to_good(options: Sequence[Option]) -> str:
    """The rows worth having, one per line."""
    lines = [
        "From fast to good:",
        f"  {'row':24} {'layers':>9} {'time':>12} quality {'kept':>7}",
    ]
    for option in options:
        kept = "" if option.retained is None else f"{option.retained:7.1%}"
        lines.append(
            f"  {option.row:24} {option.layers:2} layers {option.latency_ms:9.1f} ms "
            f"{option.quality:.4f} {kept}"
        )
    return "\n".join(lines)
