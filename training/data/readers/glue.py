"""Readers of sentence tasks: GLUE's files, SNLI, BoolQ and SICK.

Every task is read as pairs with one label from 0 to 1. Entailment: the query is the hypothesis,
the passage the premise, the label 1 for entailment and 0 for anything else, so SNLI and SICK have
two classes here where they are published with three. Sentiment: the passage is the sentence and
the query the instruction `REVIEW_QUERY`. `query_id` names what belongs together: the pairs of one
premise, of one question, or a row alone.

A split `train-90` is a part of the official `train`, cut by `training/data/portions.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from retort.training.data.pairs import REVIEW_QUERY, Pair, normalise
from retort.training.data.portions import cut
from retort.training.data.readers.rows import BadRows, DataError, lines, locate

Row = tuple[int, dict[str, str]]

# Where a part of a split begins and ends; the names say how many in a hundred.
PARTS = {
    "train-90": ("train", 0.0, 0.9),
    "train-10": ("train", 0.9, 1.0),
    "dev-90": ("dev", 0.0, 0.9),
    "dev-10": ("dev", 0.9, 1.0),
    "dev-60": ("dev", 0.0, 0.6),
    "dev-30": ("dev", 0.6, 0.9),
}


def rte(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """RTE: `index, sentence1, sentence2, label`, as `train.tsv` or `glue_train.tsv`."""
    yield from _whole_or_part(_rte, folder, split, bad)


def _rte(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    path = _first(folder, f"{split}.tsv", f"glue_{split}.tsv")
    for number, row in _rows(path, ("sentence1", "sentence2", "label"), bad):
        label = _label(row["label"], _ENTAILS, path, number, bad)
        if label is not None:
            premise = row["sentence1"]
            yield Pair(
                row["sentence2"], premise, label, _id("rte", premise), f"rte-{split}-{number}"
            )


def qnli(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """QNLI: `index, question, sentence, label`; its dev comes from SQuAD's dev."""
    yield from _whole_or_part(_qnli, folder, split, bad)


