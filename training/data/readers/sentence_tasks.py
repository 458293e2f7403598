"""Readers of sentence tasks: GLUE's files, SNLI, BoolQ, SICK and Amazon's reviews.

Every task is read as pairs with one label from 0 to 1. Entailment: the query is the hypothesis,
the passage the premise, the label 1 for entailment and 0 for anything else, so SNLI and SICK have
two classes here where they are published with three. Sentiment: the passage is the sentence and
the query the instruction `REVIEW_QUERY`. `query_id` names what belongs together: the pairs of one
premise, of one question, or a row alone.

A split `train-90` is a part of the official `train` that this project cuts itself (`pairs.cut`).

Amazon's reviews come without splits and with duplicates. A review that is there twice is read once,
and a domain is cut into `books-train`, `books-dev` and `books-test` by a hash of a review's last
words: copies of a review end up in one part even where their titles differ, and whatever domain
they are in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path

from retort.training.data.pairs import REVIEW_QUERY, Pair, cut, normalise, place
from retort.training.data.readers.rows import BadRows, DataError, lines, locate

Row = tuple[int, dict[str, str]]
Reader = Callable[[Path, str, BadRows], Iterator[Pair]]

# Where a part of a split begins and ends; the names say how many per cent it has.
PARTS = {
    "train-90": ("train", 0.0, 0.9),
    "train-10": ("train", 0.9, 1.0),
    "dev-90": ("dev", 0.0, 0.9),
    "dev-10": ("dev", 0.9, 1.0),
    "dev-60": ("dev", 0.0, 0.6),
    "dev-30": ("dev", 0.6, 0.9),
}
AMAZON_DOMAINS = ("books", "dvd", "electronics", "kitchen")
AMAZON_PARTS = {"train": (0.0, 0.8), "dev": (0.8, 0.9), "test": (0.9, 1.0)}
LAST_WORDS = 12


def _with_parts(read: Reader) -> Reader:
    """A reader of splits that reads parts of them too."""

    @wraps(read)
    def reader(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
        if split not in PARTS:
            return read(folder, split, bad)
        whole, low, high = PARTS[split]
        return iter(cut(read(folder, whole, bad), low, high))

    return reader


@_with_parts
def rte(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """RTE: `index, sentence1, sentence2, label`, as `train.tsv` or `glue_train.tsv`."""
    path = _first(folder, f"{split}.tsv", f"glue_{split}.tsv")
    for number, row, label in _labelled(path, ("sentence1", "sentence2", "label"), _ENTAILS, bad):
        premise = row["sentence1"]
        yield Pair(row["sentence2"], premise, label, _id("rte", premise), f"rte-{split}-{number}")


@_with_parts
def qnli(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """QNLI: `index, question, sentence, label`; its dev comes from SQuAD's dev."""
    path = locate(folder, f"{split}.tsv")
    for number, row, label in _labelled(path, ("question", "sentence", "label"), _ENTAILS, bad):
        question, name = row["question"], f"qnli-{split}-{number}"
        yield Pair(question, row["sentence"], label, _id("qnli", question), name)


