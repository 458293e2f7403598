"""Cross-encoders of many architectures as one logit a pair; and what is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from retort.models.encoding import PairEncoder
from retort.training.data.pairs import Pair
from retort.training.nn.backbone import BackboneError
from retort.training.nn.inference import run, student_model
from retort.training.teachers.classifier import LoadedClassifier, load_classifier
from tests.architectures import (
    ARCHITECTURES,
    NO_LIMIT,
    POSITIONS,
    save_causal_lm,
    save_cross_encoder,
    save_encoder,
    save_sentence_cross_encoder,
)

PAIRS = [
    Pair("how tall is the tower", "the tower is 330 metres tall"),
    Pair("how tall is the tower", "the old river"),
    Pair("where is the museum", "in the old city"),
]
# GPT-2 has no token to pad with, which is another test.
KNOWN = sorted(set(ARCHITECTURES) - {"gpt2"})


def logits_of(loaded: LoadedClassifier, pairs: list[Pair]) -> list[float]:
    encoder = PairEncoder(loaded.tokenizer, loaded.truncation, loaded.layout)
    return [float(row) for row in run(student_model(loaded.classifier), encoder, pairs)[:, 0]]


@torch.inference_mode()
def original(folder: Path, pairs: list[Pair], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The outputs (pairs, outputs) of transformers, one unpadded pair at a time."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [model(**tokenizer(p.query, p.passage, return_tensors="pt")).logits[0] for p in pairs]
    return torch.stack(rows).float()


@pytest.mark.parametrize("architecture", KNOWN)
def test_its_logits_are_those_of_transformers(architecture: str, tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "m", architecture)
    loaded = load_classifier("m", str(folder), PAIRS)
    expected = original(folder, PAIRS)[:, 0].numpy()
    assert expected.std() > 0.003
    assert logits_of(loaded, PAIRS) == pytest.approx(expected, abs=1e-5)
    assert loaded.truncation.max_length == POSITIONS
    assert loaded.activation == "Sigmoid"


@pytest.mark.parametrize("architecture", ["roberta", "xlm-roberta", "mpnet"])
def test_positions_that_begin_after_the_padding_are_not_counted(
    architecture: str, tmp_path: Path
) -> None:
    folder = save_cross_encoder(tmp_path / "m", architecture, limit=NO_LIMIT)
    loaded = load_classifier("m", str(folder))
    assert loaded.truncation.max_length == POSITIONS
    # As long a pair as there may be finds all its positions.
    assert np.isfinite(logits_of(loaded, [Pair("the tower", "old river " * POSITIONS)])).all()


def test_layouts_are_read_off_the_tokenizer(tmp_path: Path) -> None:
    def layout(architecture: str) -> tuple[int, int, int, int, int]:
        folder = save_cross_encoder(tmp_path / architecture, architecture)
        found = load_classifier("m", str(folder)).layout
        marks = (found.before, found.between, found.after)
        return *map(len, marks), found.boundary, len(found.inputs)  # type: ignore[return-value]

    assert layout("bert") == (1, 1, 1, 1, 3)
    assert layout("roberta") == (1, 2, 1, 2, 2)
    assert layout("distilbert") == (1, 1, 1, 1, 2)
    # Its tokenizer tells segments apart, but the model has none.
    assert layout("deberta-v2") == (1, 1, 1, 1, 2)
    assert layout("qwen3") == (0, 0, 0, 0, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_the_size_are_computed_in_float32(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    folder = save_cross_encoder(tmp_path / "m", "roberta", dtype=dtype)
    loaded = load_classifier("m", str(folder))
    assert {p.dtype for p in loaded.classifier.parameters()} == {torch.float32}
    expected = original(folder, PAIRS)[:, 0].numpy()
    assert logits_of(loaded, PAIRS) == pytest.approx(expected, abs=1e-5)


def test_of_two_outputs_the_second_says_yes(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "m", "roberta", 2)
    outputs = original(folder, PAIRS)
    loaded = load_classifier("m", str(folder))
    assert logits_of(loaded, PAIRS) == pytest.approx(
        (outputs[:, 1] - outputs[:, 0]).numpy(), abs=1e-5
    )
    assert loaded.activation == "Identity"


def test_of_three_outputs_one_has_to_be_named(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "m", "roberta", 3)
    with pytest.raises(BackboneError, match="3 outputs, LABEL_0, LABEL_1, LABEL_2: say which"):
        load_classifier("m", str(folder))
    shares = original(folder, PAIRS).softmax(-1)[:, 2]
    for wanted in ("LABEL_2", "2"):
        loaded = load_classifier("m", str(folder), wanted=wanted)
        found = torch.tensor(logits_of(loaded, PAIRS)).sigmoid()
        assert found.tolist() == pytest.approx(shares.tolist(), abs=1e-6)
    with pytest.raises(BackboneError, match="no output entailment: there are LABEL_0"):
        load_classifier("m", str(folder), wanted="entailment")


def test_a_length_that_is_asked_for_has_to_be_readable(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "m", "roberta")
    asked = load_classifier("m", str(folder), max_length=32, max_query_tokens=12).truncation
    assert (asked.max_length, asked.max_query_tokens) == (32, 12)
    with pytest.raises(BackboneError, match="reads 64 tokens at most"):
        load_classifier("m", str(folder), max_length=65)


def test_a_folder_of_sentence_transformers(tmp_path: Path) -> None:
    folder = save_sentence_cross_encoder(tmp_path / "m", "roberta", max_length=24)
    loaded = load_classifier("m", str(folder))
    assert loaded.truncation.max_length == 24
    assert loaded.activation == "Sigmoid"
    settings = folder / "config_sentence_transformers.json"
    told = json.loads(settings.read_text())
    settings.write_text(json.dumps({**told, "activation_fn": "torch.nn.modules.linear.Identity"}))
    assert load_classifier("m", str(folder)).activation == "Identity"
    transformer = folder / "sentence_bert_config.json"
    read = json.loads(transformer.read_text())
    transformer.write_text(json.dumps({**read, "max_seq_length": 20}))
    assert load_classifier("m", str(folder)).truncation.max_length == 20
    transformer.write_text(json.dumps({**read, "do_lower_case": True}))
    with pytest.raises(BackboneError, match="changes texts before it reads them"):
        load_classifier("m", str(folder))
    transformer.write_text(json.dumps(read))
    settings.write_text(json.dumps({**told, "default_prompt_name": "web"}))
    with pytest.raises(BackboneError, match="puts the prompt web before each text"):
        load_classifier("m", str(folder))


def refusal(folder: Path) -> str:
    with pytest.raises(BackboneError) as refused:
        load_classifier("m", str(folder), PAIRS)
    return str(refused.value)


def test_what_is_no_cross_encoder_is_refused(tmp_path: Path) -> None:
    assert "lacks classifier.dense.bias" in refusal(save_encoder(tmp_path / "e", "roberta"))
    assert "a language model (Qwen3ForCausalLM)" in refusal(save_causal_lm(tmp_path / "lm"))
    bare = save_cross_encoder(tmp_path / "bare", "roberta", tokenizer=False)
    assert "no tokenizer: save the tokenizer of its base model" in refusal(bare)
    assert "no token to pad with" in refusal(save_cross_encoder(tmp_path / "gpt2", "gpt2"))


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "m", "roberta")
    config = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = config["model"]["vocab"]
    vocabulary["enormous"] = 5_000
    (folder / "tokenizer.json").write_text(json.dumps(config))
    assert "a token with id 5000, and the model knows" in refusal(folder)


def test_a_tokenizer_that_lays_out_some_pairs_otherwise_is_refused(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "m", "roberta")
    content = json.loads((folder / "tokenizer.json").read_text())
    # It drops white space at the ends of a pair's text, which no text alone loses.
    content["added_tokens"].append(
        {"id": 5, "content": "tower", "single_word": False, "lstrip": True, "rstrip": True,
         "normalized": False, "special": True}
    )  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(content))
    assert "does not lay out every pair alike" in refusal(folder)
