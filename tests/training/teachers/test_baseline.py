"""Baselines in PyTorch: what they score, and which of them have learned nothing."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch

from retort.models.bundle import Bundle
from retort.models.encoding import Truncation
from retort.models.scores import combine
from retort.training.nn.encoders import BiEncoder
from retort.training.nn.student import Head, Student, save_student
from retort.training.teachers.baseline import Baseline, load_baseline
from retort.training.teachers.scoring.scorer import parse
from retort.training.teachers.server import mean_score
from tests.loadtest.tiny_teacher import save_tiny_teacher
from tests.tiny import make_student

QUERY = "how tall is the tower"
PASSAGES = ("The tower is 330 metres tall.", "Paris is old.", "old " * 200)
TRUNCATION = Truncation(64, 16)


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Online before and after each test."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)


def load(spec: str) -> Baseline:
    return load_baseline(parse(spec), 64)


def save_checkpoint(bundle: Bundle, folder: Path) -> Student:
    """A checkpoint with one linear head, calibrated."""
    student = make_student(bundle.manifest.architecture.vocabulary, TRUNCATION)
    single = Student(student.config, (Head("golden"),)).eval()
    single.encoder.load_state_dict(student.encoder.state_dict())
    single.gain.fill_(1.5)
    single.shift.fill_(-0.25)
    save_student(folder, single, bundle.tokenizer_path, TRUNCATION, {})
    return single


def test_a_checkpoint_scores_as_it_was_taught(tiny_bundle: Bundle, tmp_path: Path) -> None:
    student = save_checkpoint(tiny_bundle, tmp_path / "ce")
    teacher = load(f"cross-encoder:{tmp_path / 'ce'}")
    encoder = tiny_bundle.encoder()
    batch = encoder.collate(encoder.encode(QUERY, PASSAGES))
    arrays = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
    with torch.inference_mode():
        expected = combine(student(*map(torch.from_numpy, arrays)).numpy()).score.tolist()
    assert teacher.score(QUERY, PASSAGES) == pytest.approx(expected, abs=1e-4)
    assert max(expected) - min(expected) > 1e-3
    assert not teacher.shape_only
    assert huggingface_hub.constants.is_offline_mode()


def test_a_bi_encoder_gives_cosines(tiny_bundle: Bundle, tmp_path: Path) -> None:
    student = save_checkpoint(tiny_bundle, tmp_path / "bi")
    teacher = load(f"bi-encoder:{tmp_path / 'bi'}")
    encoder = tiny_bundle.encoder()
    (cls,), (sep,) = encoder.layout.before, encoder.layout.after
    vectors = []
    with torch.inference_mode():
        for text in encoder.encode_passages([QUERY, *PASSAGES[:2]]):
            ids = torch.tensor([[cls, *text.ids, sep]])
            vectors.append(BiEncoder(student.encoder)(ids, torch.ones_like(ids))[0])
    expected = [float((1 + vectors[0] @ vector) / 2) for vector in vectors[1:]]
    assert teacher.score(QUERY, PASSAGES[:2]) == pytest.approx(expected, abs=1e-5)


def test_an_ensemble_gives_the_mean(tiny_bundle: Bundle, tmp_path: Path) -> None:
    save_checkpoint(tiny_bundle, tmp_path / "ce")
    one = load(f"cross-encoder:{tmp_path / 'ce'}")
    two = load(f"bi-encoder:{tmp_path / 'ce'}")
    expected = [
        (a + b) / 2
        for a, b in zip(one.score(QUERY, PASSAGES), two.score(QUERY, PASSAGES), strict=True)
    ]
    assert mean_score((one, two), QUERY, PASSAGES) == pytest.approx(expected)


def test_a_backbone_without_a_head_is_said_to_be_a_shape(tmp_path: Path) -> None:
    folder = save_tiny_teacher(tmp_path / "hub")
    assert not load(f"cross-encoder:{folder}").shape_only
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BertModel"]}))
    bare = load(f"cross-encoder:{folder}")
    assert bare.shape_only
    again = load(f"cross-encoder:{folder}")
    assert bare.score(QUERY, PASSAGES) == again.score(QUERY, PASSAGES)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nothing", "expected one of cross-encoder, bi-encoder, a colon, a place"),
        ("cross-encoder:", "expected one of"),
        ("poly-encoder:runs/x", "expected one of"),
        ("cross-encoder:no/such/folder", "no/such/folder: no folder with a config.json"),
        ("bi-encoder:package:no_such_package", "no_such_package is not installed"),
    ],
)
def test_a_name_that_leads_nowhere_is_an_error(spec: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load(spec)
