"""A teacher's hidden states: its `[CLS]` vectors, kept on disk and matched by the student.

One score says little of a pair; the vector it was read from says more. Patient knowledge
distillation (Sun et al., EMNLP 2019, equation 7) pulls the student's `[CLS]` states towards the
teacher's. Here the last one alone is matched, and the squared error is divided by the variance of
the teacher's vectors rather than by their lengths, so that 1 is what a constant would reach, as it
is for a standardised logit.

Like scores they are computed once: float16, beside the scores of the same identity.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retort.training.labels.store import Keys, StoreError

Vectors = NDArray[np.float16]

VARIANCE_SAMPLE = 20_000


class HiddenStates:
    """The `[CLS]` vectors of one teacher, in parts of (keys, vectors) under `folder`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        folder.mkdir(parents=True, exist_ok=True)
        self._places: dict[int, tuple[int, int]] = {}
        self._parts: list[Vectors] = []
        for path in sorted(folder.glob("part-*.keys.npy")):
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

    def add(self, keys: Keys, vectors: NDArray[np.float32]) -> None:
        """Keep vectors (pairs, width); they are on disk when this returns."""
        path = self.folder / f"part-{len(self._parts):05}.keys.npy"
        np.save(_vectors_path(path), vectors.astype(np.float16))
        # The keys come last: a part without them was cut short, and is written over.
        temporary = path.with_suffix(".tmp.npy")
        np.save(temporary, keys)
        temporary.replace(path)
        self._open(path)

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


def _vectors_path(keys_path: Path) -> Path:
    return keys_path.with_name(keys_path.name.replace(".keys.npy", ".npy"))


def variance(vectors: Tensor) -> float:
    """Mean over dimensions of the variance over pairs; `vectors` is (pairs, width)."""
    return float(vectors[:VARIANCE_SAMPLE].float().var(0).mean())


def hidden_loss(states: Tensor, targets: Tensor, scale: float) -> Tensor:
    """Squared error of the `[CLS]` state over `scale`, the variance of the teacher's.

    `states` is (batch, sequence, width), `targets` (batch, width). Raises `ValueError` if student
    and teacher are not equally wide.
    """
    if states.shape[-1] != targets.shape[-1]:
        raise ValueError(
            f"the student is {states.shape[-1]} wide and the teacher {targets.shape[-1]}: hidden "
            "states are matched between equal widths; set the stage's hidden to 0"
        )
    return (states[:, 0].float() - targets.float()).pow(2).mean() / torch.as_tensor(scale)
