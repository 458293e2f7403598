"""MT-DNN-KD end to end in small: three tasks, two of them with a teacher."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from retort.training.data.pairs import Pair
from retort.training.data.table import PairTable, write_table
from retort.training.labels.label_recipe import label_recipe
from retort.training.methods.distill import distill
from retort.training.methods.method import Material, MethodError
from retort.training.methods.mt_dnn_kd import MtDnnKd, build, one_head
from retort.training.nn.checkpoint import load_student
from retort.training.nn.loop import plan_batches
from retort.training.nn.student import Student
from retort.training.recipes.recipe import DistillRecipe, RecipeError
from tests.training.methods.test_distill import (
    LENGTH,
    OPTIMISER,
    WORDS,
    make_recipe,
    quiet,
    teach_ce,
)
from tests.training.methods.test_registry import killed_in_step

TASKS = [
    {"name": "firsts", "sources": ["firsts"]},
    {"name": "lasts", "sources": ["lasts"], "kind": "ranking"},
    {"name": "near", "sources": ["near"], "kind": "similarity"},
]


def make_rows() -> list[tuple[Pair, str]]:
    """Three tasks over the same words: right are the first four, or the last four; or nearly."""
    rows = []
    for a in WORDS:
        for b in WORDS:
            first = float(b in WORDS[:4])
            right = f"the {b} is by the {b}"
            rows.append((Pair(f"what is {a}", right, first, f"f-{a}"), "firsts"))
            rows.append((Pair(f"who is {a}", right, 1.0 - first, f"l-{a}"), "lasts"))
            near = 0.25 + 0.5 * first
            rows.append((Pair(f"how near is {a}", right, near, f"n-{a}"), "near"))
    return rows


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = make_rows()
    path = tmp_path / "table.parquet"
    write_table(path, PairTable(tuple(p for p, _ in rows), tuple(s for _, s in rows), {}))
    return path


def recipe_of(tmp_path: Path, table: Path, **changes: object) -> DistillRecipe:
    teachers = [{"name": "ce", "path": str(tmp_path / "ce"), "sources": ["firsts", "lasts"]}]
    stage = {"table": str(table), "optimiser": {**OPTIMISER, "epochs": 8}, "length": LENGTH}
    values: dict[str, object] = {
        "method": "mt-dnn-kd", "options": {"tasks": TASKS}, "teachers": teachers,
        "stages": [{**stage, "alpha": 0.5}], **changes,
    }  # fmt: skip
    return make_recipe(tmp_path, table, **values)


def scores_of(folder: Path, source: str) -> tuple[np.ndarray, np.ndarray]:
    loaded = load_student(folder)
    assert [head.name for head in loaded.student.heads] == ["golden"]
    pairs = [pair for pair, own in make_rows() if own == source]
    encoded = [loaded.encoder().encode(pair.query, [pair.passage])[0] for pair in pairs]
    batch = loaded.encoder().collate(encoded)
    with torch.inference_mode():
        logits = loaded.student(
            torch.from_numpy(batch.input_ids),
            torch.from_numpy(batch.attention_mask),
            torch.from_numpy(batch.token_type_ids),
        )
    return torch.sigmoid(logits[:, 0]).numpy(), np.array([pair.label for pair in pairs])


def test_every_task_is_learnt_and_leaves_a_student_of_its_own(tmp_path: Path, table: Path) -> None:
    recipe = recipe_of(tmp_path, table)
    teach_ce(tmp_path, table, sources=["firsts", "lasts"])
    counts = label_recipe(recipe, (), quiet)
    assert counts == {"ce": 128}  # the task without a teacher is not scored
    folder = distill(recipe, quiet)
    for task in ("firsts", "lasts"):
        scores, labels = scores_of(recipe.out / f"student-{task}", task)
        assert scores[labels == 1].mean() > scores[labels == 0].mean() + 0.1, task
    near, wanted = scores_of(recipe.out / "student-near", "near")
    assert ((near - wanted) ** 2).mean() < 0.9 * wanted.var()
    # `student` is the first task's; the heads of all are in the last stage's folder.
    first = (recipe.out / "student-firsts/model.safetensors").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == first
    heads = load_student(recipe.out / "stage-1").student.heads
    assert [head.name for head in heads] == ["task-firsts", "task-lasts", "task-near"]
    assert load_student(recipe.out / "student-near").meta["task"] == "near"


def test_a_killed_run_ends_where_an_uninterrupted_one_ends(
    tmp_path: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(tmp_path, table, checkpoint_steps=7)
    teach_ce(tmp_path, table, sources=["firsts", "lasts"])
    label_recipe(recipe, (), quiet)
    distill(recipe, quiet)
    again = recipe_of(tmp_path, table, checkpoint_steps=7, out=str(tmp_path / "killed"))
    killed_in_step(again, 18, monkeypatch)
    distill(again, quiet)
    for task in ("firsts", "lasts", "near"):
        name = f"student-{task}"
        whole, resumed = load_student(recipe.out / name), load_student(again.out / name)
        assert resumed.meta["stages"] == whole.meta["stages"]
        found = resumed.student.state_dict()
        assert all(found[key].equal(v) for key, v in whole.student.state_dict().items())


def material_of(recipe: DistillRecipe, rows: list[tuple[Pair, str]]) -> Material:
    from retort.models.encoding import PairEncoder, Truncation
    from retort.training.nn.backbone import load_backbone
    from retort.training.nn.tokens import TokenTable

    path = load_backbone(recipe.student.init).tokenizer_path
    pairs = [pair for pair, _ in rows]
    tokens = TokenTable(PairEncoder.from_file(path, Truncation(64, 16)), pairs)
    sources = [source for _, source in rows]
    return Material(pairs, sources, tokens, recipe.stages[0], path, 1, recipe.out)


def test_a_batch_is_of_one_task_and_keeps_a_rankings_query_whole(
    tmp_path: Path, table: Path
) -> None:
    recipe = recipe_of(tmp_path, table)
    rows = make_rows()
    material = material_of(recipe, rows)
    method = build(recipe)
    plan = recipe.stages[0].optimiser.model_copy(update={"epochs": 1.0})
    batches = plan_batches(
        method.units(material), material.tokens.lengths, plan, 1, method.divisions(material)
    )
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(rows)))
    order = []
    for batch in batches:
        (source,) = {rows[row][1] for row in batch}
        order.append(source)
        if source == "lasts":
            queries = [rows[row][0].query_id for row in batch]
            assert all(queries.count(query) == 8 for query in queries)
    assert order != sorted(order)  # the tasks' batches come mixed


def test_rows_of_no_task_and_rows_that_nobody_can_teach_are_refused(
    tmp_path: Path, table: Path
) -> None:
    recipe = recipe_of(tmp_path, table)
    method = build(recipe)
    strange = [*make_rows(), (Pair("q", "p", 1.0), "cola")]
    with pytest.raises(MethodError, match=r"cola in .* is of no task: add it"):
        method.prepare(material_of(recipe, strange))
    unlabelled = [*make_rows(), (Pair("q", "p", None), "near"), (Pair("r", "p", None), "firsts")]
    with pytest.raises(MethodError, match="task near: 1 pairs have no label and no teacher"):
        method.prepare(material_of(recipe, unlabelled))
    ready = method.prepare(material_of(recipe, [*unlabelled[:-2], unlabelled[-1]]))
    assert isinstance(ready, MtDnnKd)
    assert not ready.labelled[-1]
    assert ready.numbers[-1] == 0


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([], "give at least one"),
        ([{"name": "a", "sources": ["s"]}, {"name": "b", "sources": ["s"]}], "s is of two tasks"),
        ([{"name": "a", "kind": "regression"}], "options.tasks.0.kind"),
        ([{"name": "../up"}], "options.tasks.0.name"),
    ],
)
def test_wrong_tasks_are_found_when_the_recipe_is_read(
    tmp_path: Path, table: Path, tasks: list[dict[str, object]], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe_of(tmp_path, table, options={"tasks": tasks})


def test_one_head_of_several_says_what_it_said_among_them(tiny_student: Student) -> None:
    ids = torch.randint(4, 100, (3, 12))
    types = torch.tensor([[0] * 5 + [1] * 7] * 3)
    with torch.inference_mode():
        whole = tiny_student(ids, torch.ones_like(ids), types)
        for number in range(3):
            alone = one_head(tiny_student, number)(ids, torch.ones_like(ids), types)
            assert torch.equal(alone[:, 0], whole[:, number])
