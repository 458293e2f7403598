"""Rows of a text file, each with its place, and the one way in which a bad row is handled."""

from __future__ import annotations

import codecs
import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class DataError(ValueError):
    """A data set is missing or a row of it is malformed; the message names file and line."""


def short(value: object, length: int = 120) -> str:
    """`repr` of a value, cut in its middle: in a row, the label is mostly last."""
    shown = repr(value)
    if len(shown) <= length:
        return shown
    tail = length // 3
    return f"{shown[: length - tail - 3]}...{shown[-tail:]}"


@dataclass
class BadRows:
    """What to do with malformed rows: stop at the first (default), or skip and count them.

    `offered` says that the command has `--skip-bad`.
    """

    skip: bool = False
    offered: bool = False
    places: list[str] = field(default_factory=list)

    def report(self, path: Path, line: int, expected: str, row: object) -> None:
        """Raise `DataError`, or note the place when skipping was asked for."""
        self.refuse(path, line, f"expected {expected}, found {short(row)}")

    def refuse(self, path: Path, number: int, problem: str, unit: str = "line") -> None:
        """The same for any problem of the `unit` (a line or a row) of this number, from 1."""
        if not self.skip:
            advice = ", or pass --skip-bad to leave such rows out and count them"
            raise DataError(
                f"{path}, {unit} {number}: {problem}. Mend the row{advice * self.offered}."
            )
        self.places.append(f"{path}:{number}")


def no_file(path: Path) -> str:
    """Why `path` is not read: there is a folder, or nothing."""
    return "a folder, and not a file" if path.is_dir() else "no such file"


def locate(root: Path, name: str) -> Path:
    """`root/name` or its gzipped form. Raises `DataError` where there is neither."""
    for path in (root / name, root / f"{name}.gz"):
        if path.is_file():
            return path
    raise DataError(
        f"{root / name}: no such file, nor {name}.gz. Point --data (or RETORT_DATA) at the folder "
        "that holds the data sets, one folder each; `retort data fetch` gets them, or says how."
    )


def open_bytes(path: Path) -> BufferedReader | gzip.GzipFile:
    """Open a file, unpacked where it is gzipped."""
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def read_bytes(path: Path) -> bytes:
    """A whole file, unpacked where it is gzipped. Raises `DataError` where it cannot be."""
    try:
        with open_bytes(path) as handle:
            return handle.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: {_gzip_problem(error)}") from error


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number (from 1) and text of each line, with its line end, without a byte-order mark.

    Raises `DataError`, with the line, for text that is not UTF-8 and for a broken gzip file.
    """
    number = 0
    try:
        with open_bytes(path) as handle:
            for number, line in enumerate(handle, start=1):
                if number == 1:
                    _check_width(path, line)
                    line = line.removeprefix(codecs.BOM_UTF8)
                yield number, line.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, line {number}: byte {error.object[error.start]:#04x} is not UTF-8 "
            f"({error.reason}): convert the file, for instance with "
            "`iconv -f ISO-8859-1 -t UTF-8` if it is Latin-1"
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}, after line {number}: {_gzip_problem(error, number)}") from error


def _check_width(path: Path, line: bytes) -> None:
    """Raise `DataError` for UTF-16 and UTF-32, with or without a mark, by the first line."""
    marked = line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE))
    if marked or (len(line) >= 4 and 0 in (sum(line[0:8:2]), sum(line[1:8:2]))):
        raise DataError(
            f"{path}, line 1: the text is UTF-16 or UTF-32, not UTF-8: convert the file, for "
            "instance with `iconv -f UTF-16 -t UTF-8`"
        )


def _gzip_problem(error: Exception, read: int = 0) -> str:
    if isinstance(error, EOFError):
        return "the gzip file is cut off: copy it again, whole"
    if read:
        return f"what follows is not gzipped or damaged ({error}): compress the file again"
    return f"not a sound gzip file ({error}): without compression, leave .gz out of its name"


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number (from 1) and text of each line that is not blank, as `text_lines`."""
    for number, line in text_lines(path):
        text = line.rstrip("\r\n")
        if text.strip():
            yield number, text


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
