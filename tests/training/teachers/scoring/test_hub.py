"""Cross-encoders of any architecture say what transformers says of one pair at a time, or nothing.

"One pair at a time" is what a model's own card does: no padding, no batch, no code of ours.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from retort.training.data.pairs import Pair
from retort.training.nn.backbone import BackboneError
from retort.training.recipes.parts.teacher import TeacherRef
from retort.training.teachers.scorers import load_scorer
from retort.training.teachers.scoring.hub import HubCrossEncoder
from retort.training.teachers.scoring.scorer import Scorer, parse
from tests.architectures import (
    ARCHITECTURES,
    NO_LIMIT,
    save_causal_lm,
    save_cross_encoder,
    save_encoder,
    save_sentence_cross_encoder,
)
from tests.tiny_texts import golden_texts

LONG = "the river was old and the city by the river was old " * 8
PAIRS = [
    *(Pair(*texts) for texts in golden_texts()[:20]),
    Pair("who wrote hamlet", LONG),
    Pair(LONG, "Hamlet is a play."),
    Pair(LONG, LONG),
    Pair("  where is paris  ", "Paris is in France.\n"),
    Pair("一 ?", "ça — 330 m"),
]
TIGHT = 1e-4


def teacher(folder: Path | str, output: int | str | None = None) -> Scorer:
    return load_scorer(
        TeacherRef(name="t", path=str(folder), kind="hub-cross-encoder", output=output)
    )


@torch.inference_mode()
def one_by_one(folder: Path, limit: int) -> np.ndarray:
    """Outputs (pairs, outputs) of transformers."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [
        model(
            **tokenizer(p.query, p.passage, truncation=True, max_length=limit, return_tensors="pt")
        ).logits[0]
        for p in PAIRS
    ]
    return np.array(torch.stack(rows).numpy())


def by_library(folder: Path) -> Any:
    """Outputs of sentence-transformers, without an activation."""
    pairs = [(pair.query, pair.passage) for pair in PAIRS]
    model = CrossEncoder(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    return model.predict(pairs, activation_fn=torch.nn.Identity())


@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - {"gpt2"}))
def test_every_architecture_says_what_both_libraries_say(tmp_path: Path, architecture: str) -> None:
    folder = save_cross_encoder(tmp_path / "m", architecture)
    scores = teacher(folder).score(PAIRS)
    assert scores.std() > 0.01
    assert np.abs(scores - one_by_one(folder, 64)[:, 0]).max() < TIGHT
    assert np.abs(scores - by_library(folder)).max() < TIGHT


@pytest.mark.parametrize("architecture", ["bert", "modernbert", "xlm-roberta"])
def test_a_folder_of_sentence_transformers_is_cut_as_that_library_cuts(
    tmp_path: Path, architecture: str
) -> None:
    folder = save_sentence_cross_encoder(tmp_path / "m", architecture, max_length=24)
    scores = teacher(folder).score(PAIRS)
    assert np.abs(scores - by_library(folder)).max() < TIGHT
    assert np.abs(scores - one_by_one(folder, 64)[:, 0]).max() > TIGHT


def test_a_prompt_of_the_folder_is_asked_with(tmp_path: Path) -> None:
    folder = save_sentence_cross_encoder(tmp_path / "m", "bert")
    bare = teacher(folder)
    settings = folder / "config_sentence_transformers.json"
    told = json.loads(settings.read_text())
    settings.write_text(
        json.dumps({**told, "prompts": {"ask": "the river "}, "default_prompt_name": "ask"})
    )
    prompted = teacher(folder)
    assert np.abs(prompted.score(PAIRS) - by_library(folder)).max() < TIGHT
    assert np.abs(prompted.score(PAIRS) - bare.score(PAIRS)).max() > 0.01
    assert prompted.identity != bare.identity
    assert "the river" in prompted.about


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_scored_in_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    folder = save_cross_encoder(tmp_path / "m", "bert", dtype=dtype)
    scores = teacher(folder).score(PAIRS)
    assert scores.dtype == np.float32
    assert np.abs(scores - one_by_one(folder, 64)[:, 0]).max() < TIGHT


def test_of_two_outputs_the_second_says_yes(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "m", "roberta", outputs=2)
    outputs = one_by_one(folder, 64)
    assert np.abs(teacher(folder).score(PAIRS) - (outputs[:, 1] - outputs[:, 0])).max() < TIGHT
    assert np.abs(teacher(folder, 0).score(PAIRS) + (outputs[:, 1] - outputs[:, 0])).max() < TIGHT


