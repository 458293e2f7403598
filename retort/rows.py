"""Rows of files from outside: each has its place, and a bad one is handled in one way."""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any


class DataError(ValueError):
    """A data set is missing or a row of it is malformed; the message names file and line."""


class ColumnsFault(DataError):
    """The columns cannot be told apart, or have a name that is needed: no matter of one row."""


def short(value: object, length: int = 120) -> str:
    """`repr` of a value, cut in its middle: in a row, the label is mostly last."""
    shown = repr(value)
    if len(shown) <= length:
        return shown
    tail = length // 3
    return f"{shown[: length - tail - 3]}...{shown[-tail:]}"


MOST_PLACES = 1_000  # of bad rows, which are remembered

# What a blank line of tab-separated cells may hold: a tab is between two cells, which may be empty.
BLANK_TSV = " \r\n\v\f"


@dataclass
class BadRows:
    """What to do with malformed rows: stop at the first (default), or skip and count them.

    `offered` says that the command has `--skip-bad`. `places` are those of the first.
    """

    skip: bool = False
    offered: bool = False
    count: int = 0
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
        self.count += 1
        if self.count <= MOST_PLACES:
            self.places.append(f"{path}:{number}")


def no_file(path: Path) -> str:
    """Why `path` is not read: there is a folder, or nothing."""
    return "a folder, and not a file" if path.is_dir() else "no such file"


def open_bytes(path: Path) -> BufferedReader | gzip.GzipFile:
    """Open a file, unpacked where it is gzipped."""
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def read_bytes(path: Path) -> bytes:
    """A whole file, unpacked where it is gzipped. Raises `DataError` where it cannot be."""
    try:
        with open_bytes(path) as handle:
            return handle.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: {gzip_problem(error)}") from error


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number (from 1) and text of each line, with its line end, without a byte-order mark.

    Raises `DataError`, with the line, for text that is not UTF-8 and for a broken gzip file.
    """
    number = 0
    try:
        with open_bytes(path) as handle:
            for number, line in enumerate(handle, start=1):
                if number == 1:
                    check_width(path, line)
                    line = line.removeprefix(codecs.BOM_UTF8)
                yield number, line.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}, line {number}: byte {error.object[error.start]:#04x} is not UTF-8 "
            f"({error.reason}): convert the file, for instance with "
            "`iconv -f ISO-8859-1 -t UTF-8` if it is Latin-1"
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}, after line {number}: {gzip_problem(error, number)}") from error


def check_width(path: Path, line: bytes) -> None:
    """Raise `DataError` for UTF-16 and UTF-32, with or without a mark, by the first line."""
    marked = line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE))
    if marked or (len(line) >= 4 and 0 in (sum(line[0:8:2]), sum(line[1:8:2]))):
        raise DataError(
            f"{path}, line 1: the text is UTF-16 or UTF-32, not UTF-8: convert the file, for "
            "instance with `iconv -f UTF-16 -t UTF-8`"
        )


def gzip_problem(error: Exception, read: int = 0) -> str:
    """What is wrong with a gzip file of which so many lines could be read."""
    if isinstance(error, EOFError):
        return "the gzip file is cut off: copy it again, whole"
    if read:
        return f"what follows is not gzipped or damaged ({error}): compress the file again"
    return f"not a sound gzip file ({error}): without compression, leave .gz out of its name"


def lines(path: Path, blank: str | None = None) -> Iterator[tuple[int, str]]:
    """Line number (from 1) and text of each line that is not blank, as `text_lines`.

    `blank` are the characters that a line may hold and still be blank; None: all white space.
    """
    for number, line in text_lines(path):
        text = line.rstrip("\r\n")
        if text.strip(blank):
            yield number, text


def json_object(line: str) -> dict[str, Any]:
    """The object of a line. Raises `ValueError` that says why it is none.

    A name that is there twice is refused, where JSON would keep the last.
    """
    try:
        found = json.loads(line, object_pairs_hook=_each_name_once)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"not JSON ({error.msg} at character {error.pos}): {short(line)}"
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"{short(found, 60)} is no object of named fields")
    return found


def _each_name_once(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(fields)
    if len(found) < len(fields):
        counts = Counter(name for name, _ in fields)
        names = ", ".join(repr(name) for name, count in counts.items() if count > 1)
        raise ValueError(f"{names} is there more than once: name each field once")
    return found
