"""The survey: all rows are read once before any is scored.

So a bad row, or a query whose rows do not lie next to each other, is known in minutes and not after
a night, what is left is known too, and an input that has changed is noticed before anything is
mixed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from retort.bulk.sources import Block, Row, Source
from retort.rows import BadRows, DataError

DIGEST_BYTES = 16
# So many runs are looked through at once for a query that comes back. Each bucket of them is an
# open file, so of more than 256 million runs a bucket has more.
RUNS_AT_ONCE = 1_000_000
RUN_BYTES = 32
MOST_BUCKETS = 256

# Key, block and row of each (runs, 4); a key is two numbers.
Runs = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a block holds, without its texts.

    `digest` is of everything that is scored. `pairs` (rows,) says how many pairs each row is.
    `starts` (runs,) are the rows with which a run of one query begins, `keys` (runs, 2) say which.
    """

    digest: bytes
    pairs: NDArray[np.int32]
    starts: NDArray[np.int32]
    keys: NDArray[np.uint64]

    @property
    def count(self) -> int:
        """All pairs."""
        return int(self.pairs.sum())


def facts_of(block: Block, rows: Sequence[Row | None]) -> Facts:
    """The facts of a block's rows."""
    content = blake2b(digest_size=DIGEST_BYTES)
    starts: list[int] = []
    keys: list[bytes] = []
    last: str | None = None
    for number, row in enumerate(rows):
        if row is None:
            content.update(b"\0\0")
            continue
        texts = "\0".join((row.group or "", row.query, *row.passages))
        content.update(f"{len(row.passages)}\0{texts}\0\0".encode(errors="surrogatepass"))
        if row.group is None or row.group != last:
            # A list is a query of its own, wherever else its text occurs.
            name = row.group if row.group is not None else f"{block.number} {number}"
            starts.append(number)
            keys.append(_key(name))
        last = row.group
    return Facts(
        content.digest(),
        np.array([len(row.passages) if row else 0 for row in rows], dtype=np.int32),
        np.array(starts, dtype=np.int32),
        np.frombuffer(b"".join(keys), dtype="<u8").reshape(-1, 2),
    )


@dataclass(frozen=True, slots=True)
class Survey:
    """What the blocks that were surveyed hold: by number a digest, and how many pairs."""

    digests: dict[int, bytes]
    pairs: dict[int, int]
    bad_rows: int


def survey(
    source: Source,
    blocks: Sequence[Block],
    bad: BadRows,
    *,
    grouped: bool,
    folder: Path,
    advance: Callable[[int], None],
) -> Survey:
    """Read the blocks, which follow one another; `grouped` says that each query's rows have to.

    `folder`, which is there, is for a temporary file. Raises `DataError` for a bad row, as `bad`
    says, and for a query that comes back.
    """
    found = Survey({}, {}, 0)
    with tempfile.TemporaryFile(dir=folder) as file:
        last: Any = None
        for block, rows in source.read(blocks, bad):
            facts = facts_of(block, rows)
            found.digests[block.number], found.pairs[block.number] = facts.digest, facts.count
            # A run goes on across blocks.
            first = int(len(facts.keys) > 0 and last == facts.keys[0].tolist())
            if grouped and len(facts.keys) > first:
                runs = np.empty((len(facts.keys) - first, 4), dtype="<u8")
                runs[:, :2] = facts.keys[first:]
                runs[:, 2], runs[:, 3] = block.number, facts.starts[first:]
                runs.tofile(file)
            last = facts.keys[-1].tolist() if len(facts.keys) else last
            advance(1)
        if grouped:
            _refuse_scattered(source, file, folder)
    return Survey(found.digests, found.pairs, bad.count)


def _key(name: str) -> bytes:
    return blake2b(name.encode(errors="surrogatepass"), digest_size=DIGEST_BYTES).digest()


def _refuse_scattered(source: Source, file: IO[bytes], folder: Path) -> None:
    """Raise `DataError` for the first run of a query that has had one.

    Runs are looked through a bucket of their keys at a time, so memory does not grow with them.
    """
    worst: tuple[Any, Any] | None = None
    for bucket in _buckets(file, folder):
        runs = bucket[np.lexsort(bucket.T[::-1])]
        for place in np.flatnonzero((runs[1:, :2] == runs[:-1, :2]).all(axis=1)):
            before, again = runs[place].tolist(), runs[place + 1].tolist()
            if worst is None or again[2:] < worst[1][2:]:
                worst = before, again
    if worst is None:
        return
    before, again = (source.place(source.blocks[block], row) for _, _, block, row in worst)
    raise DataError(
        f"{again}: its query had rows before, from {before.unit} {before.number} "
        f"{'' if before.path == again.path else f'of {before.path} '}on, and another query's are "
        "between them. Rows of a query have to lie next to each other to be ranked: sort the input "
        "by its query, or pass --no-rank to get scores alone"
    )


def _buckets(file: IO[bytes], folder: Path) -> Iterator[Runs]:
    """All runs by their keys: those of one key together. Each is read twice, however many."""
    count = min(MOST_BUCKETS, 1 + file.tell() // RUN_BYTES // RUNS_AT_ONCE)
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in range(count)]
        for runs in _chunks(file):
            bucket = (runs[:, 0] % np.uint64(count)).astype(np.intp)
            runs = runs[np.argsort(bucket, kind="stable")]
            bounds = np.cumsum(np.bincount(bucket, minlength=count))[:-1]
            for part, own in zip(np.split(runs, bounds), files, strict=True):
                part.tofile(own)
        for own in files:
            yield np.concatenate([np.empty((0, 4), dtype="<u8"), *_chunks(own)])


def _chunks(file: IO[bytes]) -> Iterator[Runs]:
    file.flush()
    file.seek(0)
    while len(runs := np.fromfile(file, dtype="<u8", count=4 * RUNS_AT_ONCE)):
        yield runs.reshape(-1, 4)