def _qnli(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    path = locate(folder, f"{split}.tsv")
    for number, row in _rows(path, ("question", "sentence", "label"), bad):
        label = _label(row["label"], _ENTAILS, path, number, bad)
        if label is not None:
            question = row["question"]
            yield Pair(
                question, row["sentence"], label, _id("qnli", question), f"qnli-{split}-{number}"
            )


def snli(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """SNLI: `premise, hypothesis, label`, 0 entailment, 1 neutral, 2 contradiction.

    Pairs on which the annotators did not agree (label -1) are left out, as is usual.
    """
    yield from _whole_or_part(_snli, folder, split, bad)


def _snli(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    names = {"dev": "validation.tsv"}
    path = locate(folder, names.get(split, f"{split}.tsv"))
    for number, row in _rows(path, ("premise", "hypothesis", "label"), bad):
        if row["label"] in {"-1", "-"}:
            continue
        label = _label(row["label"], {"0": 1.0, "1": 0.0, "2": 0.0}, path, number, bad)
        if label is not None:
            premise = row["premise"]
            yield Pair(
                row["hypothesis"], premise, label, _id("snli", premise), f"snli-{split}-{number}"
            )


def mrpc(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """MRPC: `index, label, sentence1, sentence2`; 1 for a paraphrase."""
    names = {"dev": "validation.tsv"}
    path = locate(folder, names.get(split, f"{split}.tsv"))
    for number, row in _rows(path, ("label", "sentence1", "sentence2"), bad):
        label = _label(row["label"], _ZERO_ONE, path, number, bad)
        if label is not None:
            name = f"mrpc-{split}-{number}"
            yield Pair(row["sentence1"], row["sentence2"], label, name, name)


def sst2(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """SST-2: `sentence, label`; 1 is positive.

    `train` is GLUE's `train.tsv` or, where that is not there, `alps_train.tsv` and `alps_dev.tsv`,
    which are cut from it; `dev` is `dev.tsv` or `alps_test.tsv`. Most of `train` are phrases of
    longer sentences that are there too, so a part of it is not independent of the rest.
    """
    yield from _whole_or_part(_sst2, folder, split, bad)


def _sst2(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    if split == "dev":
        paths = [_first(folder, "dev.tsv", "alps_test.tsv")]
    else:
        paths = [_first(folder, "train.tsv", "alps_train.tsv")]
        if paths[0].name.startswith("alps"):
            paths.append(locate(folder, "alps_dev.tsv"))
    for path in paths:
        for number, row in _rows(path, ("sentence", "label"), bad):
            label = _label(row["label"], _ZERO_ONE, path, number, bad)
            if label is not None:
                name = f"sst2-{path.name.split('.')[0]}-{number}"
                yield Pair(REVIEW_QUERY, row["sentence"].strip(), label, name, name)


def boolq(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """BoolQ: `index, passage, question, label`; 1 where the passage says yes."""
    path = _first(folder, f"{split}.tsv", "validation.tsv")
    for number, row in _rows(path, ("passage", "question", "label"), bad):
        label = _label(row["label"], _ZERO_ONE, path, number, bad)
        if label is not None:
            question = row["question"]
            name = f"boolq-{split}-{number}"
            yield Pair(question, row["passage"], label, _id("boolq", question), name)


_SICK = ("sentence_A", "sentence_B", "relatedness_score", "entailment_judgment")
_SICK_FILES = {"train": "SICK_train.txt", "trial": "SICK_trial.txt"}


def sick(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """SICK's entailment: sentence B of sentence A."""
    path = locate(folder, _SICK_FILES.get(split, "SICK_test_annotated.txt"))
    answers = {"ENTAILMENT": 1.0, "NEUTRAL": 0.0, "CONTRADICTION": 0.0}
    for number, row in _rows(path, _SICK, bad):
        label = _label(row["entailment_judgment"], answers, path, number, bad)
        if label is not None:
            name = f"sick-{split}-{number}"
            yield Pair(row["sentence_B"], row["sentence_A"], label, name, name)


def sick_related(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """SICK's relatedness, 1 to 5, as a label (r - 1) / 4.

    The query is sentence A, so that no pair is also one of `sick`, with another label.
    """
    path = locate(folder, _SICK_FILES.get(split, "SICK_test_annotated.txt"))
    for number, row in _rows(path, _SICK, bad):
        try:
            label = (float(row["relatedness_score"]) - 1.0) / 4.0
        except ValueError:
            label = -1.0
        if not 0.0 <= label <= 1.0:
            bad.report(path, number, "a relatedness_score from 1 to 5", row["relatedness_score"])
            continue
        name = f"sick-related-{split}-{number}"
        yield Pair(row["sentence_A"], row["sentence_B"], label, name, name)


_ENTAILS = {"entailment": 1.0, "not_entailment": 0.0}
_ZERO_ONE = {"0": 0.0, "1": 1.0}


def _whole_or_part(
    read: Callable[[Path, str, BadRows], Iterator[Pair]], folder: Path, split: str, bad: BadRows
) -> Iterator[Pair]:
    if split in PARTS:
        whole, low, high = PARTS[split]
        yield from cut(read(folder, whole, bad), low, high)
    else:
        yield from read(folder, split, bad)


def _first(folder: Path, *names: str) -> Path:
    """The first of these files that is there. Raises `DataError` for the first of them."""
    for name in names:
        try:
            return locate(folder, name)
        except DataError:
            continue
    return locate(folder, names[0])


def _rows(path: Path, columns: tuple[str, ...], bad: BadRows) -> Iterator[Row]:
    """Rows by column name, under a header that has at least these columns.

    Raises `DataError` for another header.
    """
    header: list[str] = []
    for number, line in lines(path):
        fields = line.split("\t")
        if not header:
            header = fields
            if not set(columns) <= set(header):
                raise DataError(
                    f"{path}, line {number}: expected the columns {', '.join(columns)}, "
                    f"found {header}"
                )
            continue
        row = dict(zip(header, map(_unquoted, fields), strict=False))
        if len(fields) != len(header) or not all(row[name].strip() for name in columns):
            bad.report(path, number, f"{len(header)} columns, none of them empty", line)
            continue
        yield number, row


def _unquoted(field: str) -> str:
    """A field as it was before a CSV writer quoted it; any other is left as it is.

    Some mirrors quote fields and double the quotes inside, GLUE's own files do neither: a field
    counts as quoted only where every quote inside it is doubled.
    """
    if len(field) < 2 or field[0] != '"' or field[-1] != '"':
        return field
    inside = field[1:-1].replace('""', "\0")
    return field if '"' in inside else inside.replace("\0", '"')


def _label(text: str, known: dict[str, float], path: Path, line: int, bad: BadRows) -> float | None:
    """The label that `text` stands for, None where it is a bad row that is skipped."""
    if text not in known:
        bad.report(path, line, f"a label of {', '.join(known)}", text)
        return None
    return known[text]


def _id(task: str, text: str) -> str:
    return f"{task}-{hashlib.blake2b(normalise(text).encode(), digest_size=6).hexdigest()}"
