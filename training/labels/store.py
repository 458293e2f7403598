"""The score store: what every teacher says, on disk, computed once and looked up by content.

One folder per teacher, named by its identity, holds parquet parts of (pair key, logit) and
`teacher.json` with its scale: mean and deviation over a fixed sample, by which students learn
standardised logits. A part is written whole or not at all, so a killed labelling run loses at most
the block it was in. It is named by the keys in it, so that several processes may write into one
store, or each into its own, and it says which engine computed it.

Beside the scores, `hidden` holds a cross-encoder's `[CLS]` vectors, float16, where stages match
them. One score says little of a pair; the vector it was read from says more. Patient knowledge
distillation (Sun et al., EMNLP 2019, equation 7) pulls the student's `[CLS]` states towards the
teacher's. Here the last one alone is matched, and the squared error is divided by the variance of
the teacher's vectors rather than by their lengths, so that 1 is what a constant would reach, as it
is for a standardised logit.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from retort.failures import reading
from retort.training.data.pairs import Pair
from retort.training.teachers.scoring.constant import is_constant

Keys = NDArray[np.uint64]
Floats = NDArray[np.float32]
Vectors = NDArray[np.float16]

PARTS = "part-*.parquet"
HIDDEN_KEYS = "part-*.keys.npy"
UNFINISHED = "*.tmp"  # what a killed process left
SCALE_FILE = "teacher.json"
HIDDEN_FOLDER = "hidden"  # of a teacher's folder: its `[CLS]` vectors
ENGINE = "engine"  # in the metadata of a part
SCALE_PAIRS = 20_000
VARIANCE_SAMPLE = 20_000


class StoreError(ValueError):
    """A score or a hidden state that training needs is not in the store."""


@dataclass(frozen=True, slots=True)
class Scale:
    """A teacher's mean and standard deviation, and over how many pairs they were taken."""

    mean: float
    deviation: float
    pairs: int

    def standardise(self, logits: Floats) -> Floats:
        """Logits (pairs,) on a scale of mean 0 and deviation 1."""
        return ((logits - self.mean) / self.deviation).astype(np.float32)


def pair_keys(pairs: Sequence[Pair]) -> Keys:
    """Content keys (pairs,)."""
    return np.fromiter((pair.key for pair in pairs), dtype=np.uint64, count=len(pairs))


