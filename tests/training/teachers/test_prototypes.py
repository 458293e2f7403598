"""Prototypes: means of a domain's embeddings, and scores against them as the formula says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from retort.models.encoding import PairEncoder, Truncation
from retort.training.data.pairs import Pair
from retort.training.nn.backbone import load_backbone
from retort.training.nn.batching import TokenTable
from retort.training.teachers.meta_teacher import DomainError, content, embed, fit_prototypes
from tests.training.backbones import save_backbone

Floats = NDArray[np.float64]
SOURCES = ["a", "b", "a", "c", "b", "c", "a", "c", "b"]
LABELS = np.array([1, 0, 0, 1, 1, 0, 1, 0, 1], dtype=np.float64)


def embeddings() -> Floats:
    return np.random.default_rng(0).standard_normal((9, 5)) + 0.5


def cosine(one: Floats, other: Floats) -> float:
    return float(one @ other / np.sqrt(one @ one) / np.sqrt(other @ other))


def by_hand(values: Floats, by_class: bool, own: float, others: float) -> list[float]:
    scores = []
    for row, domain in enumerate(SOURCES):
        centres = {}
        for name in "abc":
            rows = [
                i for i, source in enumerate(SOURCES)
                if source == name and (not by_class or LABELS[i] == LABELS[row])
            ]  # fmt: skip
            centres[name] = values[rows].mean(axis=0)
        mine = centres.pop(domain)
        rest = sum(centres.values()) / 2
        scores.append(own * cosine(values[row], mine) + others * cosine(values[row], rest))
    return scores


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize(("own", "others"), [(0.5, 0.5), (1.0, 0.2)])
def test_scores_against_numpy(by_class: bool, own: float, others: float) -> None:
    values, labels = torch.tensor(embeddings()), torch.tensor(LABELS)
    made = fit_prototypes(values, SOURCES, labels, by_class=by_class, own=own, others=others)
    assert made.domains == ("a", "b", "c")
    found = made.scores(values, SOURCES, labels).tolist()
    assert found == pytest.approx(by_hand(embeddings(), by_class, own, others), abs=1e-6)


def test_one_domain_is_none_and_a_strange_one_is_named() -> None:
    values, labels = torch.tensor(embeddings()), torch.tensor(LABELS)
    with pytest.raises(DomainError, match="needs the pairs of two sources or more"):
        fit_prototypes(values, ["a"] * 9, labels)
    with pytest.raises(DomainError, match="b has pairs of one class alone: set"):
        fit_prototypes(values[:4], SOURCES[:4], torch.tensor([1.0, 0, 0, 0]), by_class=True)
    made = fit_prototypes(values, SOURCES, labels)
    with pytest.raises(DomainError, match=r"no domain x, y: the meta-teacher learned a, b, c"):
        made.numbers(["y", "a", "x"])


def test_an_embedding_is_the_mean_of_all_tokens_but_the_first_and_the_padding() -> None:
    hidden = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 5, 3)))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    found = content(hidden, mask)
    assert torch.allclose(found[0], hidden[0, 1:].mean(0))
    assert torch.allclose(found[1], hidden[1, 1:3].mean(0))


def test_embeddings_come_in_the_order_of_the_pairs(tmp_path: Path) -> None:
    backbone = load_backbone(str(save_backbone(tmp_path / "backbone")))
    texts = ["the old river", "paris", "the city of paris is old and by the river", "hamlet"]
    pairs = [Pair("what is old", text, 1.0) for text in texts]
    encoder = PairEncoder.from_file(backbone.tokenizer_path, Truncation(48, 16))
    together = embed(backbone.encoder, TokenTable(encoder, pairs))
    assert together.shape == (4, 32)
    for row, pair in enumerate(pairs):
        alone = embed(backbone.encoder, TokenTable(encoder, [pair]))
        assert torch.allclose(together[row], alone[0], atol=1e-5)
