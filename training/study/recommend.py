"""The recommendation: of a study's rows, the one to take for a time or for a quality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from retort.training.recipes.study import StudyRecipe
from retort.training.study.estimate import in_words
from retort.training.study.files import PLAN_FILE
from retort.training.study.findings import find, speeds


class RecommendError(ValueError):
    """The study does not say enough, or nothing in it is good or fast enough."""


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
    """What to take, what was asked, and what else is on the way from fast to good."""

    best: Option
    pairs: int
    datasets: tuple[str, ...]
    asked: str
    frontier: tuple[Option, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Options:
    """All rows that have runs on all the datasets asked about."""

    rows: tuple[Option, ...]
    pairs: int
    datasets: tuple[str, ...]


def read_options(folder: Path, pairs: int, dataset: str | None = None) -> Options:
    """Raises `RecommendError` where the study has no plan, no speeds or no runs."""
    path = folder / PLAN_FILE
    if not path.is_file():
        raise RecommendError(f"{path}: not there; give the folder of a study that has begun")
    study = StudyRecipe.model_validate_json(path.read_text(encoding="utf-8"))
    names = [item.name for item in study.datasets]
    if dataset is not None and dataset not in names:
        raise RecommendError(f"no dataset {dataset}: there are {', '.join(names)}")
    wanted = tuple(names if dataset is None else [dataset])
    measured = speeds(study).get("rows", {})
    if not measured:
        raise RecommendError(f"{folder}: no speeds yet; run `retort study` without --no-speeds")
    found = [finding for finding in find(study) if finding.dataset in wanted]
    rows = []
    for row in study.rows:
        own = [finding for finding in found if finding.row == row.name]
        if len(own) < len(wanted) or row.name not in measured:
            continue
        shares = [f.retained for f in own if f.retained is not None]
        speed = measured[row.name]
        teachers = study.teachers(row, [study.dataset(name) for name in wanted[:1]])
        rows.append(
            Option(
                row.name, row.method, own[0].layers, own[0].parameters, speed["students"],
                fmean(f.mean for f in own),
                fmean(shares) if len(shares) == len(own) else None,
                1000 * pairs / speed["pairs_per_second"],
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

    Raises `RecommendError` if there is none, with the nearest.
    """
    if latency_ms is None and quality is None:
        raise RecommendError("say what is needed: --latency-ms, --quality, or both")
    fits = list(options.rows)
    asked = []
    if quality is not None:
        asked.append(f"{quality:.1%} of the teachers' quality")
        known = [option for option in fits if option.retained is not None]
        if not known:
            raise RecommendError("the study has no teachers to keep a share of: use --latency-ms")
        fits = [option for option in known if (option.retained or 0.0) >= quality]
        if not fits:
            near = max(known, key=lambda option: option.retained or 0.0)
            raise RecommendError(
                f"nothing keeps {quality:.1%}: the nearest is {near.row} with {near.retained:.1%}\n"
                + from_fast_to_good(frontier(options))
            )
    if latency_ms is not None:
        asked.append(f"{latency_ms:g} ms for {options.pairs} pairs")
        quick = [option for option in fits if option.latency_ms <= latency_ms]
        if not quick:
            near = min(fits, key=lambda option: option.latency_ms)
            raise RecommendError(
                f"nothing{' that good' if quality is not None else ''} takes {latency_ms:g} ms for "
                f"{options.pairs} pairs: the nearest is {near.row} with {near.latency_ms:.0f} ms\n"
                + from_fast_to_good(frontier(options))
            )
        fits = quick
    if latency_ms is not None:
        best = max(fits, key=lambda option: (option.quality, -option.latency_ms))
    else:
        # Rows of one shape are equally fast: of those the best.
        fastest = min(option.latency_ms for option in fits)
        near_fastest = [option for option in fits if option.latency_ms <= fastest * 1.001]
        best = max(near_fastest, key=lambda option: option.quality)
    return Choice(best, options.pairs, options.datasets, " and ".join(asked), frontier(options))


def frontier(options: Options) -> tuple[Option, ...]:
    """The rows than which none is both faster and better, fastest first."""
    ordered: Sequence[Option] = sorted(options.rows, key=lambda o: (o.latency_ms, -o.quality))
    kept: list[Option] = []
    for option in ordered:
        if not kept or option.quality > kept[-1].quality:
            kept.append(option)
    return tuple(kept)


def render(choice: Choice) -> str:
    """The choice in words, then the way from fast to good."""
    best = choice.best
    several = f", {best.students} students that are averaged" if best.students > 1 else ""
    lines = [
        f"For {choice.asked}: {best.row} (method {best.method}, {best.layers} layers{several}).",
        f"  quality {best.quality:.4f}, the mean over the sets of {', '.join(choice.datasets)}"
        + (f"; {best.retained:.1%} of the teachers" if best.retained is not None else ""),
        f"  {best.latency_ms:.1f} ms for {choice.pairs} pairs of 128 tokens, measured with the "
        "study, on its machine",
        f"  it costs {in_words(best.training_seconds)} of training, the labels of {best.teachers} "
        f"teacher{'' if best.teachers == 1 else 's'}, and {best.parameters / 1e6:.1f}M parameters",
    ]
    if best.seeds < 3:
        lines.append(f"  measured with {best.seeds} seed{'s' * (best.seeds > 1)}: a hint, no proof")
    return "\n".join([*lines, "", from_fast_to_good(choice.frontier)])


def from_fast_to_good(options: Sequence[Option]) -> str:
    """A table of the rows worth having."""
    lines = ["From fast to good:"]
    for option in options:
        kept = "" if option.retained is None else f"{option.retained:7.1%}"
        lines.append(
            f"  {option.row:24} {option.layers:2} layers {option.latency_ms:9.1f} ms "
            f"{option.quality:.4f} {kept}"
        )
    return "\n".join(lines)
