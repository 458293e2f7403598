"""The task: which sources it has, what kind it is, and its loss (MT-DNN, Liu et al., ACL 2019).

With z = w_t^T x, x the hidden state of `[CLS]` and w_t the task's own head:

    classification  P = sigmoid(z)                 cross-entropy
    ranking         P = softmax of z over the passages of a query, gamma = 1
                    - log P(A+)                    hard;  - sum_A Q(A) log P(A)  soft
    similarity      S = sigmoid(z)                 (S - target)^2

Q is the mean of the teachers' probabilities: of `sigmoid(odds)` for classification and similarity,
of the softmax of the odds over the query's passages for ranking (ours: the paper gives a ranking
task no soft form). The paper's similarity is z itself; here a score is a probability. Its pairwise
classification has an answer module over the tokens (SAN); ours is a linear map like the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from retort.training.nn.losses import listwise, log_softmax_within

Kind = Literal["classification", "ranking", "similarity"]


class Task(BaseModel):
    """A task by name; its pairs are those of its `sources`, or all where there is none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    sources: list[str] | None = None
    kind: Kind = "classification"


def check_tasks(tasks: Sequence[Task]) -> None:
    """Raise `ValueError` for a name or a source that two tasks have, or a task that takes all."""
    faults = [f"two tasks are named {name}" for name in _twice(task.name for task in tasks)]
    sources = [source for task in tasks for source in set(task.sources or ())]
    faults += [f"{source} is of two tasks" for source in _twice(sources)]
    if len(tasks) > 1:
        faults += [f"{t.name} has no sources of its own" for t in tasks if not t.sources]
    if faults:
        raise ValueError("tasks: " + "; ".join(faults))


def _twice(values: Iterable[str]) -> list[str]:
    listed = list(values)
    return sorted({value for value in listed if listed.count(value) > 1})


def task_of(tasks: Sequence[Task], source: str) -> int | None:
    """The number of the task that a source belongs to."""
    for number, task in enumerate(tasks):
        if task.sources is None or source in task.sources:
            return number
    return None


def pair_loss(kind: Kind, scores: Tensor, labels: Tensor, odds: Tensor, labelled: Tensor) -> Tensor:
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


def _distances(kind: Kind, scores: Tensor, targets: Tensor) -> Tensor:
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
    told = []
    for column in odds.unbind(dim=1):
        known = ~column.isnan()
        if has_lists(groups[known]):
            told.append(soft_ranking(scores[known], column[known], groups[known]))
    if told:
        parts.append(torch.stack(told).mean())
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
    right = labels > 0.5
    return bool(torch.isin(groups[right], groups[~right]).any())
