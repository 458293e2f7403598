"""Every loss against NumPy, written from the formula with loops and without the code's masks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from retort.training.methods.method import Headed, Method
from retort.training.methods.rank_losses import SOFT_LOSSES, InfoNce, RankDistilled
from retort.training.methods.skd import Skd, drawn
from retort.training.methods.weighted import Annealing, MtBert
from retort.training.recipes.methods import HeadOptions, ListOptions, MtBertOptions, SkdOptions
from retort.training.recipes.parts.stage import Stage
from retort.training.recipes.parts.teacher import TeacherRef
from tests.training.methods.batches import Drawn, Floats, cross_entropy, sigmoid, unread

TEACHERS = (TeacherRef(name="a", path="a"), TeacherRef(name="b", path="b"))
TIGHT = 1e-6
Heads = Literal["each", "average"]


def ranked(name: str, heads: Heads, tau: float = 1.0) -> RankDistilled:
    return RankDistilled(TEACHERS, ListOptions(heads=heads, tau=tau), SOFT_LOSSES[name])


def value(method: Method, drawn_batch: Drawn, alpha: float, step: int = 0) -> float:
    stage = Stage(table=Path("none"), alpha=alpha)
    heads = len(method.heads())
    known = drawn_batch.examples(step)
    return float(method.loss((_wide(drawn_batch, heads),), unread(), known, stage))


def _wide(batch: Drawn, heads: int) -> torch.Tensor:
    return batch.logits[:, :heads]


def golden(batch: Drawn) -> float:
    return float(cross_entropy(batch.labels, batch.scores[:, 0]).mean())


def by_query(batch: Drawn) -> list[list[int]]:
    return [[i for i, g in enumerate(batch.groups) if g == q] for q in sorted(set(batch.groups))]


def margin(batch: Drawn, scores: Floats, targets: Floats) -> float:
    errors = []
    for rows in by_query(batch):
        for plus in rows:
            for minus in rows:
                if batch.labels[plus] == 1 and batch.labels[minus] == 0:
                    student = scores[plus] - scores[minus]
                    errors.append((student - (targets[plus] - targets[minus])) ** 2)
    return float(np.mean(errors))


def kl(batch: Drawn, scores: Floats, targets: Floats, tau: float) -> float:
    found = []
    for rows in by_query(batch):
        if len(rows) > 1:
            p = np.exp(targets[rows] / tau)
            q = np.exp(scores[rows] / tau)
            p, q = p / p.sum(), q / q.sum()
            found.append(float((p * np.log(p / q)).sum()))
    return float(np.mean(found))


def order(batch: Drawn, scores: Floats, targets: Floats) -> float:
    found = []
    for rows in by_query(batch):
        for i in rows:
            for j in rows:
                if targets[i] > targets[j]:
                    found.append(np.log(1 + np.exp(-(scores[i] - scores[j]))))
    return float(np.mean(found))


def discounted(batch: Drawn, scores: Floats, targets: Floats, tau: float) -> float:
    found = []
    for rows in by_query(batch):
        order_of = sorted(rows, key=lambda i: -targets[i])
        for i in rows if len(rows) > 1 else []:
            near = 1 + sum(1 / (1 + np.exp(-(scores[j] - scores[i]) / tau)) for j in rows if j != i)
            rank = order_of.index(i) + 1
            found.append((near - rank) ** 2 / np.log2(1 + rank))
    return float(np.mean(found))


def nce(batch: Drawn, scores: Floats) -> float:
    found = []
    for rows in by_query(batch):
        right = [i for i in rows if batch.labels[i] == 1]
        if 0 < len(right) < len(rows):
            total = np.exp(scores[rows]).sum()
            found += [-np.log(np.exp(scores[i]) / total) for i in right]
    return float(np.mean(found))


def squared(batch: Drawn, scores: Floats, targets: Floats) -> float:
    return float(((scores - targets) ** 2).mean())


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("each", [True, False], ids=["each", "average"])
@pytest.mark.parametrize("name", ["tmkd", "margin-mse", "listwise-kl", "ranknet"])
def test_soft_losses_in_either_head_bank(name: str, each: bool, alpha: float) -> None:
    batch = Drawn()
    heads: Heads = "each" if each else "average"
    methods = {
        "tmkd": (Headed(TEACHERS, HeadOptions(heads=heads)), squared),
        "margin-mse": (ranked("margin-mse", heads), margin),
        "listwise-kl": (ranked("listwise-kl", heads, 0.7), None),
        "ranknet": (ranked("ranknet", heads), order),
    }
    method, reference = methods[name]
    columns = [0, 1] if each else [0]
    targets = batch.targets if each else batch.targets.mean(1, keepdims=True)
    parts = []
    for column in columns:
        scores, target = batch.scores[:, column + 1], targets[:, column]
        parts.append(
            kl(batch, scores, target, 0.7)
            if reference is None
            else reference(batch, scores, target)
        )
    wanted = (1 - alpha) * golden(batch) + alpha * float(np.mean(parts))
    assert value(method, batch, alpha) == pytest.approx(wanted, rel=TIGHT)


@pytest.mark.parametrize("tau", [0.5, 1.0])
def test_adr_mse_is_near_to_the_teachers_ranks(tau: float) -> None:
    batch = Drawn()
    soft = discounted(batch, batch.scores[:, 1], batch.targets.mean(1), tau)
    method = ranked("adr-mse", "average", tau)
    assert value(method, batch, 0.9) == pytest.approx(0.1 * golden(batch) + 0.9 * soft, rel=TIGHT)


def test_margin_mse_without_labels_compares_every_two_passages() -> None:
    batch = Drawn()
    batch.labels = np.zeros(14)
    errors = []
    for rows in by_query(batch):
        for place, i in enumerate(rows):
            for j in rows[place + 1 :]:
                student = batch.scores[i, 1] - batch.scores[j, 1]
                teacher = batch.targets.mean(1)[i] - batch.targets.mean(1)[j]
                errors.append((student - teacher) ** 2)
    method = ranked("margin-mse", "average")
    assert value(method, batch, 1.0) == pytest.approx(float(np.mean(errors)), rel=TIGHT)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_infonce_takes_the_place_of_the_golden_loss(alpha: float) -> None:
    batch = Drawn()
    soft = np.mean([squared(batch, batch.scores[:, i + 1], batch.targets[:, i]) for i in (0, 1)])
    wanted = (1 - alpha) * nce(batch, batch.scores[:, 0]) + alpha * float(soft)
    assert value(InfoNce(TEACHERS), batch, alpha) == pytest.approx(wanted, rel=TIGHT)


def test_infonce_in_a_stage_of_tmkd() -> None:
    batch = Drawn()
    stage = Stage(table=Path("none"), alpha=0.0, listwise=0.3)
    loss = Headed(TEACHERS).loss((batch.logits,), unread(), batch.examples(), stage)
    wanted = golden(batch) + 0.3 * nce(batch, batch.scores[:, 0])
    assert float(loss) == pytest.approx(wanted, rel=TIGHT)


@pytest.mark.parametrize("step", range(6))
@pytest.mark.parametrize("each", [True, False])
def test_skd_learns_from_one_teacher_per_step(step: int, each: bool) -> None:
    batch = Drawn()
    method = Skd(TEACHERS, SkdOptions(temperature=2.0, heads="each" if each else "one"))
    teacher = drawn((0.5, 0.5), batch.examples(step).progress)
    scores = batch.scores[:, 1 + (teacher if each else 0)]
    soft = cross_entropy(sigmoid(batch.odds[:, teacher] / 2.0), scores / 2.0).mean()
    wanted = 0.3 * golden(batch) + 0.7 * float(soft)
    assert value(method, batch, 0.7, step) == pytest.approx(wanted, rel=TIGHT)


@pytest.mark.parametrize("each", [True, False])
def test_mt_bert_weighs_down_who_is_wrong(each: bool) -> None:
    batch = Drawn()
    heads: Heads = "each" if each else "average"
    method = MtBert(TEACHERS, MtBertOptions(heads=heads, temperature=1.5))
    soft = 0.0
    for i in (0, 1):
        scores = batch.scores[:, 1 + (i if each else 0)]
        weights = 1 / (1 + cross_entropy(batch.labels, batch.odds[:, i]))
        losses = cross_entropy(sigmoid(batch.odds[:, i] / 1.5), scores / 1.5)
        soft += float((weights * losses).mean())
    assert value(method, batch, 0.9) == pytest.approx(0.1 * golden(batch) + 0.9 * soft, rel=TIGHT)
    unlabelled = sum(
        float(
            cross_entropy(
                sigmoid(batch.odds[:, i] / 1.5), batch.scores[:, 1 + (i if each else 0)] / 1.5
            ).mean()
        )
        for i in (0, 1)
    )
    assert value(method, batch, 1.0) == pytest.approx(unlabelled, rel=TIGHT)


@pytest.mark.parametrize(("step", "share"), [(0, 1.0), (5, 0.5), (10, 0.0)])
def test_annealing_ends_with_the_labels(step: int, share: float) -> None:
    batch = Drawn()
    soft = squared(batch, batch.scores[:, 1], batch.targets.mean(1))
    wanted = (1 - share) * golden(batch) + share * soft
    method = Annealing(TEACHERS, HeadOptions(heads="average"))
    assert value(method, batch, 0.9, step) == pytest.approx(wanted, rel=TIGHT)
    assert value(method, batch, 1.0, step) == pytest.approx(soft, rel=TIGHT)


def test_a_teacher_that_is_silent_on_some_pairs_is_left_out_there() -> None:
    batch = Drawn()
    batch.targets[:3, 0] = np.nan
    batch.odds[:3, 0] = np.nan
    heard = ~np.isnan(batch.targets[:, 0])
    parts = [
        float(((batch.scores[heard, 1] - batch.targets[heard, 0]) ** 2).mean()),
        squared(batch, batch.scores[:, 2], batch.targets[:, 1]),
    ]
    assert value(Headed(TEACHERS), batch, 1.0) == pytest.approx(float(np.mean(parts)), rel=TIGHT)
    average = np.where(heard, batch.targets.mean(1), batch.targets[:, 1])
    found = value(Headed(TEACHERS, HeadOptions(heads="average")), batch, 1.0)
    assert found == pytest.approx(squared(batch, batch.scores[:, 1], average), rel=TIGHT)
    assert np.isfinite(value(MtBert(TEACHERS, MtBertOptions(heads="each")), batch, 1.0))
    figures = {"a": 1.0, "b": 0.0}
    one = Skd(
        TEACHERS,
        SkdOptions(distribution="teacher-rank", form="softmax", tau=1e-3, figures=figures),
    )
    soft = cross_entropy(sigmoid(batch.odds[heard, 0]), batch.scores[heard, 1]).mean()
    assert value(one, batch, 1.0) == pytest.approx(float(soft), rel=TIGHT)
