"""How commands read pairs: the options that say how, and what is said of what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retort.training.commands.common import log
from retort.training.recipes.contradictions import Contradictions

if TYPE_CHECKING:
    from retort.training.data.evaluation_set import EvaluationSet
    from retort.training.data.pairs import Pair
    from retort.training.data.readers.own import SourcePairs
    from retort.training.data.readers.rows import BadRows
    from retort.training.recipes.corpus import FileLayout

ColumnsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        metavar="FIELD=NAME,…",
        help="Columns of a file by field (query, passage, label, query_id, passage_id), where "
        "they have other names; other columns are left aside.",
    ),
]
LargestOption = Annotated[
    float | None,
    typer.Option(
        "--largest", help="The largest label of a file's scale (default: the largest in the file)."
    ),
]
ContradictionsOption = Annotated[
    Contradictions,
    typer.Option("--contradictions", help="What a pair with several labels in a file gets."),
]
RelevantOption = Annotated[
    float | None,
    typer.Option(
        "--relevant",
        help="A passage is relevant from this label on, on the file's own scale (default: half of "
        "the largest).",
    ),
]


def layout_of(columns: Sequence[str] | None, largest: float | None) -> FileLayout:
    """What `--columns` and `--largest` say. Raises `ValueError` for a field that there is not."""
    from retort.fields import columns_given
    from retort.training.recipes.corpus import FileLayout

    named = columns_given(columns or ())
    if largest is not None and largest <= 0:
        raise ValueError(f"--largest {largest:g}: give the largest label, above 0")
    return FileLayout.model_validate({"columns": named, "largest": largest})


def read_source(
    source: str, data: Path | None, bad: BadRows, layout: FileLayout, rule: Contradictions
) -> SourcePairs:
    """The pairs of a source with one label each, saying what was done to labels."""
    from retort.training.data.catalog import read_any
    from retort.training.data.contradictions import settle

    found = read_any(source, data, bad, layout)
    if found.graded:
        log(f"{source}: {found.graded}")
    pairs, several = settle(found.pairs, rule, source)
    if several:
        log(f"{source}: {several} pairs have contradictory labels: settled by {rule}")
    return replace(found, pairs=pairs)


def read_labelled(
    paths: Sequence[Path] | None, layout: FileLayout, rule: Contradictions
) -> list[tuple[Pair, ...]]:
    """The pairs of each file. Raises `ValueError` where one has no label."""
    return [read_set(path, layout, rule).pairs for path in paths or ()]


def read_set(
    path: Path, layout: FileLayout, rule: Contradictions, relevant: float | None = None
) -> EvaluationSet:
    """A file of labelled pairs as an evaluation set. Raises `ValueError`."""
    from retort.training.data.evaluation_set import set_of_file
    from retort.training.data.readers.rows import BadRows, DataError, no_file

    if not path.is_file():
        raise DataError(f"{path}: {no_file(path)}")
    return set_of_file(path, read_source(str(path), None, BadRows(), layout, rule), relevant)


def read_measured(
    place: Path,
    names: Sequence[str] | None,
    layout: FileLayout,
    rule: Contradictions,
    relevant: float | None,
) -> list[EvaluationSet]:
    """The sets of a folder, those of `names` if there are any, or a file's pairs as one set.

    In a folder, a pair that has several labels is measured under each of them, which is said.
    Raises `EvaluationSetError` for labels that are all alike, before anything is scored.
    """
    from retort.training.data.contradictions import contradictions
    from retort.training.data.evaluation_set import read_sets
    from retort.training.data.readers.own import form_of

    if place.is_file() or form_of(place):
        one = read_set(place, layout, rule, relevant)
        one.check_labels()
        return [one]
    if layout.columns or layout.largest:
        raise ValueError(f"{place}: --columns and --largest are for a file, and this is a folder")
    sets = read_sets(place, names or ())
    for items in sets:
        if several := len(contradictions(items.pairs)):
            log(f"{items.name}: {several} pairs have contradictory labels, each measured by itself")
    if relevant is not None:
        sets = [replace(items, relevant=relevant / items.largest) for items in sets]
    for items in sets:
        items.check_labels()
    return sets
