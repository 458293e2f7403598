"""MT-DNN-KD: one student of several tasks, each with an ensemble (Liu et al., 1904.09482).

All tasks share the encoder and each has a head of its own. A batch is of one task; the batches of
all tasks are shuffled together, so that a task is seen as often as it has pairs (Algorithm 1 of
MT-DNN). With Q the mean of the class probabilities of a task's teachers,

    Q      = avg(Q^1, …, Q^K)
    L_soft = - sum_c Q(c|X) log P(c|X)
    L_hard = - sum_c 1(X, c) log P(c|X)
    L_t    = (L_hard + L_soft) / 2     where a task has teachers, else L_hard

without a temperature and at equal weights: a stage's `alpha` does not count, the paper saw no gain
from other weights. Pairs without a label have L_soft alone. `tasks.py` has the loss of each kind.

The paper's student is as large as its teachers. Ours is whatever the recipe cuts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from pydantic import model_validator
from torch import Tensor

from retort.models.encoding import Truncation
from retort.training.labels.targets import scored_by
from retort.training.methods.headed import Options
from retort.training.methods.method import Examples, Material, Method, MethodError
from retort.training.methods.tasks import Task, check_tasks, pair_loss, ranking_loss, task_of
from retort.training.nn.batching import Rows, single_units
from retort.training.nn.checkpoint import save_student
from retort.training.nn.groups import query_units
from retort.training.nn.student import Head, Student
from retort.training.nn.tokens import TokenBatch
from retort.training.recipes.recipe import Stage

if TYPE_CHECKING:
    from retort.training.recipes.recipe import DistillRecipe


class MtDnnOptions(Options):
    """The tasks; without any, all pairs are one classification."""

    tasks: tuple[Task, ...] = (Task(name="all"),)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not self.tasks:
            raise ValueError("tasks: give at least one, or leave the field out")
        check_tasks(self.tasks)
        return self


@dataclass(frozen=True)
class MtDnnKd(Method):
    """A head a task, a task a batch.

    `numbers` (pairs,) says which task a row is of, `labelled` (pairs,) whether it has a label;
    both are there once a stage is prepared.
    """

    tasks: tuple[Task, ...] = (Task(name="all"),)
    numbers: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long), compare=False)
    labelled: Tensor = field(
        default_factory=lambda: torch.empty(0, dtype=torch.bool), compare=False
    )

    def heads(self) -> list[Head]:
        """One head a task. None is a soft head: a task's head learns from labels and ensemble."""
        return [Head(f"task-{task.name}") for task in self.tasks]

    def prepare(self, material: Material) -> Self:
        """Find each row's task. Raises `MethodError` for rows of none, and for rows that have
        neither a label nor a teacher."""
        numbers = self.divisions(material)
        labelled = np.array([pair.label is not None for pair in material.pairs])
        taught = np.zeros(len(material.pairs), dtype=bool)
        for teacher in self.teachers:
            taught |= scored_by(teacher, material.sources)
        for number, task in enumerate(self.tasks):
            lost = int(((numbers == number) & ~labelled & ~taught).sum())
            if lost:
                raise MethodError(
                    f"task {task.name}: {lost} pairs have no label and no teacher: give the task "
                    "a teacher with `sources`, or a stage whose alpha is below 1 (it reads "
                    "labelled pairs alone)"
                )
        return dataclasses.replace(
            self, numbers=torch.from_numpy(numbers), labelled=torch.from_numpy(labelled)
        )

    def divisions(self, material: Material) -> Rows:
        """The number of each row's task, (pairs,). Raises `MethodError` for a row of none."""
        known = {source: task_of(self.tasks, source) for source in set(material.sources)}
        strange = sorted(source for source, number in known.items() if number is None)
        if strange:
            raise MethodError(
                f"mt-dnn-kd: {', '.join(strange)} in {material.stage.table} is of no task: add it "
                "to a task's sources under options.tasks, or name the stage's sources"
            )
        return np.array([known[source] for source in material.sources], dtype=np.int64)

    def units(self, material: Material) -> Sequence[Rows]:
        """The passages of a query together in ranking tasks, single rows in the others."""
        numbers = self.divisions(material)
        units: list[Rows] = []
        for number, task in enumerate(self.tasks):
            rows = np.flatnonzero(numbers == number)
            if task.kind == "ranking":
                own = query_units([material.pairs[row] for row in rows.tolist()], mixed=False)
            else:
                own = single_units(len(rows))
            units += [rows[unit] for unit in own]
        return units

    def loss(self, outputs: Any, batch: TokenBatch, examples: Examples, stage: Stage) -> Tensor:
        """The loss of the batch's task; `outputs[0]` is (batch, tasks)."""
        rows = examples.rows.cpu()
        number = int(self.numbers[rows[0]])
        task = self.tasks[number]
        scores = outputs[0].float()[:, number]
        labelled = self.labelled[rows].to(scores.device)
        if task.kind == "ranking":
            return ranking_loss(scores, examples.labels, examples.odds, labelled, examples.groups)
        return pair_loss(task.kind, scores, examples.labels, examples.odds, labelled)

    def finish(
        self, student: Student, recipe: DistillRecipe, meta: dict[str, object], tokenizer_path: Path
    ) -> None:
        """Leave `student-<task>` for each task, and the first task's student as `student`."""
        length = recipe.stages[-1].length
        truncation = Truncation(length.max_length, length.max_query_tokens)
        for number, task in enumerate(self.tasks):
            single = one_head(student, number)
            own = {**meta, "task": task.name}
            for name in [f"student-{task.name}", *(["student"] if number == 0 else [])]:
                save_student(recipe.out / name, single, tokenizer_path, truncation, own)


def one_head(student: Student, number: int) -> Student:
    """A copy of the student that has this head alone, as its golden head."""
    single = Student(student.config, [Head("golden", student.heads[number].kind)])
    kept = {}
    for name, value in student.state_dict().items():
        if name in {"gain", "shift"}:
            kept[name] = value[number : number + 1]
        elif name.startswith(f"head_bank.{number}."):
            kept[name.replace(f"head_bank.{number}.", "head_bank.0.", 1)] = value
        elif not name.startswith("head_bank."):
            kept[name] = value
    single.load_state_dict(kept)
    return single.eval()


def build(recipe: DistillRecipe) -> MtDnnKd:
    """Options: tasks. Tasks without teachers learn from labels, so teachers may be none at all."""
    options = MtDnnOptions.model_validate(recipe.options)
    return MtDnnKd(tuple(recipe.teachers), tasks=options.tasks)
