"""Rows of the text files that training reads: what it needs beyond `retort/rows.py`.

The rest of training takes from here what both have.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from retort.rows import (
    BadRows,
    DataError,
    lines,
    no_file,
    read_bytes,
    short,
    text_lines,
)

__all__ = [
    "BadRows",
    "DataError",
    "binary_label",
    "csv_records",
    "csv_rows",
    "lines",
    "locate",
    "no_file",
    "parse",
    "read_bytes",
    "read_json",
    "short",
    "text_lines",
    "unit_score",
]

T = TypeVar("T")


def locate(root: Path, name: str) -> Path:
    """`root/name` or its gzipped form. Raises `DataError` where there is neither."""
    for path in (root / name, root / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(
        f"{root / name}: no such file, nor {name}.gz. Point --data (or RETORT_DATA) at the folder "
        "that holds the data sets, one folder each; `retort data fetch` gets them, or says how."
    )


def parse(
    path: Path, expected: str, bad: BadRows, convert: Callable[[str], T]
) -> Iterator[tuple[int, T]]:
    """Each line through `convert`; where that raises, the row is a bad one."""
    for number, line in lines(path):
        try:
            value = convert(line)
        except (ValueError, KeyError, IndexError, TypeError):
            bad.report(path, number, expected, line)
            continue
        yield number, value


def csv_records(path: Path, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """First line and fields of each record that is not empty, quoted as RFC 4180 has it.

    Raises `DataError`, with the record's first line, for quotes that do not fit.
    """
    csv.field_size_limit(2**31 - 1)  # otherwise 131,072 characters
    reader = csv.reader((text for _, text in text_lines(path)), delimiter=delimiter, strict=True)
    while True:
        first = reader.line_num + 1
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{path}, line {first}: not CSV ({error}): in a field in quotes, write a quote "
                "as two"
            ) from error
        if record is None:
            return
        if record:
            yield first, record


def csv_rows(path: Path, columns: tuple[str, ...], bad: BadRows) -> Iterator[tuple[int, list[str]]]:
    """Rows of a comma-separated file under exactly this header."""
    records = csv_records(path)
    _, header = next(records, (1, []))
    if tuple(header) != columns:
        raise DataError(f"{path}, line 1: expected the header {','.join(columns)}, found {header}")
    for number, row in records:
        if len(row) != len(columns):
            bad.report(path, number, f"{len(columns)} columns", row)
            continue
        yield number, row


def read_json(path: Path) -> Any:
    """A whole JSON document, gzipped or not. Raises `DataError` with the place of a fault."""
    try:
        return json.loads("".join(text for _, text in text_lines(path)))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not JSON: {error.msg}") from error


def binary_label(text: str) -> float:
    """`0` or `1`, nothing else."""
    if text.strip() not in {"0", "1"}:
        raise ValueError(text)
    return float(text)


def unit_score(text: str) -> float:
    """A number from 0 to 1."""
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise ValueError(text)
    return value
