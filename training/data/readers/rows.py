"""Rows of a text file, each with its place, and the one way in which a bad row is handled."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, TypeVar

T = TypeVar("T")


class DataError(ValueError):
    """A data set is missing or a row of it is malformed; the message names file and line."""


@dataclass
class BadRows:
    """What to do with malformed rows: stop at the first (default), or skip and count them."""

    skip: bool = False
    places: list[str] = field(default_factory=list)

    def report(self, path: Path, line: int, expected: str, row: object) -> None:
        """Raise `DataError`, or note the place when skipping was asked for."""
        shown = repr(row)
        shown = shown if len(shown) <= 120 else shown[:117] + "..."
        if not self.skip:
            raise DataError(
                f"{path}, line {line}: expected {expected}, found {shown}. "
                "Mend the row, or pass --skip-bad to leave such rows out and count them."
            )
        self.places.append(f"{path}:{line}")


def locate(root: Path, name: str) -> Path:
    """`root/name` or its gzipped form. Raises `DataError` where there is neither."""
    for path in (root / name, root / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(
        f"{root / name}: no such file, nor {name}.gz. Point --data (or RETORT_DATA) at the folder "
        "that holds the data sets, one folder each."
    )


def open_text(path: Path, newline: str = "\n") -> TextIO:
    """Open a text file, gzipped or not, as UTF-8 without a byte-order mark."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline=newline)
    return path.open(encoding="utf-8-sig", newline=newline)


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number (from 1) and text of each line that is not blank."""
    with open_text(path) as handle:
        number = 0
        try:
            for number, line in enumerate(handle, start=1):
                text = line.rstrip("\r\n")
                if text.strip():
                    yield number, text
        except UnicodeDecodeError as error:
            raise DataError(f"{path}, after line {number}: not UTF-8 ({error.reason})") from error


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


def csv_rows(path: Path, columns: tuple[str, ...], bad: BadRows) -> Iterator[tuple[int, list[str]]]:
    """Rows of a comma-separated file under exactly this header."""
    with open_text(path, newline="") as handle:
        reader = csv.reader(handle)
        header = next(reader, [])
        if tuple(header) != columns:
            raise DataError(
                f"{path}, line 1: expected the header {','.join(columns)}, found {header}"
            )
        for row in reader:
            if len(row) != len(columns):
                bad.report(path, reader.line_num, f"{len(columns)} columns", row)
                continue
            yield reader.line_num, row


def read_json(path: Path) -> Any:
    """A whole JSON document, gzipped or not. Raises `DataError` with the place of a fault."""
    with open_text(path) as handle:
        try:
            return json.load(handle)
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
