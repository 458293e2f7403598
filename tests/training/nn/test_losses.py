"""Objectives, against loops that follow the formulas word by word."""

from __future__ import annotations

import math

import pytest
import torch

from retort.training.nn.encoders import in_batch_loss, split_segments
from retort.training.nn.losses import listwise, margin, pointwise

SCORES = torch.tensor([2.0, -1.0, 0.5, 0.0, 3.0, 1.0])
LABELS = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 1.0])
GROUPS = torch.tensor([0, 0, 0, 1, 1, 2])


def test_pointwise_takes_soft_labels() -> None:
    labels = torch.tensor([1.0, 0.25])
    scores = torch.tensor([0.3, -0.7])
    total = 0.0
    for s, y in zip(scores.tolist(), labels.tolist(), strict=True):
        p = 1 / (1 + math.exp(-s))
        total -= y * math.log(p) + (1 - y) * math.log(1 - p)
    assert pointwise(scores, labels, torch.tensor([0, 1])).item() == pytest.approx(total / 2)


def test_margin_compares_within_a_query_only() -> None:
    wanted = [(2.0, -1.0), (2.0, 0.5), (0.0, 3.0)]
    expected = sum(math.log1p(math.exp(-(a - b))) for a, b in wanted) / 3
    assert margin(SCORES, LABELS, GROUPS).item() == pytest.approx(expected, rel=1e-5)


def test_listwise_is_a_softmax_over_the_querys_candidates() -> None:
    first = -math.log(math.exp(2) / (math.exp(2) + math.exp(-1) + math.exp(0.5)))
    second = -math.log(math.exp(0) / (math.exp(0) + math.exp(3)))
    loss = listwise(SCORES, LABELS, GROUPS).item()
    assert loss == pytest.approx((first + second) / 2, rel=1e-5)


def test_a_batch_without_a_comparison_has_no_loss_and_no_gradient() -> None:
    scores = torch.tensor([1.0, 2.0], requires_grad=True)
    for objective in (margin, listwise):
        loss = objective(scores, torch.tensor([1.0, 1.0]), torch.tensor([0, 1]))
        loss.backward()
        assert loss.item() == 0.0
        assert scores.grad is not None
        assert scores.grad.abs().sum().item() == 0.0


def test_segments_are_split_into_the_two_texts() -> None:
    ids = torch.tensor([[101, 5, 102, 7, 8, 102, 0], [101, 5, 6, 102, 9, 102, 0]])
    mask = (ids > 0).long()
    types = torch.tensor([[0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 1, 1, 0]])
    (query, query_mask), (passage, passage_mask) = split_segments(ids, mask, types, 101)
    assert query.tolist() == [[101, 5, 102, 0], [101, 5, 6, 102]]
    assert query_mask.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert passage.tolist() == [[101, 7, 8, 102], [101, 9, 102, 0]]
    assert passage_mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]


def test_in_batch_loss_prefers_the_own_passage() -> None:
    queries = torch.eye(3)
    positive = torch.tensor([True, True, False])
    good = in_batch_loss(queries, torch.eye(3), positive, 20.0)
    bad = in_batch_loss(queries, torch.eye(3).roll(1, 0), positive, 20.0)
    assert good.item() < 1e-6
    assert bad.item() > 10
    assert in_batch_loss(queries, queries, torch.zeros(3, dtype=torch.bool), 20.0).item() == 0.0
