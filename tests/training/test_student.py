"""The student cut narrower: a weak teacher of SKD."""

from __future__ import annotations

import pytest
import torch

from tests.training.backbones import tiny_config
from training.student import Head, Student, narrow


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
