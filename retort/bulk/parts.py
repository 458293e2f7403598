"""Parts: the scores of each block, kept in a folder beside the output until that is written.

A part is a file that is there as a whole or not at all, so a run can be killed at any moment, and
blocks can be scored by many processes and machines that share the folder, or whose folders are
copied into one. Parts belong to a basis: the input, its columns, and what scores. Under another
basis nothing goes on.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

import numpy as np

from retort.bulk.sources import Block
from retort.bulk.survey import DIGEST_BYTES, Facts
from retort.models.arrays import FloatArray
from retort.rows import DataError

BASIS = "basis.json"
# Written before the output takes its place.
FINISHED = "finished"


class OtherBasis(ValueError):
    """The parts that are there belong to another input, bundle or option."""


@dataclass(frozen=True, slots=True)
class Part:
    """A block's facts, and scores and spreads (pairs,) of its pairs; NaN for one that has none.

    `problems` says why it has none, by its index.
    """

    facts: Facts
    score: FloatArray
    spread: FloatArray
    problems: Mapping[int, str] = field(default_factory=dict)


def folder_of(output: Path) -> Path:
    """Where the parts of an output are."""
    return output.with_name(f"{output.name}.partial")


class Parts:
    """The parts in a folder, which `begin` makes if it is not there.

    `basis` has a value that JSON can hold for each thing that scores depend on. Raises `OtherBasis`
    where the folder was begun with another.
    """

    def __init__(self, folder: Path, basis: Mapping[str, Any]) -> None:
        self.folder = folder
        self._basis = json.loads(json.dumps(basis))
        self._mark = b""
        if (folder / BASIS).exists():
            self._check()

    def begin(self) -> None:
        """Make the folder, if no other process has. Raises `OtherBasis` if one has with another."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / BASIS
        draft = path.with_suffix(f".{os.uname().nodename}-{os.getpid()}.draft")
        with draft.open("w", encoding="utf-8") as file:
            json.dump(self._basis, file, indent=1)
            _settle(file)
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        except OSError:
            # A file system without links: then who comes last writes the same.
            if not path.exists():
                draft.replace(path)
        draft.unlink(missing_ok=True)
        self._check()

    def path(self, block: Block) -> Path:
        """The file of a block's part."""
        return self.folder / f"block-{block.number:06d}.npz"

    def write(self, block: Block, part: Part) -> None:
        """Keep a block's part."""
        path = self.path(block)
        draft = path.with_suffix(f".{os.uname().nodename}-{os.getpid()}.draft")
        with draft.open("wb") as file:
            np.savez(
                file,
                basis=np.frombuffer(self._mark, dtype=np.uint8),
                digest=np.frombuffer(part.facts.digest, dtype=np.uint8),
                pairs=part.facts.pairs,
                starts=part.facts.starts,
                keys=part.facts.keys,
                score=part.score,
                spread=part.spread,
                lost=np.array(list(part.problems), dtype=np.int64),
                reasons=np.array(list(part.problems.values()), dtype=np.str_),
            )
            _settle(file)
        draft.replace(path)

    def read(self, block: Block) -> Part | None:
        """A block's part; None if there is none that can be read, as after a loss of power.

        Raises `OtherBasis` for one that was copied here from a folder with another basis.
        """
        try:
            with np.load(self.path(block), allow_pickle=False) as held:
                if held["basis"].tobytes() != self._mark:
                    raise OtherBasis(
                        f"{self.path(block)}: scored by another bundle or backend, or with other "
                        f"options, than {BASIS} says. Remove it, and run its shard again"
                    )
                facts = Facts(held["digest"].tobytes(), held["pairs"], held["starts"], held["keys"])
                problems = zip(held["lost"].tolist(), held["reasons"].tolist(), strict=True)
                return Part(facts, held["score"], held["spread"], dict(problems))
        except OtherBasis:
            raise
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
            return None

    def has(self, block: Block, digest: bytes) -> bool:
        """Whether a block's part is there. Raises `OtherBasis` if it is of other rows."""
        part = self.read(block)
        if part is not None and part.facts.digest != digest:
            raise OtherBasis(
                f"{self.folder}: the input has changed since block {block.number} was scored "
                f"(from row {block.first} on). Put the old input back, or remove the folder to "
                "begin anew"
            )
        return part is not None

    def finish(self, draft: Path, output: Path) -> None:
        """Put the output in its place, and remove the parts.

        Raises `DataError` if another run has put one there.
        """
        for path in (draft, *draft.rglob("*")):
            _settle_path(path)
        refuse_existing(output)
        (self.folder / FINISHED).touch()
        draft.rename(output)
        # Before what it was made of is gone.
        _settle_path(output.parent)
        _remove(self.folder)

    def _check(self) -> None:
        text = (self.folder / BASIS).read_bytes()
        self._mark = blake2b(text, digest_size=DIGEST_BYTES).digest()
        try:
            held = json.loads(text)
        except ValueError:
            raise OtherBasis(
                f"{self.folder / BASIS}: it was cut off, so nobody knows what the parts beside it "
                "are of: remove the folder to begin anew"
            ) from None
        for name, value in self._basis.items():
            if held.get(name) != value:
                raise OtherBasis(
                    f"{self.folder}: begun with another {name}: {_told(held.get(name))} then, "
                    f"{_told(value)} now. Give the same, or remove the folder to begin anew"
                )


def left_over(output: Path) -> bool:
    """Whether the output is there and complete; what a run left that was killed then is removed.

    Raises `DataError` for one that no run has left.
    """
    folder = folder_of(output)
    if not output.exists():
        # Said by a run that was killed before it was so. Another's output is not to pass for it.
        (folder / FINISHED).unlink(missing_ok=True)
        return False
    if not (folder / FINISHED).exists():
        refuse_existing(output)
    _remove(folder)
    return True


def refuse_existing(output: Path) -> None:
    """Raise `DataError` for an output that is there."""
    if output.exists():
        raise DataError(f"{output}: it is there already: remove it, or give another --out")


def _settle(file: IO[Any]) -> None:
    """Let a file be on the disk before it gets its name: power may fail in between."""
    file.flush()
    os.fsync(file.fileno())


def _settle_path(path: Path) -> None:
    """The same of a file or folder that is there; not all file systems do it with folders."""
    with suppress(OSError) if path.is_dir() else nullcontext():
        place = os.open(path, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)


def _remove(folder: Path) -> None:
    """Remove the parts, and last what says that the output is complete, should this be killed."""
    for path in folder.iterdir():
        if path.name != FINISHED:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(folder)


def _told(value: Any) -> str:
    told = value if isinstance(value, str) else json.dumps(value)
    return told if len(told) <= 200 else f"{told[:100]} … {told[-97:]}"
