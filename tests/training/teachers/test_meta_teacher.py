"""The meta-teacher: its loss by hand, the corruption really on, and resume bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from retort.training.data.table import PairTable, write_table
from retort.training.nn import loop
from retort.training.nn.loop import Progress
from retort.training.nn.student import CheckpointError, load_student
from retort.training.recipes.load import parse_recipe
from retort.training.recipes.parts.teacher import TeacherRef
from retort.training.recipes.teacher import TeacherRecipe
from retort.training.teachers.meta_teacher import (
    DOMAINS_FILE,
    Corruption,
    DomainError,
    DomainHead,
    MetaOutputs,
    load_knowledge,
    meta_loss,
    shuffled,
)
from retort.training.teachers.scorers import load_scorer
from retort.training.teachers.teach import teach
from tests.training.backbones import save_backbone
from tests.training.methods.test_distill import LENGTH, OPTIMISER, make_pairs


def write_domains(folder: Path) -> Path:
    """Two domains: queries on the first four words and on the others."""
    pairs = make_pairs()
    half = len(pairs) // 2
    path = folder / "domains.parquet"
    write_table(path, PairTable(tuple(pairs), ("north",) * half + ("south",) * half, {}))
    return path


def meta_recipe(folder: Path, **changes: object) -> TeacherRecipe:
    backbone = folder / "backbone"
    if not backbone.exists():
        save_backbone(backbone)
    values = {
        "kind": "teacher", "name": "meta", "objective": "meta", "backbone": str(backbone),
        "table": str(write_domains(folder)), "out": str(folder / "meta"), "length": LENGTH,
        "optimiser": {**OPTIMISER, "epochs": 6}, "dropout": 0.1, "checkpoint_steps": 10, **changes,
    }  # fmt: skip
    recipe = parse_recipe(values)
    assert isinstance(recipe, TeacherRecipe)
    return recipe


@pytest.mark.parametrize("gamma1", [0.0, 0.5])
def test_the_loss_against_numpy(gamma1: float) -> None:
    rng = np.random.default_rng(2)
    logits, domains = rng.standard_normal(6), rng.standard_normal((6, 3))
    labels, own = np.array([1, 0, 1, 1, 0, 0.3]), np.array([2, 0, 1, 1, 0, 2])
    progress = Progress(3, 9, 1)
    wrong = shuffled(torch.tensor(own), progress).numpy()
    assert wrong.tolist() != own.tolist()
    scores = rng.uniform(0.2, 1.0, 6)
    total = 0.0
    for row in range(6):
        p = 1 / (1 + np.exp(-logits[row]))
        golden = -labels[row] * np.log(p) - (1 - labels[row]) * np.log(1 - p)
        odds = np.exp(domains[row])
        total += scores[row] * (golden - gamma1 * np.log(odds[wrong[row]] / odds.sum()))
    outputs = MetaOutputs(torch.tensor(logits).float(), torch.tensor(domains).float())
    found = meta_loss(
        outputs, torch.tensor(labels).float(), torch.tensor(own), torch.tensor(scores).float(),
        gamma1, progress,
    )  # fmt: skip
    assert found.item() == pytest.approx(total / 6, abs=1e-6)


def test_corruption_against_numpy() -> None:
    torch.manual_seed(0)
    corruption, head = Corruption(3, 8), DomainHead(3, 8).eval()
    content, domains = torch.randn(4, 8), torch.tensor([2, 0, 0, 1])
    state = {name: value.numpy() for name, value in corruption.state_dict().items()}
    mixed = state["embedding.weight"][domains.numpy()] + content.numpy()
    z = mixed @ state["linear.weight"].T + state["linear.bias"]
    found = corruption(content, domains)
    np.testing.assert_allclose(found.detach().numpy(), z, atol=1e-6)
    weights = {name: value.numpy() for name, value in head.linear.state_dict().items()}
    expected = np.tanh(z) @ weights["weight"].T + weights["bias"]
    np.testing.assert_allclose(head(found).detach().numpy(), expected, atol=1e-6)
    everywhere = corruption.everywhere(content)
    assert torch.allclose(everywhere[torch.arange(4), domains], found, atol=1e-6)


def test_domains_are_shuffled_anew_each_step_and_always_alike() -> None:
    domains = torch.arange(20)
    orders = [shuffled(domains, Progress(step, 9, seed)) for seed in (1, 2) for step in (0, 1)]
    assert all(sorted(order.tolist()) == list(range(20)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 4
    assert torch.equal(orders[1], shuffled(domains, Progress(1, 9, 1)))


@pytest.mark.slow
def test_the_corruption_loss_is_on_and_prototype_scores_weigh(tmp_path: Path) -> None:
    plans = {"paper": {}, "off": {"corruption": 0.0}, "even": {"weighted": False}}
    weights = {}
    for name, plan in plans.items():
        folder = teach(meta_recipe(tmp_path, out=str(tmp_path / name), meta=plan))
        loaded = load_student(folder)
        weights[name] = loaded.student.state_dict()["head_bank.0.linear.weight"]
        known = load_knowledge(folder)
        assert known.prototypes.domains == ("north", "south")
        assert known.prototypes.vectors.shape == (1, 2, 32)
        # Untouched by a gradient, the domain embeddings stay as they were drawn (but for decay).
        spread = known.corruption.embedding.weight.std().item()
        assert (spread < 0.025) == (name == "off"), (name, spread)
    assert not torch.equal(weights["paper"], weights["off"])
    assert not torch.equal(weights["paper"], weights["even"])


@pytest.mark.slow
def test_a_meta_teacher_scores_like_any_cross_encoder_and_is_taught_once(tmp_path: Path) -> None:
    recipe = meta_recipe(tmp_path)
    folder = teach(recipe)
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert teach(recipe) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    scores = load_scorer(TeacherRef(name="meta", path=str(folder))).score(make_pairs())
    labels = np.array([pair.label for pair in make_pairs()])
    assert scores[labels == 1].mean() > scores[labels == 0].mean() + 0.5
    assert len(json.loads((folder / "student.json").read_text())["meta"]["curve"]) >= 1


class Killed(Exception):
    """What a power cut looks like from inside."""


@pytest.mark.slow
def test_a_killed_run_ends_where_an_uninterrupted_one_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = teach(meta_recipe(tmp_path))
    schedule = loop.linear_schedule

    def dying(step: int, steps: int, warmup: float) -> float:
        if step == 25:
            raise Killed
        return schedule(step, steps, warmup)

    again = meta_recipe(tmp_path, out=str(tmp_path / "killed"))
    with monkeypatch.context() as patch:
        patch.setattr(loop, "linear_schedule", dying)
        with pytest.raises(Killed):
            teach(again)
    assert (again.out / "checkpoint/progress.json").is_file()
    resumed = teach(again)
    for name in ("model.safetensors", DOMAINS_FILE):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()
    assert load_student(resumed).meta["curve"] == load_student(whole).meta["curve"]


def test_what_is_no_meta_teacher_is_said(tmp_path: Path) -> None:
    with pytest.raises(DomainError, match="needs the pairs of two sources or more"):
        teach(meta_recipe(tmp_path, sources=["north"]))
    folder = teach(meta_recipe(tmp_path, objective="pointwise", out=str(tmp_path / "plain")))
    with pytest.raises(CheckpointError, match="only a teacher taught with `objective: meta`"):
        load_knowledge(folder)
