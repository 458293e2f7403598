"""Ensembles: a bi-encoder inside a pair is the bi-encoder on the texts apart; members by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertForSequenceClassification

from retort.models.encoding import PairEncoder, Truncation
from retort.training.data.pairs import Pair
from retort.training.nn.backbone import BackboneError, load_backbone
from retort.training.nn.encoders import BiEncoder
from retort.training.nn.inference import run, student_model
from retort.training.teachers.ensemble import (
    BiMember,
    Ensemble,
    EnsembleError,
    load_ensemble,
)
from retort.training.teachers.scorers import load_scorer
from retort.training.teachers.scoring.scorer import MODEL, parse
from tests import architectures
from tests.tiny_texts import PASSAGES, QUERIES
from tests.training.backbones import save_backbone, save_cross_encoder
from tests.training.saved_teachers import save_checkpoint, save_teachers

PAIRS = [Pair(query, passage) for query in QUERIES for passage in PASSAGES]


@pytest.fixture
def bi_member(tmp_path: Path) -> tuple[BiMember, PairEncoder]:
    backbone = load_backbone(str(save_backbone(tmp_path / "backbone")))
    encoder = PairEncoder.from_file(backbone.tokenizer_path, Truncation(64, 24))
    return BiMember(backbone.encoder), encoder


def cosines_apart(bi_encoder: BiEncoder, encoder: PairEncoder) -> list[float]:
    (cls,), (sep,) = encoder.layout.before, encoder.layout.after

    def vector(text: str) -> torch.Tensor:
        ids = torch.tensor([[cls, *encoder.encode_passages([text])[0].ids, sep]])
        unit: torch.Tensor = bi_encoder(ids, torch.ones_like(ids))[0]
        return unit

    with torch.inference_mode():
        return [float(vector(pair.query) @ vector(pair.passage)) for pair in PAIRS]


def test_a_bi_encoder_in_a_pair_gives_the_cosine_of_the_texts_apart(
    bi_member: tuple[BiMember, PairEncoder],
) -> None:
    member, encoder = bi_member
    logits = run(student_model(Ensemble([("bi", member)])), encoder, PAIRS)
    expected = cosines_apart(member.bi_encoder, encoder)
    assert np.std(expected) > 0.01
    assert logits[:, 0] == pytest.approx(expected, abs=1e-5)


def test_gain_and_shift_go_to_their_head(bi_member: tuple[BiMember, PairEncoder]) -> None:
    member, encoder = bi_member
    ensemble = Ensemble([("a", member), ("b", member)])
    with torch.no_grad():
        ensemble.gain.copy_(torch.tensor([1.0, 3.0]))
        ensemble.shift.copy_(torch.tensor([0.0, -0.5]))
    logits = run(student_model(ensemble), encoder, PAIRS)
    assert logits[:, 1] == pytest.approx(3 * logits[:, 0] - 0.5, abs=1e-5)


def test_two_members_of_one_name_are_refused(bi_member: tuple[BiMember, PairEncoder]) -> None:
    with pytest.raises(EnsembleError, match="members are named a, a"):
        Ensemble([("a", bi_member[0]), ("a", bi_member[0])])


@pytest.mark.slow
def test_every_member_says_what_it_says_as_a_teacher(tmp_path: Path) -> None:
    specs = save_teachers(tmp_path)
    loaded = load_ensemble(specs)
    assert [head.name for head in loaded.ensemble.heads] == ["ce", "backbone", "answers", "hub"]
    assert loaded.ensemble.uncalibrated == ("backbone", "answers")
    encoder = PairEncoder.from_file(loaded.tokenizer_path, loaded.truncation)
    logits = run(student_model(loaded.ensemble), encoder, PAIRS)
    for column, spec in zip(logits.T[:3], specs[:3], strict=True):
        named = parse(spec)
        kind = named.kind if named.kind != MODEL else "cross-encoder"
        teacher = load_scorer(replace(named, kind=kind))
        # A compiled teacher may multiply in bf16.
        assert column == pytest.approx(teacher.score(PAIRS), abs=0.03)
        assert np.corrcoef(column, teacher.score(PAIRS))[0, 1] > 0.98


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_classifier_with_one_output_or_two(tmp_path: Path, outputs: int) -> None:
    place = save_cross_encoder(tmp_path / "hub", outputs)
    loaded = load_ensemble([f"hub-cross-encoder:{place}"])
    encoder = PairEncoder.from_file(loaded.tokenizer_path, loaded.truncation)
    batch = encoder.collate(encoder.encode(QUERIES[0], PASSAGES))
    model = BertForSequenceClassification.from_pretrained(place).eval()
    with torch.inference_mode():
        given = model(
            input_ids=torch.from_numpy(batch.input_ids),
            attention_mask=torch.from_numpy(batch.attention_mask),
            token_type_ids=torch.from_numpy(batch.token_type_ids),
        ).logits.numpy()
    expected = given[:, 0] if outputs == 1 else given[:, 1] - given[:, 0]
    assert student_model(loaded.ensemble)(batch)[:, 0] == pytest.approx(expected, abs=1e-5)


def test_a_pair_is_as_long_as_the_longest_that_a_member_learned_with(tmp_path: Path) -> None:
    specs = save_teachers(tmp_path)
    assert load_ensemble(specs[:3]).truncation == Truncation(48, 16)
    assert load_ensemble(specs[:3], 40, 12).truncation == Truncation(40, 12)
    with pytest.raises(EnsembleError, match="max_length is 128, and backbone has positions for 64"):
        load_ensemble(specs[1:2])


def test_a_member_with_several_heads_is_refused(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "student", save_backbone(tmp_path / "b"), heads=3)
    with pytest.raises(EnsembleError, match="student has 3 heads"):
        load_ensemble([f"cross-encoder:{folder}"])


def test_members_with_unlike_tokenizers_are_refused(tmp_path: Path) -> None:
    specs = save_teachers(tmp_path)
    path = tmp_path / "backbone" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"]["sherlock"] = len(content["model"]["vocab"])
    path.write_text(json.dumps(content))
    with pytest.raises(EnsembleError, match="backbone has another tokenizer than ce"):
        load_ensemble(specs[:2])


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    other = architectures.save_cross_encoder(tmp_path / "other", "distilbert")
    with pytest.raises(BackboneError, match="a distilbert model; one graph of several teachers"):
        load_ensemble([f"hub-cross-encoder:{other}"])
    place = save_cross_encoder(tmp_path / "three", 3)
    with pytest.raises(BackboneError, match="3 outputs, LABEL_0, LABEL_1, LABEL_2: say which"):
        load_ensemble([f"hub-cross-encoder:{place}"])
