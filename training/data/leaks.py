"""The leak check: nothing that is measured on may be trained on, under any of its names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from retort.training.data.catalog import QUESTION_LISTS, is_sets, parse_source
from retort.training.data.pairs import INSTRUCTIONS, Pair, normalise
from retort.training.data.readers.own import is_own


class LeakError(ValueError):
    """A recipe trains on what is held out for measuring."""


def check_sources(train: Iterable[str], held_out: Iterable[str], lists: Iterable[str] = ()) -> None:
    """Refuse a plan by names alone: held-out splits, and splits that share their text.

    Raises `LeakError` naming every offender at once.
    """
    families: dict[str, list[str]] = {}
    measured: dict[str, str] = {}
    for source in held_out:
        measured[_one_name(source)] = source
        if is_own(source) or is_sets(source):
            continue
        _, split = parse_source(source)
        if split.family:
            families.setdefault(split.family, []).append(source)
    faults = []
    for source in train:
        name = _one_name(source)
        if found := measured.get(name) or measured.get(name.rpartition("/")[0]):
            faults.append(
                f"{source} is both trained on and measured on"
                + (f", as {found}" if found != source else "")
            )
            continue
        if is_own(source):
            continue
        _, split = parse_source(source)
        if split.held_out:
            faults.append(f"{source} is a test split: it is for measuring only")
            continue
        others = [s for s in families.get(split.family or "", ()) if not apart(source, s)]
        if others:
            faults.append(f"{source} holds the same text as {others[0]}")
    for name in lists:
        entry = QUESTION_LISTS.get(name)
        if entry and entry.family in families:
            faults.append(
                f"the questions {name} are those of {families[str(entry.family)][0]}, measured on"
            )
    if faults:
        raise LeakError("the plan leaks: " + "; ".join(faults) + ". Leave these sources out.")


def _one_name(source: str) -> str:
    """A source by one name, however the path of an own file is written."""
    if (is_own(source) and not source.startswith("hub:")) or is_sets(source):
        return str(Path(source).resolve())
    return source


def apart(source: str, other: str) -> bool:
    """Whether both are parts of one data set that was cut so that no two share text."""
    (dataset, split), (other_dataset, other_split) = parse_source(source), parse_source(other)
    return dataset is other_dataset and split.part and other_split.part


class HeldOut:
    """Recognises held-out text in any spelling of case, spacing and punctuation.

    Without `passages`, only questions are held out.
    """

    def __init__(self, pairs: Iterable[Pair], *, passages: bool = True) -> None:
        self.queries: set[str] = set()
        self.passages: set[str] = set()
        for pair in pairs:
            self.queries.add(normalise(pair.query))
            if passages:
                self.passages.add(normalise(pair.passage))
        self.queries -= INSTRUCTIONS

    def has_query(self, query: str) -> bool:
        """Whether this question is measured on."""
        return normalise(query) in self.queries

    def has_passage(self, passage: str) -> bool:
        """Whether this passage is measured on."""
        return normalise(passage) in self.passages

    def drop(self, pairs: Sequence[Pair]) -> tuple[list[Pair], int]:
        """The pairs whose query and passage are not held out, and how many were dropped."""
        kept = [p for p in pairs if not self.has_query(p.query) and not self.has_passage(p.passage)]
        return kept, len(pairs) - len(kept)

    def check(self, pairs: Iterable[Pair], what: str) -> None:
        """Raise `LeakError` if any pair's query is held out."""
        asked = dict.fromkeys(pair.query for pair in pairs)
        found = [query for query in asked if self.has_query(query)]
        if found:
            raise LeakError(
                f"{what}: {len(found)} queries are held out for measuring, for instance "
                f"{found[0]!r}. Leave their source out of the recipe."
            )
