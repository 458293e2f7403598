"""The sentence-transformers reference: the student's shape, weights and tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig

from retort.loadtest.reference import Reference, load_reference
from retort.loadtest.texts import Request
from retort.models.bundle import Bundle
from retort.models.encoding import Truncation
from retort.training.nn.checkpoint import save_student
from retort.training.nn.student import Student
from tests.tiny import HEADS, make_student

REQUEST = Request("how tall is the tower", ("The tower is 330 metres tall.", "Paris is old."))


def of_shape(bundle: Bundle, layers: int, width: int) -> Bundle:
    """The bundle, claiming to be of another shape."""
    size = bundle.manifest.architecture.model_copy(
        update={"layers": layers, "width": width, "attention_heads": 12}
    )
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"architecture": size}))


def inner(reference: Reference) -> Any:
    """The `BertForSequenceClassification` inside."""
    return reference._model.model


def test_it_reads_pairs_as_the_student_does(tiny_bundle: Bundle) -> None:
    reference = load_reference(tiny_bundle)
    texts = (*REQUEST.passages, "old " * 200)
    found = reference._model.tokenizer(
        [REQUEST.query] * 3,
        list(texts),
        padding=True,
        truncation="only_second",
        max_length=tiny_bundle.manifest.truncation.max_length,
        return_tensors="np",
    )
    encoder = tiny_bundle.encoder()
    expected = encoder.collate(encoder.encode(REQUEST.query, texts))
    assert (found["input_ids"] == expected.input_ids).all()
    assert (found["token_type_ids"] == expected.token_type_ids).all()
    assert (found["attention_mask"] == expected.attention_mask).all()


def test_its_arithmetic_is_within_one_percent_of_the_students(tiny_bundle: Bundle) -> None:
    bundle = of_shape(tiny_bundle, layers=3, width=384)
    reference = inner(load_reference(bundle))
    config = BertConfig.from_dict({**reference.config.to_dict(), "num_labels": 2})
    student = Student(config, HEADS).eval()
    ids = torch.ones((2, 128), dtype=torch.int64)
    counts = []
    for model in (student, reference):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            model(input_ids=ids, attention_mask=ids, token_type_ids=torch.zeros_like(ids))
        counts.append(counter.get_total_flops())
    assert counts[0] > 1e9
    assert counts[1] == pytest.approx(counts[0], rel=0.01)


def test_it_runs_the_weights_of_a_checkpoint(tiny_bundle: Bundle, tmp_path: Path) -> None:
    size = tiny_bundle.manifest.architecture
    student = make_student(size.vocabulary, Truncation(64, 16))
    folder = tmp_path / "student"
    save_student(folder, student, tiny_bundle.tokenizer_path, Truncation(64, 16), {})
    reference = load_reference(tiny_bundle, folder)
    assert reference.weights == "the student's encoder weights"
    found = inner(reference).bert.state_dict()
    for name, value in student.encoder.state_dict().items():
        assert torch.equal(found[name], value), name


def test_a_checkpoint_of_another_shape_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    size = tiny_bundle.manifest.architecture
    student = make_student(size.vocabulary, Truncation(64, 16))
    folder = tmp_path / "student"
    save_student(folder, student, tiny_bundle.tokenizer_path, Truncation(64, 16), {})
    with pytest.raises(ValueError, match="2 layers of 32, the bundle 3 of 384"):
        load_reference(of_shape(tiny_bundle, layers=3, width=384), folder)


def test_the_rate_counts_pairs(tiny_bundle: Bundle) -> None:
    reference = load_reference(tiny_bundle)
    assert reference.pairs_per_second([REQUEST], 0.05) > 2
    assert "random weights" in reference.describe()
