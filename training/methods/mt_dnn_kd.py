"""MT-DNN-KD: one student of several tasks, each with an ensemble (Liu et al., 1904.09482).

All tasks share the encoder and each has a head of its own. A batch is of one task; the batches of
all tasks are shuffled together, so that a task is seen as often as it has pairs (Algorithm 1 of
MT-DNN). With Q the mean of the class probabilities of a task's teachers,

    Q      = avg(Q^1, …, Q^K)
    L_soft = - sum_c Q(c|X) log P(c|X)
    L_hard = - sum_c 1(X, c) log P(c|X)
    L_t    = (L_hard + L_soft) / 2     where a task has teachers, else L_hard

without a temperature and at equal weights: a stage's `alpha` does not count, the paper saw no gain
from other weights. Pairs without a label have L_soft alone.

With z = w_t^T x, x the hidden state of `[CLS]` and w_t the task's own head, a task's kind gives
(MT-DNN, Liu et al., ACL 2019)

    classification  P = sigmoid(z)                 cross-entropy
    ranking         P = softmax of z over the passages of a query, gamma = 1
                    - log P(A+)                    hard;  - sum_A Q(A) log P(A)  soft
    similarity      S = sigmoid(z)                 (S - target)^2

Q is the mean of `sigmoid(odds)` for classification and similarity, of the softmax of the odds over
the query's passages for ranking (ours: the paper gives a ranking task no soft form). The paper's
similarity is z itself; here a score is a probability. Its pairwise classification has an answer
module over the tokens (SAN); ours is a linear map like the rest.

The paper's student is as large as its teachers. Ours is whatever the recipe cuts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from retort.training.data.pairs import RIGHT
from retort.training.labels.targets import scored_by
from retort.training.methods.method import Examples, Material, Method, MethodError
from retort.training.nn.batching import Rows, TokenBatch, query_units, single_units
from retort.training.nn.losses import listwise, log_softmax_within
from retort.training.nn.student import Head, Student, one_head, save_student
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.methods import MtDnnOptions, Task
from retort.training.recipes.parts.stage import Stage


@dataclass(frozen=True)
class MtDnnKd(Method):
    """One head per task, one task per batch.

    `numbers` (pairs,) says which task a row is of, `labelled` (pairs,) whether it has a label;
    both are there once a stage is prepared.
    """

    options: MtDnnOptions = field(default_factory=MtDnnOptions)
    numbers: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long), compare=False)
    labelled: Tensor = field(
        default_factory=lambda: torch.empty(0, dtype=torch.bool), compare=False
    )

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks, in the order of their heads."""
        return self.options.tasks

    def heads(self) -> list[Head]:
        """One per task. None is a soft head: a task's head learns from labels and ensemble."""
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
                f"mt-dnn-kd: {', '.join(strange)} in {material.stage.table} belongs to no task: "
                "add it to a task's sources under options.tasks, or name the stage's sources"
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
        truncation = recipe.stages[-1].length.truncation
        for number, task in enumerate(self.tasks):
            single = one_head(student, number)
            own = {**meta, "task": task.name}
            for name in [f"student-{task.name}", *(["student"] if number == 0 else [])]:
                save_student(recipe.out / name, single, tokenizer_path, truncation, own)


def task_of(tasks: Sequence[Task], source: str) -> int | None:
    """The number of the task that a source belongs to."""
    for number, task in enumerate(tasks):
        if task.sources is None or source in task.sources:
            return number
    return None


def pair_loss(kind: str, scores: Tensor, labels: Tensor, odds: Tensor, labelled: Tensor) -> Tensor:
    """The mean over pairs of the average of hard and soft loss; classification and similarity.

    `scores`, `labels` and `labelled` are (batch,), `odds` (batch, teachers) with NaN where a
    teacher says nothing. A pair without teachers has its hard loss alone, one without a label its
    soft loss alone.
    """
    taught = ~odds.isnan().all(dim=1)
    mean = torch.sigmoid(odds).nanmean(dim=1)
    soft = _distances(kind, scores, torch.where(taught, mean, torch.zeros_like(scores)))
    hard = _distances(kind, scores, labels)
    weights = labelled.to(scores.dtype) + taught.to(scores.dtype)
    total = hard * labelled + soft * taught
    return (total / weights).mean()


def _distances(kind: str, scores: Tensor, targets: Tensor) -> Tensor:
    if kind == "similarity":
        return (torch.sigmoid(scores) - targets).pow(2)
    return F.binary_cross_entropy_with_logits(scores, targets, reduction="none")


def ranking_loss(
    scores: Tensor, labels: Tensor, odds: Tensor, labelled: Tensor, groups: Tensor
) -> Tensor:
    """The average of hard and soft loss over the queries of a batch; shapes as in `pair_loss`.

    The hard loss is a mean over right passages that meet a wrong one, the soft loss one over
    queries with several passages. Where a batch has only one of the two, that one counts whole;
    where it has neither, the loss is 0.
    """
    parts = []
    if has_contrast(labels[labelled], groups[labelled]):
        parts.append(listwise(scores[labelled], labels[labelled], groups[labelled]))
    # Cross-entropy is linear in its target: the mean over teachers of each one's is that with Q.
    soft = []
    for column in odds.unbind(dim=1):
        known = ~column.isnan()
        if has_lists(groups[known]):
            soft.append(soft_ranking(scores[known], column[known], groups[known]))
    if soft:
        parts.append(torch.stack(soft).mean())
    return torch.stack(parts).mean() if parts else scores.sum() * 0.0


def soft_ranking(scores: Tensor, odds: Tensor, groups: Tensor) -> Tensor:
    """- sum_A Q(A) log P(A), the mean over queries with several passages; all (batch,).

    A passage alone has Q = P = 1, which adds nothing.
    """
    log_p, log_q = (log_softmax_within(values, groups) for values in (scores, odds))
    queries = int((groups.unique(return_counts=True)[1] > 1).sum())
    loss: Tensor = -(log_q.exp() * log_p).sum() / queries
    return loss


def has_lists(groups: Tensor) -> bool:
    """Whether any query of `groups` (batch,) has several passages."""
    return int(groups.unique().numel()) < int(groups.numel())


def has_contrast(labels: Tensor, groups: Tensor) -> bool:
    """Whether any query has a right and a wrong passage; all (batch,)."""
    right = labels >= RIGHT
    return bool(torch.isin(groups[right], groups[~right]).any())
