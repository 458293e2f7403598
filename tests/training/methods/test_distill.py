"""Distilling end to end in small: teach, label, distil, and pick a killed run up again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from retort.training.data.evaluation_set import write_pairs
from retort.training.data.pairs import Pair
from retort.training.data.table import PairTable, select, table_digest, write_table
from retort.training.labels.label import label, label_recipe
from retort.training.labels.store import (
    HiddenStates,
    ScoreStore,
    StoreError,
    hidden_loss,
    pair_keys,
    variance,
)
from retort.training.methods.distill import distill
from retort.training.nn.basis import ChangedRunError
from retort.training.nn.student import load_student
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.load import parse_recipe
from retort.training.recipes.parts.teacher import TeacherRef
from retort.training.recipes.teacher import TeacherRecipe
from retort.training.teachers.scorers import load_scorer
from retort.training.teachers.teach import teach
from tests.training.backbones import save_backbone

WORDS = ("tower", "hamlet", "paris", "france", "river", "city", "play", "old")
OPTIMISER = {"lr": 3e-3, "epochs": 12, "batch_pairs": 8, "precision": "no", "freeze_words": False}
LENGTH = {"max_length": 64, "max_query_tokens": 16}


def make_pairs() -> list[Pair]:
    """A passage is right when it names one of the first four words, whatever is asked."""
    return [
        Pair(f"what is {a}", f"the {b} is by the {b}", float(b in WORDS[:4]), f"q-{a}", f"p-{b}")
        for a in WORDS
        for b in WORDS
    ]


def quiet(text: str) -> None:
    return None


@pytest.fixture
def table(tmp_path: Path) -> Path:
    pairs = make_pairs()
    path = tmp_path / "table.parquet"
    write_table(path, PairTable(tuple(pairs), ("made",) * len(pairs), {}))
    return path


def make_recipe(tmp_path: Path, table: Path, **changes: object) -> DistillRecipe:
    backbone = str(tmp_path / "backbone")
    if not Path(backbone).exists():
        save_backbone(Path(backbone))
    stage = {"table": str(table), "optimiser": OPTIMISER, "length": LENGTH}
    values = {
        "kind": "distill", "name": "small", "out": str(tmp_path / "out"),
        "store": str(tmp_path / "scores"),
        "teachers": [
            {"name": "ce", "path": str(tmp_path / "ce")},
            {"name": "bi", "path": backbone, "kind": "bi-encoder", "head": "cosine"},
        ],
        "student": {"init": backbone, "layers": [1]},
        "stages": [{**stage, "alpha": 1.0}, {**stage, "alpha": 0.5}],
        "checkpoint_steps": 30, **changes,
    }  # fmt: skip
    recipe = parse_recipe(values)
    assert isinstance(recipe, DistillRecipe)
    return recipe


def teacher_recipe(tmp_path: Path, table: Path, **changes: object) -> TeacherRecipe:
    recipe = parse_recipe(
        {
            "kind": "teacher",
            "name": "ce",
            "backbone": str(tmp_path / "backbone"),
            "table": str(table),
            "out": str(tmp_path / "ce"),
            "optimiser": OPTIMISER,
            "length": LENGTH,
            "dropout": 0.0,
            **changes,
        }
    )
    assert isinstance(recipe, TeacherRecipe)
    return recipe


def teach_ce(tmp_path: Path, table: Path, *, fresh: bool = False, **changes: object) -> Path:
    return teach(teacher_recipe(tmp_path, table, **changes), quiet, fresh=fresh)


@pytest.mark.slow
def test_the_whole_road_in_small(tmp_path: Path, table: Path) -> None:
    recipe = make_recipe(tmp_path, table)
    teach_ce(tmp_path, table)
    with pytest.raises(StoreError, match="run `retort label`"):
        distill(recipe, quiet)
    pairs = select(recipe.stages[0]).pairs
    for reference in recipe.teachers:
        label(load_scorer(reference), pairs, ScoreStore(recipe.store), quiet)
    folder = distill(recipe, quiet)
    loaded = load_student(folder)
    assert [head.name for head in loaded.student.heads] == ["golden", "soft-ce", "soft-bi"]
    assert loaded.student.config.num_hidden_layers == 1
    # The soft heads must have come nearer to their teachers than a constant would be.
    store = ScoreStore(recipe.store)
    batch = loaded.encoder().collate(
        [loaded.encoder().encode(pair.query, [pair.passage])[0] for pair in pairs]
    )
    with torch.inference_mode():
        logits = loaded.student(*(torch.from_numpy(getattr(batch, name)) for name in (
            "input_ids", "attention_mask", "token_type_ids"))).numpy()  # fmt: skip
    basis = loaded.meta["basis"]
    assert isinstance(basis, dict)
    identities = {name: identity for name, _, identity in basis["teachers"]}
    for column, name in enumerate(("ce", "bi"), start=1):
        targets = store.teacher(name, identities[name]).standardised(pairs)
        assert np.mean((logits[:, column] - targets) ** 2) < 0.95 * np.var(targets)

    # A second run with the same recipe finds both stages done and changes nothing.
    before = (folder / "model.safetensors").read_bytes()
    distill(recipe, quiet)
    assert (folder / "model.safetensors").read_bytes() == before
    # Another recipe does not take over its stages.
    with pytest.raises(ChangedRunError, match="seed: 1, now 9"):
        distill(make_recipe(tmp_path, table, seed=9), quiet)
    # The same recipe elsewhere gives the same student.
    elsewhere = make_recipe(tmp_path, table, out=str(tmp_path / "again"))
    assert (distill(elsewhere, quiet) / "model.safetensors").read_bytes() == before


@pytest.mark.slow
def test_hidden_states_are_kept_and_matched(tmp_path: Path, table: Path) -> None:
    stage = {"table": str(table), "optimiser": OPTIMISER, "length": LENGTH}
    backbone = str(tmp_path / "backbone")
    teachers = [{"name": "ce", "path": str(tmp_path / "ce"), "hidden": True}]
    stages = [{**stage, "hidden": 1.0}]
    recipe = make_recipe(tmp_path, table, teachers=teachers, stages=stages)
    plain = make_recipe(
        tmp_path, table, teachers=teachers, stages=[stage], out=str(tmp_path / "plain")
    )
    teach_ce(tmp_path, table)
    pairs = select(recipe.stages[0]).pairs
    teacher = load_scorer(recipe.teachers[0])
    label(teacher, pairs, ScoreStore(recipe.store), quiet)
    with pytest.raises(StoreError, match="64 of 64 pairs have no hidden state"):
        distill(recipe, quiet)
    label(teacher, pairs, ScoreStore(recipe.store), quiet, matched=pairs)
    states = HiddenStates(recipe.store / teacher.identity / "hidden", "ce")
    targets = states.lookup(pair_keys(pairs))

    def distance(folder: Path) -> float:
        loaded = load_student(folder)
        encoded = [loaded.encoder().encode(pair.query, [pair.passage])[0] for pair in pairs]
        batch = loaded.encoder().collate(encoded)
        with torch.inference_mode():
            _, states = loaded.student.eval().forward_first(
                torch.from_numpy(batch.input_ids),
                torch.from_numpy(batch.attention_mask),
                torch.from_numpy(batch.token_type_ids),
            )
        return float(hidden_loss(states, targets, variance(targets)))

    assert distance(distill(recipe, quiet)) < 0.7 * distance(distill(plain, quiet))
    bi = load_scorer(TeacherRef(name="bi", path=backbone, kind="bi-encoder"))
    with pytest.raises(TypeError, match="bi is no cross-encoder of ours"):
        label(bi, pairs, ScoreStore(recipe.store), quiet, matched=pairs)


def test_a_stage_of_another_table_or_teacher_is_not_taken_over(tmp_path: Path, table: Path) -> None:
    stage = {"table": str(table), "optimiser": OPTIMISER, "length": LENGTH, "alpha": 0.0}
    recipe = make_recipe(tmp_path, table, method="none", teachers=[], stages=[stage])
    distill(recipe, quiet)
    pairs = make_pairs()[:40]
    write_table(table, PairTable(tuple(pairs), ("made",) * len(pairs), {}))
    with pytest.raises(ChangedRunError, match=r"stages\.0\.table: content"):
        distill(recipe, quiet)
    distill(recipe, quiet, fresh=True)
    assert load_student(recipe.out / "student").meta["stages"][0]["table"] == table_digest(table)


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_the_curves_of_finished_stages(
    tmp_path: Path, table: Path
) -> None:
    stage = {"table": str(table), "optimiser": OPTIMISER, "length": LENGTH, "alpha": 0.0}
    recipe = make_recipe(tmp_path, table, method="none", teachers=[], stages=[stage, stage])
    first = load_student(distill(recipe, quiet)).meta["stages"]
    shutil.rmtree(recipe.out / "stage-2")
    assert load_student(distill(recipe, quiet)).meta["stages"] == first
    assert isinstance(first, list)
    assert [len(record["curve"]) > 0 for record in first] == [True, True]


def test_the_undistilled_student_has_one_head(tmp_path: Path, table: Path) -> None:
    stage = {"table": str(table), "optimiser": OPTIMISER, "length": LENGTH, "alpha": 0.0}
    recipe = make_recipe(tmp_path, table, method="none", teachers=[], stages=[stage])
    loaded = load_student(distill(recipe, quiet))
    assert [head.name for head in loaded.student.heads] == ["golden"]


def test_a_vocabulary_that_does_not_know_the_pairs_is_told(tmp_path: Path) -> None:
    table = tmp_path / "chinese.jsonl"
    write_pairs(
        table, [Pair(f"长城{n}在哪里", f"{w} 熊猫", float(n % 2)) for n, w in enumerate(WORDS)]
    )
    optimiser = {**OPTIMISER, "epochs": 0.5}
    stage = {"table": str(table), "optimiser": optimiser, "length": LENGTH, "alpha": 0.0}
    teachers = [{"name": "bi", "path": str(tmp_path / "backbone"), "kind": "bi-encoder"}]
    recipe = make_recipe(tmp_path, table, method="none", teachers=teachers, stages=[stage])

    def told(do: Callable[[Callable[[str], None]], object]) -> list[str]:
        said: list[str] = []
        do(said.append)
        warnings = [line for line in said if line.startswith("warning: the vocabulary of")]
        return [line.rpartition("(")[2] for line in warnings]

    assert told(lambda log: label_recipe(recipe, (), log)) == ["student.init)", "the teacher bi)"]
    assert told(lambda log: distill(recipe, log)) == ["student.init)"]
    teacher = parse_recipe(
        {
            "kind": "teacher", "name": "ce", "backbone": str(tmp_path / "backbone"),
            "table": str(table), "out": str(tmp_path / "ce"), "optimiser": optimiser,
            "length": LENGTH,
        }
    )  # fmt: skip
    assert isinstance(teacher, TeacherRecipe)
    assert told(lambda log: teach(teacher, log)) == ["backbone)"]
