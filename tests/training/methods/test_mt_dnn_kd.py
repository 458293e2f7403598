"""MT-DNN-KD: the tasks' losses against NumPy, and runs of several tasks from end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from retort.training.data.pairs import Pair
from retort.training.data.table import PairTable, write_table
from retort.training.labels.label import label_recipe
from retort.training.methods.distill import distill
from retort.training.methods.method import Examples, Material, MethodError
from retort.training.methods.mt_dnn_kd import (
    MtDnnKd,
    pair_loss,
    ranking_loss,
    task_of,
)
from retort.training.methods.registry import build_method
from retort.training.nn.loop import Progress, plan_batches
from retort.training.nn.student import Student, load_student, one_head
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.load import RecipeError
from retort.training.recipes.methods import MtDnnOptions, Task
from retort.training.recipes.parts.stage import Stage
from retort.training.recipes.parts.teacher import TeacherRef
from tests.training.methods.batches import Drawn, Floats, cross_entropy, sigmoid, unread
from tests.training.methods.test_distill import (
    LENGTH,
    OPTIMISER,
    WORDS,
    make_recipe,
    quiet,
    teach_ce,
)
from tests.training.methods.test_registry import killed_in_step

TIGHT = 1e-6
EVERYONE = torch.ones(14, dtype=torch.bool)
NOBODY = torch.full((14, 2), torch.nan, dtype=torch.float64)


def tensor(values: Floats) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def distance(kind: str, score: float, target: float) -> float:
    if kind == "similarity":
        return float((1 / (1 + np.exp(-score)) - target) ** 2)
    return float(np.log1p(np.exp(score)) - target * score)


def hard_ranking(batch: Drawn, scores: Floats) -> float:
    found = []
    for query in set(batch.groups):
        rows = np.flatnonzero(batch.groups == query)
        if batch.labels[rows].max() == batch.labels[rows].min():
            continue
        softmax = np.exp(scores[rows]) / np.exp(scores[rows]).sum()
        found += [-np.log(p) for p, row in zip(softmax, rows, strict=True) if batch.labels[row]]
    return float(np.mean(found))


def soft_ranking(batch: Drawn, scores: Floats) -> float:
    found = []
    for query in set(batch.groups):
        rows = np.flatnonzero(batch.groups == query)
        if len(rows) == 1:
            continue
        softmax = np.exp(scores[rows]) / np.exp(scores[rows]).sum()
        by_teacher = [np.exp(odds[rows]) / np.exp(odds[rows]).sum() for odds in batch.odds.T]
        mean = np.mean(by_teacher, axis=0)
        found.append(-float((mean * np.log(softmax)).sum()))
    return float(np.mean(found))


@pytest.mark.parametrize("kind", ["classification", "similarity"])
def test_the_loss_is_the_average_of_hard_and_soft(kind: str) -> None:
    batch = Drawn()
    scores, mean = batch.scores[:, 0], sigmoid(batch.odds).mean(axis=1)
    hard = [distance(kind, s, y) for s, y in zip(scores, batch.labels, strict=True)]
    soft = [distance(kind, s, q) for s, q in zip(scores, mean, strict=True)]
    given = tensor(scores), tensor(batch.labels), tensor(batch.odds)
    assert float(pair_loss(kind, *given, EVERYONE)) == pytest.approx(
        (np.mean(hard) + np.mean(soft)) / 2, rel=TIGHT
    )
    # A task without teachers has its labels alone, one without labels its teachers alone.
    alone = pair_loss(kind, given[0], given[1], NOBODY, EVERYONE)
    assert float(alone) == pytest.approx(np.mean(hard), rel=TIGHT)
    none = torch.empty((14, 0), dtype=torch.float64)
    assert float(pair_loss(kind, given[0], given[1], none, EVERYONE)) == float(alone)
    assert float(pair_loss(kind, *given, ~EVERYONE)) == pytest.approx(np.mean(soft), rel=TIGHT)
    # And both can stand in one batch.
    odds, labelled = given[2].clone(), EVERYONE.clone()
    odds[:5] = torch.nan
    labelled[9:] = False
    both = (np.array(hard[5:9]) + np.array(soft[5:9])) / 2
    wanted = np.mean([*hard[:5], *both, *soft[9:]])
    assert float(pair_loss(kind, given[0], given[1], odds, labelled)) == pytest.approx(
        wanted, rel=TIGHT
    )


def test_probabilities_are_averaged_and_not_logits() -> None:
    odds = torch.tensor([[0.0, 6.0]], dtype=torch.float64)
    score = torch.tensor([0.7], dtype=torch.float64)
    label = torch.zeros(1, dtype=torch.float64)
    unlabelled = torch.zeros(1, dtype=torch.bool)
    mean = (0.5 + 1 / (1 + np.exp(-6))) / 2
    wanted = distance("classification", 0.7, mean)
    found = float(pair_loss("classification", score, label, odds, unlabelled))
    assert found == pytest.approx(wanted, rel=TIGHT)
    assert abs(found - distance("classification", 0.7, float(sigmoid(np.array(3.0))))) > 0.05


def test_ranking_is_a_softmax_over_the_passages_of_a_query() -> None:
    batch = Drawn()
    scores = batch.scores[:, 0]
    groups = torch.tensor(batch.groups)
    given = tensor(scores), tensor(batch.labels)
    hard, soft = hard_ranking(batch, scores), soft_ranking(batch, scores)
    found = ranking_loss(*given, tensor(batch.odds), EVERYONE, groups)
    assert float(found) == pytest.approx((hard + soft) / 2, rel=TIGHT)
    alone = ranking_loss(*given, NOBODY, EVERYONE, groups)
    assert float(alone) == pytest.approx(hard, rel=TIGHT)
    told = ranking_loss(*given, tensor(batch.odds), ~EVERYONE, groups)
    assert float(told) == pytest.approx(soft, rel=TIGHT)


def test_a_batch_without_any_list_gives_no_loss_and_no_gradient() -> None:
    scores = torch.zeros(3, requires_grad=True)
    odds, everyone = torch.zeros((3, 2)), torch.ones(3, dtype=torch.bool)
    loss = ranking_loss(scores, torch.ones(3), odds, everyone, torch.tensor([0, 1, 2]))
    loss.backward()
    assert loss.item() == 0.0
    assert scores.grad is not None
    assert not scores.grad.any()


TASKS = (
    Task(name="yes", sources=["a"]),
    Task(name="order", sources=["b", "c"], kind="ranking"),
    Task(name="near", sources=["d"], kind="similarity"),
)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_batch_trains_the_head_of_its_own_task_with_its_own_loss(number: int) -> None:
    batch = Drawn()
    teachers = (TeacherRef(name="t", path="t"), TeacherRef(name="u", path="u"))
    numbers = torch.full((14,), number)
    method = MtDnnKd(teachers, MtDnnOptions(tasks=TASKS), numbers=numbers, labelled=EVERYONE)
    logits = torch.tensor(batch.scores, dtype=torch.float32, requires_grad=True)
    known = Examples(
        rows=torch.arange(14),
        targets=torch.zeros(14, 2),
        odds=torch.tensor(batch.odds, dtype=torch.float32),
        labels=torch.tensor(batch.labels, dtype=torch.float32),
        groups=torch.tensor(batch.groups),
        progress=Progress(0, 10, 1),
    )
    # The paper weighs hard and soft alike, whatever a stage's alpha is for other methods.
    stage = Stage(table=Path("none"), alpha=0.9)
    loss = method.loss((logits,), unread(), known, stage)
    scores, mean = batch.scores[:, number], sigmoid(batch.odds).mean(axis=1)
    wanted = {
        0: (cross_entropy(batch.labels, scores).mean() + cross_entropy(mean, scores).mean()) / 2,
        1: (hard_ranking(batch, scores) + soft_ranking(batch, scores)) / 2,
        2: (((sigmoid(scores) - batch.labels) ** 2 + (sigmoid(scores) - mean) ** 2) / 2).mean(),
    }[number]
    assert loss.item() == pytest.approx(float(wanted), rel=TIGHT)
    loss.backward()
    assert logits.grad is not None
    touched = logits.grad.abs().sum(dim=0) > 0
    assert touched.tolist() == [head == number for head in range(3)]


def test_which_task_a_source_is_of() -> None:
    assert [task_of(TASKS, source) for source in "abcde"] == [0, 1, 1, 2, None]
    assert task_of((Task(name="all"),), "anything") == 0
    twice = [TASKS[0], Task(name="yes", sources=["a"]), Task(name="rest")]
    with pytest.raises(ValueError, match="named yes; a belongs to two tasks; rest has no sources"):
        MtDnnOptions(tasks=tuple(twice))


RECIPE_TASKS = [
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
        "method": "mt-dnn-kd", "options": {"tasks": RECIPE_TASKS}, "teachers": teachers,
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    from retort.training.nn.batching import TokenTable

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
    method = build_method(recipe)
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
    method = build_method(recipe)
    strange = [*make_rows(), (Pair("q", "p", 1.0), "cola")]
    with pytest.raises(MethodError, match=r"cola in .* belongs to no task: add it"):
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
        (
            [{"name": "a", "sources": ["s"]}, {"name": "b", "sources": ["s"]}],
            "s belongs to two tasks",
        ),
        ([{"name": "a", "kind": "regression"}], r"options\.tasks\.0\.kind"),
        ([{"name": "../up"}], r"options\.tasks\.0\.name"),
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
            # A linear head alone has its last layer trimmed.
            assert torch.allclose(alone[:, 0], whole[:, number], atol=1e-6)
