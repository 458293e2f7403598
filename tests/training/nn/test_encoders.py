"""The Bi-LSTM student: padding says nothing, its first state has read everything."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import BertModel

from retort.models.encoding import Truncation
from retort.training.nn.encoders import is_bi_lstm
from retort.training.nn.student import Head, Student, load_student, make_bi_lstm, save_student
from tests.tiny_texts import make_tokenizer
from tests.training.backbones import tiny_config

HEADS = (Head("golden"), Head("soft-bi", "cosine", "bi"))
Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture
def student() -> Student:
    torch.manual_seed(1)
    return make_bi_lstm(BertModel(tiny_config(60)), 2, 24, HEADS).eval()


def inputs(padding: int = 0) -> Inputs:
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(4, 60, (3, 9), generator=generator)
    types = torch.tensor([[0] * 4 + [1] * 5] * 3)
    zeros = torch.zeros((3, padding), dtype=torch.int64)
    return (
        torch.cat([ids, zeros], 1),
        torch.cat([torch.ones_like(ids), zeros], 1),
        torch.cat([types, zeros], 1),
    )


def test_padding_changes_nothing(student: Student) -> None:
    with torch.inference_mode():
        plain, padded = student(*inputs()), student(*inputs(padding=4))
    assert plain.shape == (3, 2)
    torch.testing.assert_close(plain, padded)


def test_the_golden_head_reads_both_ends(student: Student) -> None:
    first = inputs()
    for place in (1, 8):
        changed = first[0].clone()
        changed[:, place] = 5 + (changed[:, place] + 7) % 50
        with torch.inference_mode():
            before = student(*first)[:, 0]
            after = student(changed, first[1], first[2])[:, 0]
        assert (before - after).abs().min() > 1e-6


def test_words_come_from_the_backbone(student: Student) -> None:
    source = BertModel(tiny_config(60))
    words = make_bi_lstm(source, 1, 8, HEADS).encoder.embeddings.word_embeddings.weight
    assert words.equal(source.embeddings.word_embeddings.weight)


def test_a_checkpoint_is_found_again(student: Student, tmp_path: Path) -> None:
    make_tokenizer().save(str(tmp_path / "tokenizer.json"))
    save_student(tmp_path / "saved", student, tmp_path / "tokenizer.json", Truncation(32, 8), {})
    loaded = load_student(tmp_path / "saved").student
    assert is_bi_lstm(loaded.config)
    with torch.inference_mode():
        assert loaded(*inputs()).equal(student(*inputs()))
