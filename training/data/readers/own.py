"""A user's own pairs: TSV, CSV, JSON lines or Parquet, or a server's disagreement file.

This is the one reader of them, for training and for measuring. A label is a number from 0 to 1.
Labels that are whole numbers and run above 1 are grades: they are divided by the largest of the
file, so that its best passages are labelled 1.

Each line of a disagreement file is a shadowed request on which student and teacher put a different
passage first: the service finds its own training data. Its query with each of its passages is a
pair without a label; the teachers of the next distillation score it anew. Records whose texts were
hashed cannot be trained on.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retort.fields import (
    REQUIRED,
    ColumnsError,
    OwnField,
    checked_id,
    checked_query,
    checked_text,
    columns_of,
    is_header,
)
from retort.rows import BLANK_TSV, json_object
from retort.training.data.pairs import RIGHT, Pair
from retort.training.data.readers.rows import (
    BadRows,
    DataError,
    csv_records,
    lines,
    no_file,
    parse,
    read_bytes,
    short,
)
from retort.training.recipes.corpus import FileLayout
from retort.wording import counted

ADVICE = (
    "name the columns with --columns query=NAME,passage=NAME,label=NAME (or `files` in a recipe)"
)
FORMS = (".tsv", ".csv", ".jsonl", ".parquet")
# Whole labels above this are taken for something else than grades, unless the user says so.
MOST_GRADE = 10.0

_RECORD = "a record with query, passages and hashed, as the server writes it"
_NO_HEADER: tuple[OwnField, ...] = (*REQUIRED, "label")

Values = Mapping[OwnField, object]


@dataclass(frozen=True, slots=True)
class SourcePairs:
    """The pairs of a source, and the label that was divided by to make the largest one 1."""

    pairs: list[Pair]
    largest: float = 1.0

    @property
    def graded(self) -> str:
        """What was done to the labels, in words; "" where they are numbers from 0 to 1."""
        if self.largest == 1.0:
            return ""
        return (
            f"labels are grades from 0 to {self.largest:g}, divided by {self.largest:g}; a passage "
            f"is right from {RIGHT * self.largest:g}"
        )


def form_of(path: str | Path) -> str | None:
    """The format that the name of a file of one's own ends with, in lower case; None for others.

    Example: `form_of("Clicks.TSV.gz")` is `".tsv"`.
    """
    form = Path(str(path).lower().removesuffix(".gz")).suffix
    return form if form in FORMS else None


def is_own(source: str) -> bool:
    """Whether a source is a file of one's own, or of the hub, rather than one of the catalog."""
    return source.startswith("hub:") or form_of(source) is not None


