"""The trimmed encoder gives what the whole one gives for `[CLS]`, and learns the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from retort.training.nn.first import encode_first
from retort.training.nn.student import Head, Student
from tests.training.backbones import tiny_config


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(4, 50, (5, 11), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    mask[4, 3:] = 0
    types = torch.zeros_like(ids)
    types[:, 4:] = 1
    return ids, mask, types


@pytest.fixture
def student() -> Student:
    torch.manual_seed(1)
    return Student(tiny_config(50), [Head("golden"), Head("soft", teacher="a")]).eval()


def test_the_state_of_cls_is_that_of_the_whole_encoder(student: Student) -> None:
    ids, mask, types = inputs()
    with torch.no_grad():
        whole = student.encoder(ids, attention_mask=mask, token_type_ids=types).last_hidden_state
        first = encode_first(student.encoder, ids, mask, types)
    assert first.shape == (5, 1, 32)
    torch.testing.assert_close(first[:, 0], whole[:, 0], atol=1e-5, rtol=0)


def test_padding_changes_nothing(student: Student) -> None:
    ids, mask, types = inputs()
    ids, types = ids * mask, types * mask
    with torch.no_grad():
        padded = encode_first(student.encoder, ids, mask, types)[4]
        alone = encode_first(student.encoder, ids[4:, :3], mask[4:, :3], types[4:, :3])[0]
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=0)


def test_every_weight_gets_the_gradient_of_the_whole_encoder(student: Student) -> None:
    batch = inputs()
    gradients = []
    for forward in (student.forward_first, student.forward_hidden):
        student.zero_grad()
        forward(*batch)[0].pow(2).sum().backward()
        gradients.append({n: p.grad for n, p in student.named_parameters() if p.grad is not None})
    trimmed, whole = gradients
    assert set(trimmed) == set(whole)
    for name, gradient in whole.items():
        torch.testing.assert_close(trimmed[name], gradient, atol=1e-4, rtol=1e-3)


def test_a_head_that_reads_every_token_is_given_every_token(tiny_student: Student) -> None:
    batch = inputs()
    with torch.no_grad():
        logits, first = tiny_student.forward_first(*batch)
        expected, hidden = tiny_student.forward_hidden(*batch)
    assert torch.equal(logits, expected)
    assert torch.equal(first, hidden[:, 0])