def test_of_several_outputs_the_one_is_named(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "m", "bert", outputs=3)
    path = folder / "config.json"
    labels = ("contradiction", "entailment", "neutral")
    named = {"id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **named}))
    with pytest.raises(BackboneError, match=r"3 outputs, contradiction, entailment, neutral: say"):
        teacher(folder)
    with pytest.raises(BackboneError, match=r"no output relevant: there are contradiction"):
        teacher(folder, "relevant")
    outputs = one_by_one(folder, 64).astype(np.float64)
    expected = outputs[:, 1] - np.logaddexp(outputs[:, 0], outputs[:, 2])
    found = teacher(folder, "Entailment")
    assert np.abs(found.score(PAIRS) - expected).max() < TIGHT
    assert found.identity == teacher(folder, 1).identity != teacher(folder, 2).identity
    system = load_scorer(parse(f"nli=hub-cross-encoder:{folder}#output=entailment"))
    assert system.score(PAIRS[:3]) == pytest.approx(expected[:3], abs=TIGHT)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "mpnet", "distilbert", "modernbert"])
def test_a_short_table_of_positions_is_respected(tmp_path: Path, architecture: str) -> None:
    folder = save_cross_encoder(tmp_path / "m", architecture, positions=20, limit=NO_LIMIT)
    found = teacher(folder)
    assert isinstance(found, HubCrossEncoder)
    assert found.max_length == 20
    assert np.abs(found.score(PAIRS) - one_by_one(folder, 20)[:, 0]).max() < TIGHT


def test_a_query_of_any_length_leaves_some_of_the_passage(tmp_path: Path) -> None:
    found = teacher(save_cross_encoder(tmp_path / "m", "bert"))
    river, tower = found.score([Pair(LONG, "the river was old"), Pair(LONG, "the tower " * 3)])
    assert abs(river - tower) > 1e-3


def without_tokenizer(folder: Path) -> Path:
    return save_cross_encoder(folder, "bert", tokenizer=False)


def with_nan(folder: Path) -> Path:
    save_cross_encoder(folder, "bert")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.get_parameter("bert.encoder.layer.1.output.dense.weight")[0, 0] = float("nan")
    model.save_pretrained(folder)
    return folder


def with_another_tokenizer(folder: Path) -> Path:
    save_cross_encoder(folder, "bert")
    other = save_cross_encoder(folder.with_name("other"), "roberta")
    AutoTokenizer.from_pretrained(other).save_pretrained(folder)
    return folder


REFUSED: dict[str, tuple[Any, str]] = {
    "headless": (
        lambda folder: save_encoder(folder, "roberta"),
        r"no cross-encoder: its checkpoint, of RobertaModel, lacks classifier\.dense\.bias.*random",
    ),
    "causal": (save_causal_lm, r"a language model \(Qwen3ForCausalLM\).*kind: http.*convert"),
    "gpt2": (lambda folder: save_causal_lm(folder, "gpt2"), "a language model"),
    "tokenizer": (without_tokenizer, r"no tokenizer.*save_pretrained"),
    "another": (with_another_tokenizer, r"a token with id \d+, and the model knows \d+"),
    "nan": (with_nan, r"not finite.*bert\.encoder\.layer\.1\.output\.dense\.weight"),
    "padding": (
        lambda folder: save_cross_encoder(folder, "gpt2"),
        r"no token to pad with: set tokenizer\.pad_token",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_rank_is_refused_with_what_to_do(tmp_path: Path, case: str) -> None:
    save, message = REFUSED[case]
    folder = save(tmp_path / "m")
    with pytest.raises(BackboneError, match=f"^{folder}: .*{message}"):
        teacher(folder)


def test_a_decoder_pads_at_the_end_with_the_token_it_is_given(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "m", "gpt2")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token, tokenizer.padding_side = tokenizer.eos_token, "left"
    tokenizer.save_pretrained(folder)
    assert np.abs(teacher(folder).score(PAIRS) - one_by_one(folder, 64)[:, 0]).max() < TIGHT


def test_the_tokenizer_is_part_of_the_identity_and_the_precision_of_a_file_is_not(
    tmp_path: Path,
) -> None:
    one = teacher(save_cross_encoder(tmp_path / "one", "bert"))
    same = teacher(save_cross_encoder(tmp_path / "same", "bert"))
    assert one.identity == same.identity
    permuted = save_cross_encoder(tmp_path / "permuted", "bert")
    path = permuted / "tokenizer.json"
    content = json.loads(path.read_text())
    words = content["model"]["vocab"]
    words["river"], words["tower"] = words["tower"], words["river"]
    path.write_text(json.dumps(content))
    assert teacher(permuted).identity != one.identity
    other = teacher(save_cross_encoder(tmp_path / "other", "bert", seed=5))
    assert other.identity != one.identity
    shorter = teacher(save_cross_encoder(tmp_path / "shorter", "bert", limit=32))
    assert shorter.identity != one.identity
