"""The loop: deterministic, and a resumed run ends where an uninterrupted one ends."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from retort.models.encoding import PairEncoder, Truncation
from retort.training.data.pairs import Pair
from retort.training.nn import batching
from retort.training.nn.batch_size import BatchSize
from retort.training.nn.batching import (
    TokenBatch,
    TokenTable,
    epoch_batches,
    pack,
    single_units,
)
from retort.training.nn.inference import encode_pairs
from retort.training.nn.loop import Progress, fit, linear_schedule, set_dropout
from retort.training.nn.precision import has_bf16
from retort.training.nn.student import Head, Student
from retort.training.recipes.parts.common import Optimiser
from tests.tiny_texts import PASSAGES, QUERIES, make_tokenizer
from tests.training.backbones import tiny_config

PAIRS = [Pair(q, p, float(i == j)) for i, q in enumerate(QUERIES) for j, p in enumerate(PASSAGES)]
PLAN = Optimiser(lr=1e-3, epochs=3, batch_pairs=4, precision="no", freeze_words=False)


def table() -> TokenTable:
    return TokenTable(PairEncoder(make_tokenizer(), Truncation(64, 16)), PAIRS)


def student() -> Student:
    torch.manual_seed(5)
    model = Student(tiny_config(make_tokenizer().get_vocab_size()), [Head("golden")])
    set_dropout(model, 0.1)
    return model


def train(folder: Path, stop_after: int | None = None) -> tuple[Student, list[tuple[int, float]]]:
    model = student()
    labels = torch.tensor([pair.label for pair in PAIRS])
    calls = 0

    def objective(module: nn.Module, batch: TokenBatch, progress: Progress) -> Tensor:
        nonlocal calls
        calls += 1
        if stop_after is not None and calls > stop_after:
            raise KeyboardInterrupt
        logits = module(batch.input_ids, batch.attention_mask, batch.token_type_ids)[:, 0]
        return nn.functional.binary_cross_entropy_with_logits(logits, labels[batch.rows])

    curve = fit(
        model, table(), single_units(len(PAIRS)), objective, PLAN,
        folder=folder, seed=1, checkpoint_steps=5, title="test",
    )  # fmt: skip
    return model, curve


def test_a_killed_run_ends_where_an_uninterrupted_run_ends(tmp_path: Path) -> None:
    whole, curve = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", stop_after=8)
    assert (tmp_path / "killed/checkpoint/progress.json").is_file()
    resumed, _ = train(tmp_path / "killed")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert curve[-1][0] == 12
    assert not (tmp_path / "killed/checkpoint").exists()


def test_stages_may_differ_in_precision(tmp_path: Path) -> None:
    def objective(module: nn.Module, batch: TokenBatch, progress: Progress) -> Tensor:
        seen.append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
        out: Tensor = module(*batch.inputs)
        return out.pow(2).mean()

    seen: list[torch.dtype | None] = []
    for number, precision in enumerate(("no", "bf16", "auto", "no")):
        plan = PLAN.model_copy(update={"precision": precision, "epochs": 0.1})
        fit(student(), table(), single_units(4), objective, plan, folder=tmp_path / str(number),
            seed=1, checkpoint_steps=100, title="test")  # fmt: skip
    # A CPU that has no bf16 imitates it, at a fraction of the speed of fp32.
    assert seen == [None, torch.bfloat16, torch.bfloat16 if has_bf16() else None, None]


def test_the_words_stay_when_they_are_frozen(tmp_path: Path) -> None:
    model = student()
    before = model.encoder.embeddings.word_embeddings.weight.detach().clone()

    def objective(module: nn.Module, batch: TokenBatch, progress: Progress) -> Tensor:
        out: Tensor = module(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        return out.pow(2).mean()

    frozen = PLAN.model_copy(update={"freeze_words": True, "epochs": 1.0})
    fit(model, table(), single_units(len(PAIRS)), objective, frozen, folder=tmp_path, seed=1,
        checkpoint_steps=100, title="test")  # fmt: skip
    assert torch.equal(before, model.encoder.embeddings.word_embeddings.weight)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    def objective(module: nn.Module, batch: TokenBatch, progress: Progress) -> Tensor:
        out: Tensor = module(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        return out.sum() * torch.nan

    with pytest.raises(ValueError, match="test, step 0: the loss is nan; lower the lr"):
        fit(student(), table(), single_units(4), objective, PLAN, folder=tmp_path, seed=1,
            checkpoint_steps=100, title="test")  # fmt: skip


def test_batches_hold_every_row_once_and_never_split_a_unit() -> None:
    units = [np.array([0, 1, 2]), np.array([3]), np.array([4, 5]), np.array([6, 7])]
    lengths = np.array([5, 9, 3, 4, 4, 8, 2, 2])
    batches = epoch_batches(pack(units, lengths), BatchSize(4), seed=1, epoch=0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(8))
    for unit in units:
        assert any(set(unit) <= set(batch) for batch in batches)
    again = epoch_batches(pack(units, lengths), BatchSize(4), seed=1, epoch=0)
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))


def test_batches_may_be_counted_in_tokens() -> None:
    lengths = np.random.default_rng(0).integers(10, 100, 5000)
    batches = epoch_batches(
        pack(single_units(5000), lengths), BatchSize(1, tokens=3000), seed=1, epoch=0
    )
    assert sorted(np.concatenate(batches).tolist()) == list(range(5000))
    padded = np.array([-(-lengths[rows].max() // 32) * 32 * len(rows) for rows in batches])
    assert padded.max() <= 3000
    # All but the last of each window are about full.
    assert np.median(padded) > 2900


def test_a_unit_that_is_too_large_is_a_batch_of_its_own() -> None:
    units = [np.arange(0, 3), np.arange(3, 9)]
    batches = epoch_batches(pack(units, np.full(9, 20)), BatchSize(1, tokens=60), seed=1, epoch=0)
    assert sorted(len(rows) for rows in batches) == [3, 6]


def test_tokens_are_cut_out_of_one_array(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = PairEncoder(make_tokenizer(), Truncation(64, 16))
    rows = np.array([5, 0, 3])
    monkeypatch.setattr(batching, "padded", lambda longest: longest)
    batch = TokenTable(encoder, PAIRS).gather(rows)
    expected = encoder.collate(encode_pairs(encoder, [PAIRS[row] for row in rows]))
    for found, array in zip(batch.inputs, expected.arrays, strict=True):
        assert (found.numpy() == array).all()
    assert batch.rows.tolist() == rows.tolist()
    monkeypatch.setattr(batching, "padded", lambda longest: -(-longest // 16) * 16)
    wide = TokenTable(encoder, PAIRS).gather(rows)
    assert wide.input_ids.shape == (3, -(-expected.shape[1] // 16) * 16)
    assert (wide.input_ids[:, : expected.shape[1]].numpy() == expected.input_ids).all()
    assert int(wide.attention_mask.sum()) == int(expected.attention_mask.sum())


def test_batches_pad_little() -> None:
    lengths = np.random.default_rng(0).integers(10, 100, 5000)
    batches = epoch_batches(pack(single_units(5000), lengths), BatchSize(32), seed=1, epoch=0)
    padded = sum(lengths[rows].max() * len(rows) for rows in batches)
    assert padded / lengths.sum() < 1.05


def test_the_schedule_rises_then_falls_to_zero() -> None:
    factors = [linear_schedule(step, 100, 0.1) for step in range(101)]
    assert factors[9] == 1.0
    assert factors[100] == 0.0
    assert max(factors) == 1.0
    assert all(a > b for a, b in pairwise(factors[10:]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
def test_a_compiled_step_learns_the_same(tmp_path: Path) -> None:
    labels = torch.tensor([pair.label for pair in PAIRS])

    def objective(module: nn.Module, batch: TokenBatch, progress: Progress) -> Tensor:
        logits = module(*batch.inputs)[:, 0]
        return nn.functional.binary_cross_entropy_with_logits(logits, labels[batch.rows])

    losses = []
    for compiled in (False, True):
        # One step: nearly all of the time is the compiler's.
        plan = PLAN.model_copy(update={"compile": compiled, "epochs": 0.2})
        model = student()
        set_dropout(model, 0.0)
        curve = fit(
            model, table(), single_units(len(PAIRS)), objective, plan,
            folder=tmp_path / str(compiled), seed=1, checkpoint_steps=100, title="test",
        )  # fmt: skip
        losses.append(curve[-1][1])
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
