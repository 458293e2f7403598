"""The gate: a sound graph passes, a damaged one is refused with every figure it missed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from retort.models.bundle import find_bundle, read_bundle, write_bundle
from retort.models.encoding import PairEncoder
from retort.models.errors import StartError
from retort.models.manifest import Parity, ParityBounds
from retort.models.runtime.choose import choose_backend
from retort.models.runtime.options import RuntimeOptions
from retort.training.data.pairs import Pair
from retort.training.export.bundling import export_graph
from retort.training.export.parity import (
    DEFAULT_BOUNDS,
    HeldOutError,
    ParityError,
    check_held_out,
    check_parity,
    measure_parity,
    measure_precisions,
)
from retort.training.nn.inference import graph_model, run, student_model
from retort.training.nn.student import Student

LOOSE = ParityBounds(top1_agreement=0, kendall_tau=-1, max_score_difference=1, ndcg_change=1)


def queries(count: int, passages: int) -> tuple[Pair, ...]:
    return tuple(
        Pair(f"query {q}", f"passage {p}", float(p == 0), f"q{q}")
        for q in range(count)
        for p in range(passages)
    )


def test_figures_worked_by_hand() -> None:
    pairs = queries(20, 3)
    ours = np.tile([[2.0], [1.0], [0.0]], (20, 1))
    theirs = ours.copy()
    theirs[:3, 0] = [1.0, 2.0, 0.0]  # one query in twenty: its two best have changed places
    parity = measure_parity(pairs, ours, theirs)
    sigmoid = 1 / (1 + np.exp(-np.asarray([1.0, 2.0])))
    assert parity.top1_agreement == pytest.approx(19 / 20)
    assert parity.kendall_tau == pytest.approx((19 + 1 / 3) / 20)
    assert parity.max_score_difference == pytest.approx(sigmoid[1] - sigmoid[0])
    assert parity.ndcg_change == pytest.approx((1 / np.log2(3) - 1) / 20)
    assert (parity.pairs, parity.queries) == (60, 20)


def test_every_missed_bound_is_named_with_value_and_bound() -> None:
    pairs = queries(20, 3)
    ours = np.tile([[2.0], [1.0], [0.0]], (20, 1))
    with pytest.raises(ParityError) as caught:
        check_parity(measure_parity(pairs, ours, -ours))
    message = str(caught.value)
    assert "top-1 agreement is 0.0000, the bound is at least 0.95" in message
    assert "Kendall tau is -1.0000, the bound is at least 0.97" in message
    assert "largest score difference is 0.7616, the bound is at most 0.05" in message
    assert "change in nDCG@10 is 0.5000, the bound is at most 0.005" in message
    assert caught.value.parity is not None


def test_each_bound_is_checked_alone() -> None:
    pairs = queries(20, 3)
    ours = np.tile([[2.0], [1.0], [0.0]], (20, 1))
    for field in type(LOOSE).model_fields:
        bounds = LOOSE.model_copy(update={field: getattr(DEFAULT_BOUNDS, field)})
        assert len(measure_parity(pairs, ours, -ours, bounds).failures()) == 1


def test_either_of_two_tied_passages_may_stand_first() -> None:
    ours = np.tile([[1.0], [1.0], [0.0]], (20, 1))
    theirs = ours + np.tile([[0.0], [1e-9], [0.0]], (20, 1))
    assert measure_parity(queries(20, 3), ours, theirs).top1_agreement == 1.0


def test_scores_that_no_longer_differ_do_not_agree() -> None:
    ours = np.tile([[1.0], [0.0]], (20, 1))
    assert measure_parity(queries(20, 2), ours, np.zeros_like(ours)).kendall_tau == 0.0
    assert measure_parity(queries(20, 2), 0 * ours, 0 * ours).kendall_tau == 1.0


def test_too_few_queries_say_nothing() -> None:
    with pytest.raises(HeldOutError, match="19 held-out queries have two passages or more"):
        check_held_out(queries(19, 4))
    check_held_out(queries(20, 4))


def test_copies_of_a_pair_count_once() -> None:
    pairs = [*queries(20, 3), *queries(20, 3)]
    with pytest.raises(HeldOutError, match="60 distinct held-out pairs"):
        check_held_out(pairs)


def test_a_graph_with_other_heads_or_without_numbers_is_refused() -> None:
    pairs = queries(20, 2)
    with pytest.raises(ParityError, match="another number of heads"):
        measure_parity(pairs, np.zeros((40, 2)), np.zeros((40, 1)))
    with pytest.raises(ParityError, match="40 logits of the graph are not finite"):
        measure_parity(pairs, np.zeros((40, 1)), np.full((40, 1), np.nan))


def test_a_sound_graph_passes(
    tiny_student: Student, encoder: PairEncoder, labelled_pairs: tuple[Pair, ...], tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    export_graph(tiny_student, path, "fp16")
    reference = run(student_model(tiny_student), encoder, labelled_pairs)
    exported = run(graph_model(path), encoder, labelled_pairs)
    check_parity(measure_parity(labelled_pairs, reference, exported))


def zero(name: str) -> Callable[[onnx.ModelProto], None]:
    def damage(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if tensor.name == name:
                values = np.zeros_like(numpy_helper.to_array(tensor))
                tensor.CopyFrom(numpy_helper.from_array(values, name))
                return
        raise AssertionError(f"no weight {name}")

    return damage


def scramble_head(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == "head_bank.weight":
            values = numpy_helper.to_array(tensor).copy()
            values[:, 1] = np.random.default_rng(0).permutation(values[:, 1])
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
            return
    raise AssertionError("no head to scramble")


def ignore_the_mask(model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.name == "scalar_-10000":
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(0, np.float32), tensor.name))
            return
    raise AssertionError("no mask to ignore")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(zero("encoder.embeddings.token_type_embeddings.weight"), id="token types"),
        pytest.param(zero("encoder.embeddings.position_embeddings.weight"), id="positions"),
        pytest.param(zero("encoder.encoder.layer.1.output.dense.weight"), id="a layer"),
        pytest.param(scramble_head, id="scrambled head"),
        pytest.param(ignore_the_mask, id="padding attended to"),
    ],
)
def test_a_damaged_graph_is_refused(
    damage: Callable[[onnx.ModelProto], None],
    tiny_student: Student,
    encoder: PairEncoder,
    labelled_pairs: tuple[Pair, ...],
    tmp_path: Path,
) -> None:
    path = tmp_path / "model.onnx"
    model = export_graph(tiny_student, path, "fp32")
    damage(model)
    onnx.save(model, path)
    reference = run(student_model(tiny_student), encoder, labelled_pairs)
    exported = run(graph_model(path), encoder, labelled_pairs)
    with pytest.raises(ParityError, match="does not rank as the PyTorch student does"):
        check_parity(measure_parity(labelled_pairs, reference, exported))


BOUNDS = ParityBounds(
    top1_agreement=0.9, kendall_tau=0.9, max_score_difference=0.05, ndcg_change=0.05
)


@pytest.mark.slow
def test_int8_of_the_shipped_student_ranks_as_its_graph_does() -> None:
    bundle = read_bundle(find_bundle("retort-small"))
    pairs = [
        Pair(query.query, passage.passage, float(query is passage), query.query, passage.passage)
        for query in bundle.golden[::3]
        for passage in (*bundle.golden[:4], query)
    ]
    encoder = bundle.encoder()
    reference = run(graph_model(bundle.graph_path, threads=1), encoder, pairs)
    found = measure_precisions(
        bundle.graph_path, "int8", bundle.manifest.architecture.width, encoder, pairs, reference,
        BOUNDS,
    )  # fmt: skip
    assert "int8" in found
    assert found["int8"].failures() == []
    assert found["int8"].max_score_difference > 0
    stored = measure_precisions(
        bundle.graph_path, "fp16", 384, encoder, pairs, reference, BOUNDS
    )  # fmt: skip
    assert "int8" not in stored


def test_a_server_does_not_use_a_precision_that_failed(tmp_path: Path) -> None:
    shipped = read_bundle(find_bundle("retort-small"))
    failed = Parity(
        pairs=100, queries=20, top1_agreement=0.5, kendall_tau=1.0, max_score_difference=0.0,
        ndcg_change=0.0, bounds=BOUNDS,
    )  # fmt: skip
    bundle = write_bundle(
        tmp_path / "failed",
        manifest=shipped.manifest.model_copy(update={"lower_parity": {"int8": failed}}),
        graph=shipped.graph_path,
        tokenizer=shipped.tokenizer_path,
        golden=shipped.golden,
    )
    assert bundle.manifest.lower_parity["int8"] == failed
    with pytest.raises(StartError, match=r"in int8: top-1 agreement is 0\.5000, the bound is at"):
        choose_backend(
            bundle, bundle.encoder(), RuntimeOptions(precision="int8", threads=1), tmp_path
        )