class TeacherScores:
    """One teacher's logits by pair; `engines` are those that computed them, "" where unknown."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        folder.mkdir(parents=True, exist_ok=True)
        tables = [_read_part(path) for path in sorted(folder.glob(PARTS))]
        self.engines = {_engine(table) for table in tables}
        self._keys: Keys = np.empty(0, np.uint64)
        self._values: Floats = np.empty(0, np.float32)
        self._merge(
            [table.column("key").to_numpy() for table in tables],
            [table.column("logit").to_numpy() for table in tables],
        )

    def _merge(self, keys: Sequence[Keys], values: Sequence[Floats]) -> None:
        new, first = np.unique(np.concatenate([self._keys[:0], *keys]), return_index=True)
        logits = np.concatenate([self._values[:0], *values])[first]
        unknown = np.isnan(self.lookup(new))
        # Put in where they belong: to sort millions again for each block takes longer than a GPU.
        places = np.searchsorted(self._keys, new[unknown])
        self._keys = np.insert(self._keys, places, new[unknown])
        self._values = np.insert(self._values, places, logits[unknown])

    def __len__(self) -> int:
        return len(self._keys)

    def lookup(self, keys: Keys) -> Floats:
        """Logits (pairs,), NaN where there is none yet."""
        found = np.full(len(keys), np.nan, dtype=np.float32)
        if len(self._keys):
            places = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
            hit = self._keys[places] == keys
            found[hit] = self._values[places[hit]]
        return found

    def add(self, keys: Keys, scores: ArrayLike, engine: str = "") -> None:
        """Keep scores that `engine` computed; they are on disk when this returns."""
        logits = np.asarray(scores, dtype=np.float32)
        if not np.isfinite(logits).all():
            raise StoreError(f"{self.name}: a logit that is not finite; nothing was kept")
        table = pa.table({"key": keys, "logit": logits}, metadata={ENGINE: engine})
        with whole(self.folder / f"part-{_digest(keys)}.parquet") as temporary:
            pq.write_table(table, temporary, compression="zstd")
        self.engines.add(engine)
        self._merge([keys], [logits])

    def take_over(self, other: Path) -> int:
        """Keep what `other`, this teacher's folder in another store, has more; how many scores.

        A part of which nothing is known here is taken as it is, byte for byte.
        """
        before = len(self)
        for path in sorted(other.glob(PARTS)):
            table = _read_part(path)
            keys, logits = (table.column(name).to_numpy() for name in ("key", "logit"))
            new = np.isnan(self.lookup(keys))
            if new.all():
                with whole(self.folder / path.name) as temporary:
                    shutil.copyfile(path, temporary)
                self.engines.add(_engine(table))
                self._merge([keys], [logits])
            elif new.any():
                self.add(keys[new], logits[new], _engine(table))
        return len(self) - before

    def calibrate(self, keys: Keys) -> Scale:
        """Fix the scale on the first `SCALE_PAIRS` of these pairs; a scale once fixed stays.

        Raises `StoreError` for scores that differ by no more than rounding.
        """
        path = self.folder / SCALE_FILE
        if not path.is_file():
            sample = self.lookup(keys[:SCALE_PAIRS])
            sample = sample[np.isfinite(sample)]
            if len(sample) < 2:
                raise StoreError(f"{self.name}: {len(sample)} scores do not make a scale")
            if is_constant(sample, " ".join(self.engines)):
                raise StoreError(
                    f"{self.name}: {len(sample)} scores do not make a scale: all are "
                    f"{float(sample.mean()):.4g}, up to rounding ({float(sample.std()):.1e}): it "
                    "has collapsed, or does not read its pairs; check its weights and tokenizer"
                )
            scale = Scale(float(sample.mean()), float(sample.std()), len(sample))
            with whole(path) as temporary:
                text = json.dumps({"name": self.name, **asdict(scale)}, indent=1)
                temporary.write_text(text + "\n")
        return self.scale()

    def scale(self) -> Scale:
        """Raises `StoreError` before the first `calibrate`."""
        path = self.folder / SCALE_FILE
        if not path.is_file():
            raise StoreError(f"{self.name}: no scale yet; label a table with `retort label` first")
        with reading(path, "a teacher's scale"):
            facts = json.loads(path.read_text())
            return Scale(facts["mean"], facts["deviation"], facts["pairs"])

    def standardised(self, pairs: Sequence[Pair]) -> Floats:
        """Standardised logits (pairs,). Raises as `logits` does."""
        return self.scale().standardise(self.logits(pairs))

    def logits(self, pairs: Sequence[Pair], *, partial: bool = False) -> Floats:
        """Logits (pairs,), as the teacher gave them.

        Raises `StoreError` if a pair has no score; with `partial` that one is NaN.
        """
        logits = self.lookup(pair_keys(pairs))
        missing = int(np.isnan(logits).sum())
        if missing and not partial:
            raise StoreError(
                f"{self.name}: {missing} of {len(pairs)} pairs have no score; run `retort label` "
                "with this recipe first"
            )
        return logits


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write what is at `path` afterwards, whole or not at all.

    No two processes get the same place; who is last at the same `path` has it.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _digest(keys: Keys) -> str:
    """What tells parts apart: the same keys in the same order are the same part."""
    return hashlib.blake2b(np.ascontiguousarray(keys).tobytes(), digest_size=8).hexdigest()


def _engine(table: pa.Table) -> str:
    found = (table.schema.metadata or {}).get(ENGINE.encode(), b"")
    return str(found, "utf-8")


class ScoreStore:
    """All teachers' scores under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def teacher(self, name: str, identity: str) -> TeacherScores:
        """The scores of the teacher with this identity."""
        return TeacherScores(self.root / identity, name)

    def has(self, identity: str) -> bool:
        """Whether there are scores under this identity."""
        return any((self.root / identity).glob(PARTS))

    def adopt(self, identity: str, former: str) -> None:
        """Keep the scores of `former` under `identity` from now on."""
        try:
            (self.root / former).rename(self.root / identity)
        except FileNotFoundError:
            # Another process has done it.
            if not self.has(identity):
                raise
        except OSError:
            if self.has(identity):
                raise
            shutil.rmtree(self.root / identity)
            (self.root / former).rename(self.root / identity)