@_with_parts
def snli(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """SNLI: `premise, hypothesis, label`, 0 entailment, 1 neutral, 2 contradiction.

    Pairs on which the annotators did not agree (label -1) are left out, as is usual.
    """
    path = locate(folder, "validation.tsv" if split == "dev" else f"{split}.tsv")
    answers: dict[str, float | None] = {"0": 1.0, "1": 0.0, "2": 0.0, "-1": None, "-": None}
    for number, row, label in _labelled(path, ("premise", "hypothesis", "label"), answers, bad):
        premise, name = row["premise"], f"snli-{split}-{number}"
        yield Pair(row["hypothesis"], premise, label, _id("snli", premise), name)


def mrpc(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """MRPC: `index, label, sentence1, sentence2`; 1 for a paraphrase."""
    path = locate(folder, "validation.tsv" if split == "dev" else f"{split}.tsv")
    for number, row, label in _labelled(path, ("sentence1", "sentence2", "label"), _ZERO_ONE, bad):
        name = f"mrpc-{split}-{number}"
        yield Pair(row["sentence1"], row["sentence2"], label, name, name)


@_with_parts
def sst2(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """SST-2: `sentence, label`; 1 is positive.

    `train` is GLUE's `train.tsv` or, where that is not there, `alps_train.tsv` and `alps_dev.tsv`,
    which are cut from it; `dev` is `dev.tsv` or `alps_test.tsv`. Most of `train` are phrases of
    longer sentences that are there too, so a part of it is not independent of the rest.
    """
    if split == "dev":
        paths = [_first(folder, "dev.tsv", "alps_test.tsv")]
    else:
        paths = [_first(folder, "train.tsv", "alps_train.tsv")]
        if paths[0].name.startswith("alps"):
            paths.append(locate(folder, "alps_dev.tsv"))
    for path in paths:
        for number, row, label in _labelled(path, ("sentence", "label"), _ZERO_ONE, bad):
            name = f"sst2-{path.name.split('.')[0]}-{number}"
            yield Pair(REVIEW_QUERY, row["sentence"].strip(), label, name, name)


def boolq(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """BoolQ: `index, passage, question, label`; 1 where the passage says yes."""
    path = _first(folder, f"{split}.tsv", "validation.tsv")
    for number, row, label in _labelled(path, ("passage", "question", "label"), _ZERO_ONE, bad):
        question, name = row["question"], f"boolq-{split}-{number}"
        yield Pair(question, row["passage"], label, _id("boolq", question), name)


_SICK = ("sentence_A", "sentence_B", "relatedness_score", "entailment_judgment")
_SICK_FILES = {"train": "SICK_train.txt", "trial": "SICK_trial.txt"}


def sick(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """SICK's entailment: sentence B of sentence A."""
    path = locate(folder, _SICK_FILES.get(split, "SICK_test_annotated.txt"))
    answers: dict[str, float | None] = {"ENTAILMENT": 1.0, "NEUTRAL": 0.0, "CONTRADICTION": 0.0}
    for number, row, label in _labelled(path, _SICK, answers, bad):
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


def amazon(folder: Path, split: str, bad: BadRows) -> Iterator[Pair]:
    """`<domain>/review_positive` and `review_negative`: one review per line, of any length.

    `split` is `<domain>-<part>`.
    """
    domain, _, part = split.rpartition("-")
    low, high = AMAZON_PARTS[part]
    seen: set[str] = set()
    for name, label in (("negative", 0.0), ("positive", 1.0)):
        path = locate(folder / domain, f"review_{name}")
        for number, line in lines(path):
            text = " ".join(line.split())
            words = normalise(text)
            if not words:
                bad.report(path, number, "a review in words", line)
                continue
            last = " ".join(words.split()[-LAST_WORDS:])
            if words in seen or not low <= place(last) < high:
                continue
            seen.add(words)
            pair_id = f"amazon-{domain}-{name}-{number}"
            yield Pair(REVIEW_QUERY, text, label, pair_id, pair_id)


_ENTAILS: dict[str, float | None] = {"entailment": 1.0, "not_entailment": 0.0}
_ZERO_ONE: dict[str, float | None] = {"0": 0.0, "1": 1.0}


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


def _labelled(
    path: Path, columns: tuple[str, ...], answers: dict[str, float | None], bad: BadRows
) -> Iterator[tuple[int, dict[str, str], float]]:
    """Rows with the label that their last column stands for; answers of None are left out."""
    for number, row in _rows(path, columns, bad):
        text = row[columns[-1]]
        if text not in answers:
            known = [answer for answer, label in answers.items() if label is not None]
            bad.report(path, number, f"a label of {', '.join(known)}", text)
            continue
        label = answers[text]
        if label is not None:
            yield number, row, label


def _id(task: str, text: str) -> str:
    return f"{task}-{hashlib.blake2b(normalise(text).encode(), digest_size=6).hexdigest()}"
