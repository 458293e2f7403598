"""The hub's pupil: any architecture learns, and what it leaves is read alike by three libraries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from retort.training.data.table import PairTable, write_table
from retort.training.nn.backbone import BackboneError
from retort.training.nn.basis import ChangedRunError
from retort.training.recipes.load import RecipeError, load_recipe
from retort.training.recipes.teacher import TeacherRecipe
from retort.training.teachers.hub_pupil import load_hub_pupil
from retort.training.teachers.scorers import load_scorer
from retort.training.teachers.scoring.scorer import Spec
from retort.training.teachers.teach import teach as run_teach
from tests.architectures import save_causal_lm, save_cross_encoder, save_encoder
from tests.training.methods.test_distill import make_pairs, teach_ce, teacher_recipe

ROOT = Path(__file__).parents[3]
PAIRS = make_pairs()
LABELS = np.array([pair.label for pair in PAIRS])
SHORT = {
    "length": {"max_length": 56, "max_query_tokens": 24},
    "optimiser": {"lr": 3e-3, "epochs": 6, "batch_pairs": 8, "precision": "no",
                  "freeze_words": False},
}  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def table(work: Path) -> Path:
    write_table(work / "table.parquet", PairTable(tuple(PAIRS), ("made",) * len(PAIRS), {}))
    return work / "table.parquet"


@pytest.fixture(scope="module")
def mpnet(work: Path) -> Path:
    return save_encoder(work / "mpnet", "mpnet")


def teach(work: Path, table: Path, backbone: Path, name: str, **changes: object) -> Path:
    values = {**SHORT, "backbone": str(backbone), "out": str(work / name), **changes}
    return teach_ce(work, table, **values)  # type: ignore[arg-type]


def scored(folder: Path) -> NDArray[np.float32]:
    return np.asarray(load_scorer(Spec("t", "hub-cross-encoder", str(folder))).score(PAIRS))


def by_transformers(folder: Path) -> NDArray[np.float32]:
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        logits = [model(**tokenizer(p.query, p.passage, return_tensors="pt")).logits for p in PAIRS]
    return torch.cat(logits)[:, 0].numpy()


@pytest.mark.parametrize(
    "architecture",
    [
        "bert", "mpnet", "roberta", "xlm-roberta", "deberta-v2", "electra", "modernbert",
        "distilbert", "albert", "qwen3",
    ],
)  # fmt: skip
@pytest.mark.slow
def test_any_architecture_is_taught_and_read_by_every_library(
    work: Path, table: Path, architecture: str
) -> None:
    backbone = save_encoder(work / f"{architecture}-encoder", architecture)
    folder = teach(work, table, backbone, architecture, shape="hub-cross-encoder")
    theirs = by_transformers(folder)
    np.testing.assert_allclose(scored(folder), theirs, atol=1e-5)
    library = CrossEncoder(str(folder), device="cpu")
    texts = [(pair.query, pair.passage) for pair in PAIRS]
    np.testing.assert_allclose(
        library.predict(texts, activation_fn=torch.nn.Identity()), theirs, atol=1e-5
    )
    assert library.max_seq_length == 56
    assert theirs[LABELS == 1].mean() > theirs[LABELS == 0].mean()


def test_a_cross_encoder_is_taught_further(work: Path, table: Path) -> None:
    # BERT too: what has a head keeps it, and its shape.
    start = save_cross_encoder(work / "start", "bert")
    before = scored(start)
    still = {**SHORT, "optimiser": {"lr": 1e-12, "epochs": 0.1, "precision": "no"}}
    again = teach(work, table, start, "again", **still)
    np.testing.assert_allclose(scored(again), before, atol=1e-5)
    recorded = json.loads((again / "taught.json").read_text())
    assert (recorded["pairs"], recorded["recipe"]["backbone"]) == (64, str(start))


@pytest.mark.parametrize("changes", [{"objective": "margin"}, {"objective": "listwise"},
                                     {"listwise": 1.0}])  # fmt: skip
def test_lists_are_learned_in_parts(
    work: Path, table: Path, mpnet: Path, changes: dict[str, object]
) -> None:
    name = "-".join(map(str, changes.values()))
    folder = teach(work, table, mpnet, name, list_passages=3, **changes)
    scores = scored(folder)
    assert scores[LABELS == 1].mean() > scores[LABELS == 0].mean()


def test_the_same_recipe_gives_the_same_bytes_and_another_is_refused(
    work: Path, table: Path, mpnet: Path
) -> None:
    first, second = (teach(work, table, mpnet, name) for name in ("first", "second"))
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    stamp = (first / "model.safetensors").stat().st_mtime_ns
    teach(work, table, mpnet, "first")
    assert (first / "model.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(ChangedRunError) as caught:
        teach(work, table, mpnet, "first", seed=2)
    # The new head is drawn by the seed, and is no part of the backbone.
    assert str(caught.value).splitlines()[1:] == ["  seed: 1, now 2"]


def test_the_recipe_of_twelve_layers_runs(work: Path, table: Path, mpnet: Path) -> None:
    # fmt: off
    changes = [f"backbone={mpnet}", f"table={table}", f"out={work / 'twelve'}",
               "length={max_length: 56, max_query_tokens: 24}", "optimiser.batch_pairs=16"]
    # fmt: on
    recipe = load_recipe(ROOT / "recipes/teacher-mpnet.yaml", changes)
    assert isinstance(recipe, TeacherRecipe)
    curve = json.loads((run_teach(recipe) / "taught.json").read_text())["curve"]
    assert curve[-1][0] == 6  # 64 pairs, one and a half times: lists of 8, two per batch


def test_a_new_head_is_said(work: Path, table: Path, mpnet: Path) -> None:
    def about(backbone: Path) -> str:
        changes = {**SHORT, "backbone": str(backbone)}
        return load_hub_pupil(teacher_recipe(work, table, **changes)).about

    assert about(mpnet) == f"{mpnet}, a mpnet model, with a new head"
    three = save_cross_encoder(work / "three", "roberta", 3)
    assert about(three).endswith("with a new head in place of its own, of 3 outputs")
    one = save_cross_encoder(work / "one", "roberta")
    assert about(one).endswith("a roberta model, taught further")


def test_what_cannot_be_taught_is_refused_in_a_sentence(
    work: Path, table: Path, mpnet: Path
) -> None:
    def refused(words: str, backbone: Path = mpnet, **changes: object) -> None:
        with pytest.raises((BackboneError, RecipeError, ValueError), match=words):
            teach(work, table, backbone, "never", **changes)
        assert not (work / "never").exists()

    refused("no tokenizer", save_cross_encoder(work / "bare", "mpnet", tokenizer=False))
    refused("no token to pad with", save_causal_lm(work / "gpt2", "gpt2"))
    refused(
        "max_length is 128, and the encoder has positions for 64",
        length={"max_length": 128, "max_query_tokens": 12},
    )
    refused("neither a folder", work / "nowhere")
    for changes in ({"layers": [0]}, {"width": 32}, {"objective": "meta"},
                    {"shape": "bi-encoder", "objective": "infonce"}):  # fmt: skip
        refused("only BERT can be cut", **changes)
    refused("layers: ", shape="hub-cross-encoder", layers=[0])
    refused("bi-encoder learns infonce", objective="infonce")
    refused("list_passages: ", list_passages=4)
    bert = save_encoder(work / "plain", "bert")
    checkpoint = teach(work, table, bert, "checkpoint")
    assert (checkpoint / "student.json").is_file()
    refused("has a student's shape", checkpoint, shape="hub-cross-encoder")
