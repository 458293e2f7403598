"""The ensemble: a bi-encoder inside a pair is the bi-encoder on the two texts apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from retort.models.encoding import PairEncoder, Truncation
from retort.training.data.pairs import Pair
from retort.training.nn.backbone import load_backbone
from retort.training.nn.bi_encoder import BiEncoder
from retort.training.nn.ensemble import BiMember, Ensemble, EnsembleError
from retort.training.nn.inference import run, student_model
from tests.tiny_texts import PASSAGES, QUERIES
from tests.training.backbones import save_backbone

PAIRS = [Pair(query, passage) for query in QUERIES for passage in PASSAGES]


@pytest.fixture
def bi_member(tmp_path: Path) -> tuple[BiMember, PairEncoder]:
    backbone = load_backbone(str(save_backbone(tmp_path / "backbone")))
    encoder = PairEncoder.from_file(backbone.tokenizer_path, Truncation(64, 24))
    return BiMember(backbone.encoder), encoder


def cosines_apart(bi_encoder: BiEncoder, encoder: PairEncoder) -> list[float]:
    cls, sep = encoder.special_ids

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