class HiddenStates:
    """The `[CLS]` vectors of one teacher, in parts of (keys, vectors) under `folder`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        folder.mkdir(parents=True, exist_ok=True)
        self._places: dict[int, tuple[int, int]] = {}
        self._parts: list[Vectors] = []
        for path in sorted(folder.glob(HIDDEN_KEYS)):
            self._open(path)

    def _open(self, keys_path: Path) -> None:
        vectors = np.load(_vectors_path(keys_path), mmap_mode="r")
        part = len(self._parts)
        self._parts.append(vectors)
        for row, key in enumerate(np.load(keys_path)):
            self._places[int(key)] = (part, row)

    def __len__(self) -> int:
        return len(self._places)

    def missing(self, keys: Keys) -> NDArray[np.bool_]:
        """Which pairs have no vector yet, (pairs,)."""
        return np.array([int(key) not in self._places for key in keys], dtype=bool)

    def add(self, keys: Keys, vectors: NDArray[np.float32] | Vectors) -> None:
        """Keep vectors (pairs, width); they are on disk when this returns."""
        path = self.folder / f"part-{_digest(keys)}.keys.npy"
        # The keys come last: a part without them was cut short, and is written over.
        for place, array in ((_vectors_path(path), vectors.astype(np.float16)), (path, keys)):
            with whole(place) as temporary, temporary.open("wb") as file:
                np.save(file, array)
        self._open(path)

    def take_over(self, other: Path) -> None:
        """Keep what `other`, this folder in another store, has more."""
        for path in sorted(other.glob(HIDDEN_KEYS)):
            with reading(path, "keys of hidden states"):
                keys, vectors = np.load(path), np.load(_vectors_path(path), mmap_mode="r")
            new = self.missing(keys)
            if new.any():
                self.add(keys[new], vectors[new])

    def lookup(self, keys: Keys) -> Tensor:
        """Vectors (pairs, width), float16. Raises `StoreError` if any pair has none."""
        lost = int(self.missing(keys).sum())
        if lost:
            raise StoreError(
                f"{self.name}: {lost} of {len(keys)} pairs have no hidden state; say "
                "`hidden: true` of this teacher and run `retort label` with this recipe first"
            )
        found = np.empty((len(keys), self._parts[0].shape[1]), dtype=np.float16)
        for row, key in enumerate(keys):
            part, place = self._places[int(key)]
            found[row] = self._parts[part][place]
        return torch.from_numpy(found)


def _read_part(path: Path) -> pa.Table:
    with reading(path, "a part of the score store: delete it, and label again"):
        return pq.read_table(path, columns=["key", "logit"])


def _vectors_path(keys_path: Path) -> Path:
    return keys_path.with_name(keys_path.name.replace(".keys.npy", ".npy"))


def variance(vectors: Tensor) -> float:
    """Mean over dimensions of the variance over pairs; `vectors` is (pairs, width)."""
    return float(vectors[:VARIANCE_SAMPLE].float().var(0).mean())


def hidden_loss(states: Tensor, targets: Tensor, scale: float) -> Tensor:
    """Squared error of the `[CLS]` state over `scale`, the variance of the teacher's.

    `states` and `targets` are (batch, width). Raises `ValueError` if student
    and teacher are not equally wide.
    """
    if states.shape[-1] != targets.shape[-1]:
        raise ValueError(
            f"the student is {states.shape[-1]} wide and the teacher {targets.shape[-1]}: hidden "
            "states are matched between equal widths; set the stage's hidden to 0"
        )
    return (states.float() - targets.float()).pow(2).mean() / torch.as_tensor(scale)
