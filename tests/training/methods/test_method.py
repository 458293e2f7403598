"""The headed method: TMKD's equations by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from retort.training.methods.method import Headed
from retort.training.nn.student import Head, Student
from retort.training.recipes.parts.stage import Stage
from retort.training.recipes.parts.teacher import TeacherRef
from tests.training.backbones import tiny_config
from tests.training.methods.batches import examples, unread

TEACHERS = (
    TeacherRef(name="a", path="a"),
    TeacherRef(name="b", path="b", kind="bi-encoder", head="cosine"),
)
LOGITS = torch.tensor([[0.2, 1.0, -1.0], [-0.4, 0.5, 2.0]])
TARGETS = torch.tensor([[0.5, -1.5], [0.5, 1.0]])
LABELS = torch.tensor([1.0, 0.0])
GROUPS = torch.tensor([0, 1])


def soft() -> float:
    by_head = [((1 - 0.5) ** 2 + 0) / 2, ((-1 + 1.5) ** 2 + (2 - 1) ** 2) / 2]
    return sum(by_head) / 2


def golden() -> float:
    return (math.log1p(math.exp(-0.2)) + math.log1p(math.exp(-0.4))) / 2


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9, 1.0])
def test_equations_4_and_5(alpha: float) -> None:
    stage = Stage(table=Path("none"), alpha=alpha)
    known = examples(TARGETS, labels=LABELS, groups=GROUPS)
    loss = Headed(TEACHERS).loss((LOGITS,), unread(), known, stage)
    assert loss.item() == pytest.approx((1 - alpha) * golden() + alpha * soft(), rel=1e-5)


def test_stage_1_leaves_the_golden_head_alone() -> None:
    method = Headed(TEACHERS)
    student = Student(tiny_config(50), method.heads())
    ids = torch.randint(4, 50, (2, 9))
    types = torch.tensor([[0] * 4 + [1] * 5] * 2)
    logits = student(ids, torch.ones_like(ids), types)
    known = examples(TARGETS, labels=LABELS, groups=GROUPS)
    method.loss((logits,), unread(), known, Stage(table=Path("none"), alpha=1.0)).backward()
    head = student.head_bank[0]
    assert all(p.grad is None or not p.grad.abs().sum() for p in head.parameters())
    for other in student.head_bank[1:]:
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in other.parameters())


def test_one_head_per_teacher_in_its_own_shape() -> None:
    assert Headed(TEACHERS).heads() == [
        Head("golden"), Head("soft-a", "linear", "a"), Head("soft-b", "cosine", "b"),
    ]  # fmt: skip
    assert Headed(()).heads() == [Head("golden")]