def read_file(path: Path, bad: BadRows, layout: FileLayout | None = None) -> SourcePairs:
    """Read a `.tsv`, `.csv`, `.jsonl` or `.parquet`, gzipped or not. Raises `DataError`.

    Columns go by the names in `retort/fields.py`, or by those of `layout`. A `.tsv` or `.csv`
    without a header is query, passage and perhaps label. A `.jsonl` may be a server's disagreement
    file.
    """
    layout = layout or FileLayout()
    form = form_of(path)
    if form is None:
        raise DataError(f"{path}: a file of pairs ends in {', '.join(FORMS)}, perhaps with .gz")
    if not path.is_file():
        raise DataError(f"{path}: {no_file(path)}")
    if form == ".jsonl" and is_disagreements(path):
        return SourcePairs(read_disagreements(path, bad))
    reader = {".tsv": _tsv, ".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}[form]
    unit = "row" if form == ".parquet" else "line"
    rows: list[tuple[int, Pair]] = []
    fields: set[OwnField] = set()
    for number, values in reader(path, bad, layout):
        try:
            rows.append((number, _pair(values, layout.largest)))
        except ValueError as error:
            # Where there is a header that is known as one, no pair is in line 1.
            unnamed = f" (if this is a header: {ADVICE})" * (
                number == 1 and form in (".tsv", ".csv")
            )
            bad.refuse(path, number, f"{error}{unnamed}", unit)
        fields |= values.keys()
    for field, column in layout.columns.items():
        if rows and field not in fields:
            raise DataError(f"{path}: no column {column!r} for the {field} in any row")
    if not rows:
        raise DataError(f"{path}: there is no pair in it")
    return _scaled(path, bad, rows, layout.largest, unit)


def _pair(values: Values, largest: float | None) -> Pair:
    """A pair whose label may be a grade still. Raises `ValueError` that says what is wrong."""
    return Pair(
        checked_query(values.get("query")),
        checked_text("passage", values.get("passage")),
        _label(values.get("label"), largest),
        checked_id("query_id", values.get("query_id")),
        checked_id("passage_id", values.get("passage_id")),
    )


def _label(value: object, largest: float | None) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        label = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        label = math.nan
    if not 0.0 <= label <= (largest or math.inf):
        top = f"to {largest:g}" if largest else "to 1, or a grade in whole numbers from 0"
        raise ValueError(f"the label is {short(value, 60)}: give a number from 0 {top}")
    if largest is None and label > 1.0 and not label.is_integer():
        raise ValueError(
            f"the label is {label:g}: labels above 1 are grades in whole numbers; for another "
            "scale give its end with --largest (or `files` in a recipe)"
        )
    if largest is None and label > MOST_GRADE:
        raise ValueError(
            f"the label is {label:g}: grades run to {MOST_GRADE:g}, unless --largest (or `files` "
            "in a recipe) says how far they run"
        )
    return label


def _scaled(
    path: Path, bad: BadRows, rows: list[tuple[int, Pair]], largest: float | None, unit: str
) -> SourcePairs:
    """Pairs with labels from 0 to 1. Raises `DataError` for a share of 1 among grades."""
    labels = [pair.label for _, pair in rows if pair.label is not None]
    if largest is None:
        largest = max(1.0, max(labels, default=1.0))
        if largest > 1.0:
            for number, pair in rows:
                if pair.label is not None and not pair.label.is_integer():
                    bad.refuse(
                        path,
                        number,
                        f"the label is {pair.label:g} where others run to {largest:g}: give grades "
                        "in whole numbers, or numbers from 0 to 1 alone",
                        unit,
                    )
            rows = [row for row in rows if row[1].label is None or row[1].label.is_integer()]
    if largest == 1.0:
        return SourcePairs([pair for _, pair in rows])
    pairs = [
        pair if pair.label is None else replace(pair, label=pair.label / largest)
        for _, pair in rows
    ]
    return SourcePairs(pairs, largest)


def _tsv(path: Path, bad: BadRows, layout: FileLayout) -> Iterator[tuple[int, Values]]:
    records = ((number, line.split("\t")) for number, line in lines(path, BLANK_TSV))
    return _table(path, records, bad, layout)


def _csv(path: Path, bad: BadRows, layout: FileLayout) -> Iterator[tuple[int, Values]]:
    first = next((text for _, text in lines(path)), "")
    # Where a decimal comma is usual, spreadsheets part their columns by semicolons.
    delimiter = ";" if ";" in first and "," not in first else ","
    return _table(path, csv_records(path, delimiter), bad, layout)


def _table(
    path: Path, records: Iterable[tuple[int, list[str]]], bad: BadRows, layout: FileLayout
) -> Iterator[tuple[int, Values]]:
    """The records of a file by field, under its header if it has one."""
    header: list[str] | None = None
    fields: dict[OwnField, int] = {}
    for place, (number, record) in enumerate(records):
        try:
            if place == 0 and is_header(record, layout.columns, ADVICE):
                header = record
                fields = {
                    f: record.index(n)
                    for f, n in columns_of(record, layout.columns, advice=ADVICE).items()
                }
                continue
        except ColumnsError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
        if header is not None and len(record) != len(header):
            bad.refuse(path, number, f"{_columns(record)}, where the header has {len(header)}")
        elif header is not None:
            yield number, {field: record[column] for field, column in fields.items()}
        elif len(record) in (2, 3):
            yield number, dict(zip(_NO_HEADER, record, strict=False))
        else:
            bad.refuse(
                path,
                number,
                f"{_columns(record)}, where query, passage and perhaps label are expected; "
                "other columns need a header that names all",
            )


def _columns(record: list[str]) -> str:
    shown = short([field if len(field) <= 30 else field[:27] + "..." for field in record])
    return f"{counted(len(record), 'column')}, {shown}"


def _jsonl(path: Path, bad: BadRows, layout: FileLayout) -> Iterator[tuple[int, Values]]:
    known: dict[tuple[str, ...], dict[OwnField, str]] = {}
    for number, line in lines(path):
        try:
            row = json_object(line)
            keys = tuple(row)
            if keys not in known:
                known[keys] = columns_of(keys, layout.columns, advice=ADVICE)
        except ValueError as error:
            bad.refuse(path, number, str(error))
        else:
            yield number, {field: row[name] for field, name in known[keys].items()}


def _parquet(path: Path, bad: BadRows, layout: FileLayout) -> Iterator[tuple[int, Values]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        packed = path.suffix.lower() == ".gz"
        file = pq.ParquetFile(io.BytesIO(read_bytes(path)) if packed else path)
        fields = columns_of(file.schema_arrow.names, layout.columns, advice=ADVICE)
        number = 0
        for batch in file.iter_batches(columns=list(fields.values())):
            columns = {field: batch.column(name).to_pylist() for field, name in fields.items()}
            for values in zip(*columns.values(), strict=True):
                number += 1
                yield number, dict(zip(columns, values, strict=True))
    except ColumnsError as error:
        raise DataError(f"{path}: {error}") from error
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a sound Parquet file ({error})") from error


def is_disagreements(path: Path) -> bool:
    """Whether the file's first line is a record of a disagreement."""
    first = next((text for _, text in lines(path)), "")
    try:
        record = json.loads(first)
    except ValueError:
        return False
    return isinstance(record, dict) and "passages" in record and "student_scores" in record


def read_disagreements(path: Path, bad: BadRows) -> list[Pair]:
    """The pairs of all records, each pair once, in the file's order.

    Raises `DataError` for records whose texts are hashed, and for malformed ones.
    """
    pairs: dict[int, Pair] = {}
    for number, (query, passages, hashed) in parse(path, _RECORD, bad, _record):
        if hashed:
            raise DataError(
                f"{path}, line {number}: the texts are hashed, and a hash cannot be trained on. "
                "Serve with disagreement_texts on (RETORT_DISAGREEMENT_TEXTS=true) to write "
                "texts, if those who ask allow it, and collect a new file"
            )
        for place, passage in enumerate(passages):
            pair = Pair(query, passage, None, f"disagreement-{number}", str(place))
            pairs.setdefault(pair.key, pair)
    return list(pairs.values())


def _record(line: str) -> tuple[str, list[str], bool]:
    record: dict[str, Any] = json.loads(line)
    query, passages, hashed = record["query"], record["passages"], record["hashed"]
    if not isinstance(hashed, bool) or not isinstance(passages, list):
        raise ValueError(line)
    return (
        checked_text("query", query),
        [checked_text("passage", text) for text in passages],
        hashed,
    )
