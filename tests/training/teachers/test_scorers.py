"""Scorers: found by name, compiled they say what PyTorch says, identities follow the weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import retort
from retort.models.bundle import Bundle
from retort.models.encoding import Truncation
from retort.models.reading.windows import Reading
from retort.training.data.pairs import Pair
from retort.training.nn.backbone import BackboneError, load_backbone
from retort.training.nn.student import (
    CheckpointError,
    Head,
    load_student,
    save_student,
    take_layers,
)
from retort.training.recipes.parts.teacher import TeacherRef
from retort.training.teachers.scorers import load_scorer
from retort.training.teachers.scoring.bundle import load_bundle
from retort.training.teachers.scoring.scorer import MODEL, Spec, UnknownScorerError, parse
from tests.tiny_texts import PASSAGES, QUERIES
from tests.training.backbones import save_backbone, save_cross_encoder

PAIRS = [Pair(query, passage) for query in QUERIES for passage in PASSAGES]


def save_teacher(folder: Path, backbone: Path, bias: float = 0.0) -> Path:
    loaded = load_backbone(str(backbone))
    torch.manual_seed(1)
    student = take_layers(loaded.encoder, [0, 1], [Head("golden")])
    with torch.no_grad():
        student.get_parameter("head_bank.0.linear.bias").fill_(bias)
    save_student(folder, student, loaded.tokenizer_path, Truncation(64, 16), {"name": "t"})
    return folder


@pytest.mark.slow
def test_a_cross_encoder_says_what_pytorch_says(tmp_path: Path) -> None:
    folder = save_teacher(tmp_path / "t", save_backbone(tmp_path / "b"))
    teacher = load_scorer(TeacherRef(name="t", path=str(folder)))
    loaded = load_student(folder)
    batch = loaded.encoder().collate(
        [p for q in QUERIES for p in loaded.encoder().encode(q, PASSAGES)]
    )
    with torch.inference_mode():
        expected = loaded.student(
            torch.from_numpy(batch.input_ids),
            torch.from_numpy(batch.attention_mask),
            torch.from_numpy(batch.token_type_ids),
        )[:, 0].numpy()
    assert np.abs(teacher.score(PAIRS) - expected).max() < 0.02  # bf16


@pytest.mark.slow
def test_a_bi_encoder_gives_the_cosine_of_mean_pooled_texts(tmp_path: Path) -> None:
    backbone = save_backbone(tmp_path / "b")
    teacher = load_scorer(TeacherRef(name="b", path=str(backbone), kind="bi-encoder"))
    loaded = load_backbone(str(backbone))
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(loaded.tokenizer_path))

    def embed(text: str) -> torch.Tensor:
        special = [tokenizer.token_to_id("[CLS]")], [tokenizer.token_to_id("[SEP]")]
        ids = torch.tensor([[*special[0], *tokenizer.encode(text).ids, *special[1]]])
        with torch.inference_mode():
            mean: torch.Tensor = loaded.encoder.eval()(input_ids=ids).last_hidden_state[0].mean(0)
        unit: torch.Tensor = mean / mean.norm()
        return unit

    expected = [float(embed(pair.query) @ embed(pair.passage)) for pair in PAIRS]
    assert np.abs(teacher.score(PAIRS) - np.array(expected)).max() < 0.02


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_hub_cross_encoder_from_a_folder(tmp_path: Path, outputs: int) -> None:
    folder = save_cross_encoder(tmp_path / "hub", outputs)
    teacher = load_scorer(TeacherRef(name="h", path=str(folder), kind="hub-cross-encoder"))
    scores = teacher.score(PAIRS)
    assert scores.shape == (len(PAIRS),)
    alone = teacher.score([PAIRS[5]])
    assert alone[0] == pytest.approx(scores[5], abs=1e-5)


def test_identity_follows_weights_and_length(tmp_path: Path) -> None:
    backbone = save_backbone(tmp_path / "b")
    one = load_scorer(TeacherRef(name="t", path=str(save_teacher(tmp_path / "1", backbone))))
    same = load_scorer(TeacherRef(name="u", path=str(save_teacher(tmp_path / "2", backbone))))
    other = load_scorer(TeacherRef(name="t", path=str(save_teacher(tmp_path / "3", backbone, 1.0))))
    assert one.identity == same.identity
    assert one.identity != other.identity


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"student\.json: missing"):
        load_scorer(TeacherRef(name="t", path=str(tmp_path), kind="cross-encoder"))
    with pytest.raises(UnknownScorerError, match="write kind: as one of cross-encoder"):
        load_scorer(TeacherRef(name="t", path=str(tmp_path)))
    with pytest.raises(BackboneError, match="package no_such_package is not installed"):
        load_backbone("package:no_such_package")


def test_a_scorer_has_a_name_a_kind_and_a_place() -> None:
    named = {
        "runs/ce/": ("ce", MODEL, "runs/ce/"),
        "bi-encoder:runs/bi": ("bi", "bi-encoder", "runs/bi"),
        "bi-encoder:package:gt": ("gt", "bi-encoder", "package:gt"),
        "x=cross-encoder:runs/ce": ("x", "cross-encoder", "runs/ce"),
        "y=retort-small": ("y", MODEL, "retort-small"),
    }
    assert {text: parse(text) for text in named} == {
        text: Spec(*parts) for text, parts in named.items()
    }


def test_a_bundle_and_its_kind_of_score(tiny_bundle: Bundle) -> None:
    scorer = load_scorer(parse(str(tiny_bundle.folder)))
    pairs = [Pair(golden.query, golden.passage) for golden in tiny_bundle.golden]
    assert scorer.probabilities
    assert scorer.score(pairs) == pytest.approx([g.score for g in tiny_bundle.golden], abs=1e-4)


def test_a_bundle_reads_long_passages_as_it_is_served(tiny_bundle: Bundle) -> None:
    filler = "the river was old and the city by the river was old. " * 8
    long = Pair("what is hamlet", f"{filler}hamlet is a play.")
    pairs = [long, Pair("what is hamlet", "the river"), long]
    scores = load_scorer(parse(str(tiny_bundle.folder))).score(pairs)
    served = retort.load(tiny_bundle.folder, backend="onnxruntime", precision="fp32")
    expected = served.score([(pair.query, pair.passage) for pair in pairs])
    assert scores == pytest.approx(expected, abs=1e-5)
    cut = load_bundle("cut", tiny_bundle, Reading(score="first")).score(pairs)
    assert abs(scores[0] - cut[0]) > 1e-3
    assert scores[1] == pytest.approx(cut[1], abs=1e-6)
