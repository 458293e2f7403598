"""Meta-KD: weights that reach each pair's gradient, losses by hand, and a run from end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from retort.models.encoding import PairEncoder, Truncation
from retort.training.data.table import labelled_pairs, select, select_all
from retort.training.labels.label import label_recipe
from retort.training.methods.distill import distill
from retort.training.methods.meta_kd import DomainStudent, MetaKd, sample_weights
from retort.training.methods.method import Material, MethodError
from retort.training.methods.tinybert import StateStudent, TinyBert, attention_losses, hidden_losses
from retort.training.nn.backbone import load_backbone
from retort.training.nn.batching import TokenBatch, TokenTable
from retort.training.nn.loop import set_dropout
from retort.training.nn.student import Head, Student, load_student, take_layers
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.load import RecipeError
from retort.training.recipes.methods import MetaOptions
from retort.training.recipes.parts.stage import Stage
from retort.training.teachers.meta_teacher import DomainError
from retort.training.teachers.teach import teach
from tests.training.backbones import save_backbone
from tests.training.methods.batches import cross_entropy, examples, sigmoid, unread
from tests.training.methods.test_distill import LENGTH, OPTIMISER, make_recipe, quiet
from tests.training.methods.test_registry import killed_in_step
from tests.training.teachers.test_meta_teacher import meta_recipe, write_domains

ROWS = np.array([3, 40, 17, 60, 8])


@pytest.fixture
def meta(tmp_path: Path) -> Path:
    """A meta-teacher of two domains, taught for three epochs, that would drop out if it could."""
    short = {**OPTIMISER, "epochs": 3}
    return teach(meta_recipe(tmp_path, optimiser=short, checkpoint_steps=1000))


def kd_recipe(tmp_path: Path, **changes: object) -> DistillRecipe:
    table = tmp_path / "domains.parquet"
    stage = {"table": str(table), "optimiser": {**OPTIMISER, "epochs": 2}, "length": LENGTH}
    values: dict[str, object] = {
        "method": "meta-kd", "teachers": [{"name": "meta", "path": str(tmp_path / "meta")}],
        "stages": [{**stage, "match": "states"}, stage], "checkpoint_steps": 5, **changes,
    }  # fmt: skip
    return make_recipe(tmp_path, table, **values)


class Batch:
    """Five pairs of both domains as stage B1 meets them."""

    def __init__(self, tmp_path: Path, **options: Any) -> None:
        recipe = kd_recipe(tmp_path)
        chosen = select(recipe.stages[0])
        backbone = load_backbone(str(tmp_path / "backbone"))
        encoder = PairEncoder.from_file(backbone.tokenizer_path, Truncation(64, 16))
        self.tokens = TokenTable(encoder, chosen.pairs)
        self.stage = recipe.stages[0]
        self.material = Material(
            chosen.pairs, chosen.sources, self.tokens, self.stage, backbone.tokenizer_path, 1,
            tmp_path / "stage-1",
        )  # fmt: skip
        method = MetaKd(tuple(recipe.teachers), options=MetaOptions(**options))
        self.method = method.prepare(self.material)
        self.student = take_layers(backbone.encoder, [1], [Head("golden")])
        set_dropout(self.student, 0.0)
        module = self.method.module(self.student)
        assert isinstance(module, StateStudent)
        self.module = module.train()
        self.batch = self.tokens.gather(ROWS)
        labels = torch.tensor([float(chosen.pairs[row].label or 0.0) for row in ROWS])
        odds = torch.tensor([[1.5], [-0.3], [0.4], [-2.0], [0.1]])
        self.examples = replace(examples(odds, labels=labels), rows=torch.from_numpy(ROWS))

    def outputs(self) -> Any:
        return self.module(
            self.batch.input_ids, self.batch.attention_mask, self.batch.token_type_ids
        )

    def loss(self, method: MetaKd | None = None) -> Tensor:
        chosen = method or self.method
        return chosen.loss(self.outputs(), self.batch, self.examples, self.stage)

    def gradient(self, loss: Tensor) -> Tensor:
        self.module.zero_grad()
        loss.backward()
        return torch.cat(
            [p.grad.flatten().clone() for p in self.module.parameters() if p.grad is not None]
        )


def weighed(method: MetaKd, row: int, factor: float) -> MetaKd:
    """The same method with the lambda of one row times `factor`."""
    assert method.states is not None
    scores = method.states.scores.clone()
    scores[row] = factor * (1 + scores[row]) - 1
    return replace(method, states=replace(method.states, scores=scores))


def test_lambda_against_numpy() -> None:
    rng = np.random.default_rng(4)
    t, odds, labels = rng.uniform(0, 1, 50), rng.standard_normal(50) * 3, rng.uniform(0, 1, 50)
    labels[:40] = labels[:40] > 0.5
    found = sample_weights(torch.tensor(t), torch.tensor(odds), torch.tensor(labels)).numpy()
    expected = (1 + t) / (np.exp((sigmoid(odds) - labels) ** 2) + 1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    sure = sample_weights(torch.tensor([0.0, 1.0]), torch.tensor([-99.0, 99.0]), torch.ones(2))
    assert sure.tolist() == pytest.approx([1 / (1 + np.e), 1.0])


def test_twice_the_weight_is_twice_a_pairs_share_of_the_gradient(
    tmp_path: Path, meta: Path
) -> None:
    made = Batch(tmp_path)
    assert made.method.states is not None
    whole = made.gradient(made.loss())
    losses = made.method.state_losses(made.method.states, made.outputs(), made.batch, made.examples)
    weights = sample_weights(
        made.method.states.scores[ROWS], made.examples.odds[:, 0], made.examples.labels
    )
    for place, row in enumerate(ROWS):
        share = made.gradient(
            weights[place] * made.method.state_losses(
                made.method.states, made.outputs(), made.batch, made.examples
            )[place] / len(ROWS)
        )  # fmt: skip
        doubled = made.gradient(made.loss(weighed(made.method, int(row), 2.0)))
        gone = made.gradient(made.loss(weighed(made.method, int(row), 0.0)))
        assert share.abs().max() > 1e-3
        assert torch.allclose(doubled - whole, share, atol=1e-5)
        assert torch.allclose(whole - gone, share, atol=1e-5)
    assert made.loss().item() == pytest.approx((weights * losses).mean().item(), rel=1e-6)


def test_stage_b1_against_numpy(tmp_path: Path, meta: Path) -> None:
    made = Batch(tmp_path, gamma2=0.3)
    states = made.method.states
    assert states is not None
    assert states.corruption is not None
    assert isinstance(made.module, DomainStudent)
    with torch.no_grad():
        # The identity it starts as would hide a forgotten map.
        made.module.fit.weight.normal_(0, 0.2)
        outputs, seen = made.outputs(), states.ask(made.batch)
    layered = hidden_losses(outputs.hidden, seen, made.batch.attention_mask)
    layered += attention_losses(outputs.scores, seen, made.batch.attention_mask)
    state = {name: value.numpy() for name, value in made.module.state_dict().items()}
    other = {name: value.numpy() for name, value in states.corruption.state_dict().items()}
    own_hidden = array(made.student, made.batch)
    total = 0.0
    for place, row in enumerate(ROWS):
        length, domain = int(made.batch.attention_mask[place].sum()), int(row >= 32)
        mixed = own_hidden[place, 1:length].mean(0) + state["corruption.embedding.weight"][domain]
        z = state["corruption.linear.weight"] @ mixed + state["corruption.linear.bias"]
        z = state["fit.weight"] @ z + state["fit.bias"]
        mixed = seen.hidden[-1][place, 1:length].numpy().mean(0) + other["embedding.weight"][domain]
        target = other["linear.weight"] @ mixed + other["linear.bias"]
        tkd = ((z - target) ** 2).mean()
        p = sigmoid(made.examples.odds[place, 0].numpy().astype(np.float64))
        label, t = float(made.examples.labels[place]), float(states.scores[row])
        weight = (1 + t) / (np.exp((p - label) ** 2) + 1)
        total += weight * (float(layered[place]) + 0.3 * tkd)
    assert made.loss().item() == pytest.approx(total / len(ROWS), rel=1e-6)


def array(student: Student, batch: TokenBatch) -> np.ndarray:
    hidden = student.forward_hidden(batch.input_ids, batch.attention_mask, batch.token_type_ids)[1]
    return hidden.detach().numpy()


@pytest.mark.parametrize(("alpha", "temperature"), [(1.0, 1.0), (1.0, 2.0), (0.3, 1.0)])
def test_stage_b2_against_numpy(alpha: float, temperature: float) -> None:
    rng = np.random.default_rng(6)
    logits, odds = rng.standard_normal((7, 1)), rng.standard_normal((7, 1)) * 2
    labels = np.array([1, 0, 0, 1, 1, 0, 1], dtype=np.float64)
    soft = cross_entropy(sigmoid(odds / temperature), logits / temperature).mean()
    expected = alpha * soft + (1 - alpha) * cross_entropy(labels[:, None], logits).mean()
    known = examples(torch.zeros(7, 1), torch.tensor(odds).float(), torch.tensor(labels).float())
    method = MetaKd((), options=MetaOptions(temperature=temperature))
    stage = Stage(table=Path("none"), alpha=alpha)
    found = method.loss((torch.tensor(logits),), unread(), known, stage)
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_the_teacher_neither_drops_out_nor_learns(tmp_path: Path, meta: Path) -> None:
    made = Batch(tmp_path)
    states = made.method.states
    assert states is not None
    assert states.corruption is not None
    assert states.teacher.config.hidden_dropout_prob > 0
    made.loss().backward()
    teachers = [*states.teacher.parameters(), *states.corruption.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in teachers)
    assert {id(p) for p in teachers}.isdisjoint(id(p) for p in made.module.parameters())
    first, second = states.ask(made.batch), states.ask(made.batch)
    assert not first.hidden[-1].requires_grad
    assert torch.equal(first.hidden[-1], second.hidden[-1])
    # Stage B1 leaves the head alone, and teaches everything else.
    idle = [name for name, p in made.module.named_parameters() if p.grad is None]
    assert idle == ["student.head_bank.0.linear.weight", "student.head_bank.0.linear.bias"]


def test_prototype_scores_are_those_of_the_pairs(tmp_path: Path, meta: Path) -> None:
    made = Batch(tmp_path)
    states = made.method.states
    assert states is not None
    assert states.domains.tolist() == [0] * 32 + [1] * 32
    assert states.scores.shape == (64,)
    assert 0.0 < states.scores.min() < states.scores.max() <= 1.0


def test_without_weights_and_gamma2_any_cross_encoder_will_do(tmp_path: Path) -> None:
    plain = {"objective": "pointwise", "optimiser": {**OPTIMISER, "epochs": 1}}
    teach(meta_recipe(tmp_path, **plain))
    made = Batch(tmp_path, weighted=False, gamma2=0.0)
    assert not isinstance(made.module, DomainStudent)
    states = made.method.states
    assert states is not None
    losses = made.method.state_losses(states, made.outputs(), made.batch, made.examples)
    assert made.loss().item() == pytest.approx(losses.mean().item())
    tiny = TinyBert(made.method.teachers).prepare(made.material)
    assert tiny.loss(made.outputs(), made.batch, made.examples, made.stage) == made.loss()
    quieter = Batch(tmp_path, weighted=False, gamma2=0.0, attention=False)
    assert quieter.outputs().scores == ()
    assert quieter.loss() < made.loss()


def test_unequal_widths_are_mapped_and_start_alike_from_a_seed(tmp_path: Path) -> None:
    backbone = load_backbone(str(save_backbone(tmp_path / "backbone")))
    student = take_layers(backbone.encoder, [0], [Head("golden")])
    torch.manual_seed(1)
    first = DomainStudent(student, 48, 2, True, torch.Generator().manual_seed(5))
    torch.manual_seed(2)
    second = DomainStudent(student, 48, 2, True, torch.Generator().manual_seed(5))
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    ids = torch.randint(4, 30, (2, 7))
    outputs = first(ids, torch.ones_like(ids), torch.zeros_like(ids))
    assert [states.shape for states in outputs.hidden] == [(2, 7, 48)] * 2
    assert outputs.z is not None
    assert outputs.z.shape == (2, 2, 48)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "stage"), [("meta-kd", 1), ("meta-kd", 2), ("tinybert", 1)])
def test_a_killed_run_ends_where_an_uninterrupted_one_ends(
    tmp_path: Path, meta: Path, monkeypatch: pytest.MonkeyPatch, method: str, stage: int
) -> None:
    stages = kd_recipe(tmp_path).stages[:stage]
    plain = [one.model_dump(mode="json") for one in stages]
    recipe = kd_recipe(tmp_path, method=method, stages=plain)
    label_recipe(recipe, (), quiet)
    whole = load_student(distill(recipe, quiet))
    again = kd_recipe(tmp_path, method=method, stages=plain, out=str(tmp_path / "killed"))
    killed_in_step(again, 8, monkeypatch)
    resumed = load_student(distill(again, quiet))
    assert resumed.meta["stages"] == whole.meta["stages"]
    found, wanted = resumed.student.state_dict(), whole.student.state_dict()
    assert all(found[name].equal(value) for name, value in wanted.items())


@pytest.mark.slow
def test_both_stages_bring_the_student_to_its_teacher(tmp_path: Path, meta: Path) -> None:
    longer = {**OPTIMISER, "epochs": 6}
    plain = [s.model_dump(mode="json") | {"optimiser": longer} for s in kd_recipe(tmp_path).stages]
    recipe = kd_recipe(tmp_path, stages=plain, checkpoint_steps=1000)
    label_recipe(recipe, (), quiet)
    before = Batch(tmp_path)
    folder = distill(recipe, quiet)
    loaded = load_student(folder)
    assert [head.name for head in loaded.student.heads] == ["golden"]
    first, last = before.loss().item(), loaded.meta["stages"][0]["curve"][-1][1]
    assert last < 0.7 * first
    teacher = load_student(meta).student
    tokens = before.tokens.gather(np.arange(64))
    with torch.inference_mode():
        own, other = (
            model(tokens.input_ids, tokens.attention_mask, tokens.token_type_ids)[:, 0].numpy()
            for model in (loaded.student, teacher)
        )
    assert np.corrcoef(own, other)[0, 1] > 0.8


def test_labels_calibrate_teachers_even_where_no_loss_reads_them(tmp_path: Path) -> None:
    write_domains(tmp_path)
    stages = kd_recipe(tmp_path).stages
    assert [stage.alpha for stage in stages] == [1.0, 1.0]
    assert len(labelled_pairs(select_all(stages))) == 128


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teachers": []}, r"learns from one cross-encoder of ours, found none"),
        ({"teachers": [{"name": "b", "path": "b", "kind": "bi-encoder"}]}, r"found b \(bi-enc"),
        ({"options": {"gamma2": -1}}, r"options.gamma2: Input should be greater than or equal"),
        ({"student": {"kind": "bi-lstm"}}, r"a bi-lstm has no layers to match"),
        (
            {"method": "tinybert", "options": {"gamma2": 0.5}},
            "options.gamma2: there is no",
        ),
    ],
)
def test_a_recipe_that_meta_kd_cannot_follow(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        kd_recipe(tmp_path, **changes)


def test_material_that_stage_b1_cannot_use(tmp_path: Path, meta: Path) -> None:
    made = Batch(tmp_path)
    method, material = made.method, made.material
    with pytest.raises(DomainError, match="no domain east: the meta-teacher learned north, south"):
        method.prepare(replace(material, sources=["east"] * 64))
    nothing = [replace(pair, label=None) for pair in material.pairs]
    with pytest.raises(MethodError, match="64 of 64 pairs have no label, which lambda needs"):
        method.prepare(replace(material, pairs=nothing))
    limited = (method.teachers[0].model_copy(update={"sources": ["north"]}),)
    with pytest.raises(MethodError, match="meta does not score south, and lambda needs its"):
        replace(method, teachers=limited).prepare(material)
    strange = tmp_path / "tokenizer.json"
    strange.write_text("{}")
    with pytest.raises(MethodError, match="meta has another tokenizer than the student"):
        method.prepare(replace(material, tokenizer_path=strange))
    both = material.stage.model_copy(update={"hidden": 0.3})
    with pytest.raises(MethodError, match=r"match: states and hidden: 0\.3"):
        method.prepare(replace(material, stage=both))
    last = material.stage.model_copy(update={"match": "scores"})
    assert method.prepare(replace(material, stage=last)).states is None
