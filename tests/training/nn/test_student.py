"""The student cut down: to fewer dimensions, a weak teacher of SKD, or to its golden head."""

from __future__ import annotations

import pytest
import torch

from retort.training.nn.student import Head, Student, golden_alone, narrow
from tests.training.backbones import tiny_config


def test_a_narrow_student_is_the_first_dimensions_of_the_wide_one() -> None:
    wide = Student(tiny_config(50), [Head("golden")])
    cut = narrow(wide, 16)
    config = cut.config
    assert (config.hidden_size, config.num_attention_heads, config.intermediate_size) == (16, 1, 32)
    words = wide.encoder.embeddings.word_embeddings.weight
    assert cut.encoder.embeddings.word_embeddings.weight.equal(words[:, :16])
    ids = torch.randint(4, 50, (2, 7))
    logits = cut(ids, torch.ones_like(ids), torch.zeros_like(ids))
    assert logits.shape == (2, 1)
    assert logits.isfinite().all()


@pytest.mark.parametrize("width", [0, 24, 32, 64])
def test_a_width_that_cuts_through_a_head_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match="give a multiple of 16 below"):
        narrow(Student(tiny_config(50), [Head("golden")]), width)


def test_the_golden_head_alone_says_what_it_said_among_others(tiny_student: Student) -> None:
    ids = torch.randint(4, 50, (3, 9))
    inputs = (ids, torch.ones_like(ids), torch.zeros_like(ids))
    # Wherever it stands among the heads.
    names = ["soft-cross", "golden", "soft-bi"]
    mixed = Student(tiny_student.config, [tiny_student.heads[index] for index in (1, 0, 2)]).eval()
    with torch.no_grad():
        mixed.gain.copy_(torch.tensor([2.0, 3.0, 4.0]))
        mixed.shift.copy_(torch.tensor([-1.0, 1.0, 2.0]))
    alone = golden_alone(mixed)
    assert [head.name for head in mixed.heads] == names
    assert [head.name for head in alone.heads] == ["golden"]
    assert not alone.training
    assert alone(*inputs)[:, 0].allclose(mixed(*inputs)[:, 1])
    assert set(alone.state_dict()) == set(Student(mixed.config, [Head("golden")]).state_dict())


@pytest.mark.parametrize("teachers", [["a"], [None, None]])
def test_a_student_without_one_golden_head_is_refused(teachers: list[str | None]) -> None:
    heads = [Head(f"head-{index}", teacher=teacher) for index, teacher in enumerate(teachers)]
    with pytest.raises(ValueError, match="golden heads among head-0"):
        golden_alone(Student(tiny_config(50), heads))
