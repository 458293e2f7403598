"""Text files as sources: a row is a line, and a block the lines between two bytes."""

from __future__ import annotations

import codecs
import gzip
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from retort.bulk.output import Added, Ranked
from retort.bulk.sources import BLOCK_BYTES, BLOCK_ROWS, Block, Place, Row
from retort.fields import OwnField
from retort.models.arrays import IntArray
from retort.rows import (
    BadRows,
    ColumnsFault,
    DataError,
    check_width,
    gzip_problem,
    open_bytes,
)

READ_BYTES = 4 * 2**20


class TextFile(ABC):
    """A file of lines, gzipped or not; blank lines are left out."""

    # What a line may hold and still be blank.
    _blank = b" \t\r\n\v\f"

    def __init__(self, path: Path, columns: Mapping[OwnField, str], added: Added) -> None:
        self.path = path
        self.columns = columns
        self.added = added
        with _sound(path), open_bytes(path) as file:
            first = file.readline()
        check_width(path, first)
        self._head = first if first and self._is_head(_text(first)) else b""

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, in order. Reads the file once."""
        return tuple(self._cut())

    @property
    def identity(self) -> Mapping[str, Any]:
        """Its size and its columns."""
        return {"input": [self.path.stat().st_size], "columns": dict(self.columns)}

    def read(
        self, blocks: Iterable[Block], bad: BadRows
    ) -> Iterator[tuple[Block, list[Row | None]]]:
        """The rows of each of the blocks, which ascend; None for one that is bad or blank."""
        for block, lines in self._lines(blocks):
            yield (
                block,
                [
                    self._row(line, block.first + position, bad)
                    for position, line in enumerate(lines)
                ],
            )

    def place(self, block: Block, row: int) -> Place:
        """The line at that position of a block."""
        return Place(self.path, block.first + row, "line")

    def write(self, target: Path, ranked: Iterable[Ranked]) -> None:
        """Write the lines with what is added to each."""
        with ExitStack() as stack:
            out: IO[bytes] = stack.enter_context(target.open("wb"))
            if target.name.lower().endswith(".gz"):
                # Without a name and a time, so that the same lines are the same bytes.
                packed = gzip.GzipFile("", "wb", fileobj=out, mtime=0)
                stack.callback(packed.close)
                out = cast("IO[bytes]", packed)
            if self._head:
                body, end = _parted(self._head)
                out.write(self._with_names(body) + end)
            for (_, lines), found in zip(self._lines(self.blocks), ranked, strict=True):
                stop = 0
                for line, count in zip(lines, found.pairs.tolist(), strict=True):
                    start, stop = stop, stop + count
                    if found.kept[start:stop].any():
                        body, end = _parted(line)
                        out.write(self._with_results(body, found, start, stop) + end)

    @abstractmethod
    def _is_head(self, line: str) -> bool:
        """Whether the first line names columns. Raises `DataError` if they are not as needed."""

    @abstractmethod
    def _parse(self, line: str) -> Row:
        """The row of a line. Raises `ValueError` that says what is wrong with it."""

    @abstractmethod
    def _with_names(self, head: bytes) -> bytes:
        """The first line with the names of what is added."""

    @abstractmethod
    def _with_results(self, line: bytes, found: Ranked, start: int, stop: int) -> bytes:
        """A line with the results of its pairs, `start` to `stop`."""

    def _row(self, line: bytes, number: int, bad: BadRows) -> Row | None:
        if not line.strip(self._blank):
            return None
        try:
            return self._parse(_text(line))
        except ColumnsFault as error:
            raise ColumnsFault(f"{self.path}, line {number}: {error}") from error
        except UnicodeDecodeError as error:
            problem = f"byte {error.object[error.start]:#04x} is not UTF-8 ({error.reason})"
        except ValueError as error:
            problem = str(error)
        bad.refuse(self.path, number, problem)
        return None

    def _lines(self, blocks: Iterable[Block]) -> Iterator[tuple[Block, list[bytes]]]:
        """The lines of each of the blocks, with their ends."""
        with _sound(self.path), open_bytes(self.path) as file:
            at = 0
            for block in blocks:
                if block.start != at:
                    file.seek(block.start)
                *lines, rest = file.read(block.stop - block.start).split(b"\n")
                # Not by `splitlines`, to which a carriage return alone ends a line too.
                yield block, [*(line + b"\n" for line in lines), *([rest] if rest else [])]
                at = block.stop

    def _cut(self) -> Iterator[Block]:
        """Blocks of whole lines, each of as many as one may have."""
        number = lines = 0
        start = last = len(self._head)
        first = 2 if self._head else 1
        for ends in self._line_ends(start):
            taken = 0
            while True:
                full = int(np.searchsorted(ends, start + BLOCK_BYTES)) + 1
                stop = min(taken + BLOCK_ROWS - lines, full)
                if stop > len(ends):
                    lines += len(ends) - taken
                    break
                yield Block(number, start, int(ends[stop - 1]), first)
                first += lines + stop - taken
                number, lines, start, taken = number + 1, 0, int(ends[stop - 1]), stop
            last = int(ends[-1]) if len(ends) else last
        if lines:
            yield Block(number, start, last, first)

    def _line_ends(self, start: int) -> Iterator[IntArray]:
        """Where lines end, in bytes, beginning with the line at `start`."""
        with _sound(self.path), open_bytes(self.path) as file:
            file.seek(start)
            at, ended = start, start
            while part := file.read(READ_BYTES):
                ends = np.flatnonzero(np.frombuffer(part, dtype=np.uint8) == ord("\n")) + at + 1
                at += len(part)
                ended = int(ends[-1]) if len(ends) else ended
                yield ends
            yield np.array([at] if at > ended else [], dtype=np.int64)


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    """Raise `DataError` for a gzip file that is not sound."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: {gzip_problem(error)}") from error


def _text(line: bytes) -> str:
    return line.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n").decode()


def _parted(line: bytes) -> tuple[bytes, bytes]:
    """A line and its end; the last one of a file gets one."""
    body = line.rstrip(b"\r\n")
    return body, line[len(body) :] or b"\n"
