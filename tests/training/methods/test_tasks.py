"""The tasks' losses against NumPy, written from the formulas with loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from retort.training.methods.method import Examples
from retort.training.methods.mt_dnn_kd import MtDnnKd
from retort.training.methods.tasks import Kind, Task, check_tasks, pair_loss, ranking_loss, task_of
from retort.training.nn.loop import Progress
from retort.training.recipes.recipe import Stage, TeacherRef
from tests.training.methods.batches import Drawn, Floats, cross_entropy, sigmoid, unread

TIGHT = 1e-6
EVERYONE = torch.ones(14, dtype=torch.bool)
NOBODY = torch.full((14, 2), torch.nan, dtype=torch.float64)


def tensor(values: Floats) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def distance(kind: Kind, score: float, target: float) -> float:
    if kind == "similarity":
        return float((1 / (1 + np.exp(-score)) - target) ** 2)
    return float(np.log1p(np.exp(score)) - target * score)


def hard_ranking(batch: Drawn, scores: Floats) -> float:
    found = []
    for query in set(batch.groups):
        rows = np.flatnonzero(batch.groups == query)
        if batch.labels[rows].max() == batch.labels[rows].min():
            continue
        softmax = np.exp(scores[rows]) / np.exp(scores[rows]).sum()
        found += [-np.log(p) for p, row in zip(softmax, rows, strict=True) if batch.labels[row]]
    return float(np.mean(found))


def soft_ranking(batch: Drawn, scores: Floats) -> float:
    found = []
    for query in set(batch.groups):
        rows = np.flatnonzero(batch.groups == query)
        if len(rows) == 1:
            continue
        softmax = np.exp(scores[rows]) / np.exp(scores[rows]).sum()
        by_teacher = [np.exp(odds[rows]) / np.exp(odds[rows]).sum() for odds in batch.odds.T]
        mean = np.mean(by_teacher, axis=0)
        found.append(-float((mean * np.log(softmax)).sum()))
    return float(np.mean(found))


@pytest.mark.parametrize("kind", ["classification", "similarity"])
def test_the_loss_is_the_average_of_hard_and_soft(kind: Kind) -> None:
    batch = Drawn()
    scores, mean = batch.scores[:, 0], sigmoid(batch.odds).mean(axis=1)
    hard = [distance(kind, s, y) for s, y in zip(scores, batch.labels, strict=True)]
    soft = [distance(kind, s, q) for s, q in zip(scores, mean, strict=True)]
    given = tensor(scores), tensor(batch.labels), tensor(batch.odds)
    assert float(pair_loss(kind, *given, EVERYONE)) == pytest.approx(
        (np.mean(hard) + np.mean(soft)) / 2, rel=TIGHT
    )
    # A task without teachers has its labels alone, one without labels its teachers alone.
    alone = pair_loss(kind, given[0], given[1], NOBODY, EVERYONE)
    assert float(alone) == pytest.approx(np.mean(hard), rel=TIGHT)
    none = torch.empty((14, 0), dtype=torch.float64)
    assert float(pair_loss(kind, given[0], given[1], none, EVERYONE)) == float(alone)
    assert float(pair_loss(kind, *given, ~EVERYONE)) == pytest.approx(np.mean(soft), rel=TIGHT)
    # And both can stand in one batch.
    odds, labelled = given[2].clone(), EVERYONE.clone()
    odds[:5] = torch.nan
    labelled[9:] = False
    both = (np.array(hard[5:9]) + np.array(soft[5:9])) / 2
    wanted = np.mean([*hard[:5], *both, *soft[9:]])
    assert float(pair_loss(kind, given[0], given[1], odds, labelled)) == pytest.approx(
        wanted, rel=TIGHT
    )


def test_probabilities_are_averaged_and_not_logits() -> None:
    odds = torch.tensor([[0.0, 6.0]], dtype=torch.float64)
    score = torch.tensor([0.7], dtype=torch.float64)
    label = torch.zeros(1, dtype=torch.float64)
    unlabelled = torch.zeros(1, dtype=torch.bool)
    mean = (0.5 + 1 / (1 + np.exp(-6))) / 2
    wanted = distance("classification", 0.7, mean)
    found = float(pair_loss("classification", score, label, odds, unlabelled))
    assert found == pytest.approx(wanted, rel=TIGHT)
    assert abs(found - distance("classification", 0.7, float(sigmoid(np.array(3.0))))) > 0.05


def test_ranking_is_a_softmax_over_the_passages_of_a_query() -> None:
    batch = Drawn()
    scores = batch.scores[:, 0]
    groups = torch.tensor(batch.groups)
    given = tensor(scores), tensor(batch.labels)
    hard, soft = hard_ranking(batch, scores), soft_ranking(batch, scores)
    found = ranking_loss(*given, tensor(batch.odds), EVERYONE, groups)
    assert float(found) == pytest.approx((hard + soft) / 2, rel=TIGHT)
    alone = ranking_loss(*given, NOBODY, EVERYONE, groups)
    assert float(alone) == pytest.approx(hard, rel=TIGHT)
    told = ranking_loss(*given, tensor(batch.odds), ~EVERYONE, groups)
    assert float(told) == pytest.approx(soft, rel=TIGHT)


def test_a_batch_without_any_list_gives_no_loss_and_no_gradient() -> None:
    scores = torch.zeros(3, requires_grad=True)
    odds, everyone = torch.zeros((3, 2)), torch.ones(3, dtype=torch.bool)
    loss = ranking_loss(scores, torch.ones(3), odds, everyone, torch.tensor([0, 1, 2]))
    loss.backward()
    assert loss.item() == 0.0
    assert scores.grad is not None
    assert not scores.grad.any()


TASKS = (
    Task(name="yes", sources=["a"]),
    Task(name="order", sources=["b", "c"], kind="ranking"),
    Task(name="near", sources=["d"], kind="similarity"),
)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_batch_trains_the_head_of_its_own_task_with_its_own_loss(number: int) -> None:
    batch = Drawn()
    teachers = (TeacherRef(name="t", path="t"), TeacherRef(name="u", path="u"))
    numbers = torch.full((14,), number)
    method = MtDnnKd(teachers, tasks=TASKS, numbers=numbers, labelled=EVERYONE)
    logits = torch.tensor(batch.scores, dtype=torch.float32, requires_grad=True)
    known = Examples(
        rows=torch.arange(14),
        targets=torch.zeros(14, 2),
        odds=torch.tensor(batch.odds, dtype=torch.float32),
        labels=torch.tensor(batch.labels, dtype=torch.float32),
        groups=torch.tensor(batch.groups),
        progress=Progress(0, 10, 1),
    )
    # The paper weighs hard and soft alike, whatever a stage's alpha is for other methods.
    stage = Stage(table=Path("none"), alpha=0.9)
    loss = method.loss((logits,), unread(), known, stage)
    scores, mean = batch.scores[:, number], sigmoid(batch.odds).mean(axis=1)
    wanted = {
        0: (cross_entropy(batch.labels, scores).mean() + cross_entropy(mean, scores).mean()) / 2,
        1: (hard_ranking(batch, scores) + soft_ranking(batch, scores)) / 2,
        2: (((sigmoid(scores) - batch.labels) ** 2 + (sigmoid(scores) - mean) ** 2) / 2).mean(),
    }[number]
    assert loss.item() == pytest.approx(float(wanted), rel=TIGHT)
    loss.backward()
    assert logits.grad is not None
    touched = logits.grad.abs().sum(dim=0) > 0
    assert touched.tolist() == [head == number for head in range(3)]


def test_which_task_a_source_is_of() -> None:
    assert [task_of(TASKS, source) for source in "abcde"] == [0, 1, 1, 2, None]
    assert task_of((Task(name="all"),), "anything") == 0
    twice = [TASKS[0], Task(name="yes", sources=["a"]), Task(name="rest")]
    with pytest.raises(ValueError, match="two tasks are named yes; a is of two tasks; rest has no"):
        check_tasks(twice)
