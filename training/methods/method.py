"""The method: what a way of distilling adds to the one loop.

A method says which teachers it reads from the score store, which heads the student has, what is
trained, and what the loss of a batch is. Stages, batches, precision, checkpoints and resume are the
loop's. A method must draw whatever it draws at random from `Progress` alone, so that a resumed run
takes the same steps as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from torch import Tensor, nn

from retort.training.data.pairs import Pair
from retort.training.nn.batching import Rows, single_units
from retort.training.nn.loop import Progress
from retort.training.nn.student import Head, Student, WithHidden
from retort.training.nn.tokens import TokenBatch, TokenTable
from retort.training.recipes.recipe import Stage, TeacherRef

if TYPE_CHECKING:
    from retort.training.recipes.recipe import DistillRecipe


class MethodError(ValueError):
    """A method cannot do what its recipe asks."""


@dataclass(frozen=True, slots=True)
class Examples:
    """What a batch knows besides its tokens; all on the model's device.

    `rows` (batch,) are rows of the stage's pairs; `targets` (batch, teachers) standardised teacher
    logits; `odds` (batch, teachers) the teachers' log-odds, of which `sigmoid` is a calibrated
    probability; both NaN where a teacher does not score that source. `labels` (batch,) are 0 to 1,
    0 where there is none; `groups` (batch,) number the query.
    """

    rows: Tensor
    targets: Tensor
    odds: Tensor
    labels: Tensor
    groups: Tensor
    progress: Progress

    def only(self, chosen: Tensor) -> Examples:
        """The examples where `chosen` (batch,) is true."""
        return Examples(
            self.rows[chosen], self.targets[chosen], self.odds[chosen], self.labels[chosen],
            self.groups[chosen], self.progress,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Material:
    """A stage before it begins: its pairs, where each came from, and their tokens."""

    pairs: Sequence[Pair]
    sources: Sequence[str]
    tokens: TokenTable
    stage: Stage
    tokenizer_path: Path
    seed: int
    folder: Path


@dataclass(frozen=True)
class Method:
    """The base of all methods; `teachers` are those whose logits are read from the store."""

    teachers: tuple[TeacherRef, ...]

    def heads(self) -> list[Head]:
        """The student's head bank, golden head first."""
        return [Head("golden")]

    def asked(self, stage: Stage) -> tuple[TeacherRef, ...]:
        """The teachers whose logits this stage reads."""
        return self.teachers

    def module(self, student: Student) -> nn.Module:
        """What is trained; called with input ids, attention mask and token types of a batch."""
        return WithHidden(student)

    def prepare(self, material: Material) -> Self:
        """Called once a stage; returns a method that has what it needs of the stage's pairs."""
        return self

    def divisions(self, material: Material) -> Rows | None:
        """A number for each row; a batch never mixes numbers. None: all may meet."""
        return None

    def units(self, material: Material) -> Sequence[Rows]:
        """Rows that stay together in a batch."""
        return single_units(len(material.pairs))

    def loss(self, outputs: Any, batch: TokenBatch, examples: Examples, stage: Stage) -> Tensor:
        """The loss of a batch, a scalar; `outputs` is what the module gave."""
        raise NotImplementedError

    def finish(
        self, student: Student, recipe: DistillRecipe, meta: dict[str, object], tokenizer_path: Path
    ) -> None:
        """Called once the student is saved: whatever else the method leaves beside it."""
