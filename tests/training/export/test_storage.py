"""Storage: how small, how exact, and that every runtime still reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from retort.models.encoding import Batch, PairEncoder
from retort.training.data.pairs import Pair
from retort.training.export import bundling
from retort.training.export.bundling import BundleSpec, exactly, export_graph
from retort.training.export.storage import Storage, StorageError, quantise, shrink
from retort.training.nn.inference import graph_model, run, student_model
from retort.training.nn.student import Student


def test_quantise_errs_by_half_a_step_at_most() -> None:
    values = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    values[3] *= 100  # one wild row must not cost the others their precision
    values[4] = 0
    integers, scales = quantise(values, axis=0)
    assert scales.shape == (20, 1)
    assert (np.abs(integers * scales - values) <= scales / 2 * 1.001).all()
    assert (integers[4] == 0).all()
    assert quantise(values, axis=-1)[1].shape == (1, 30)


@pytest.mark.parametrize(("storage", "tolerance"), [("fp32", 1e-5), ("fp16", 0.01), ("int8", 0.2)])
def test_both_runtimes_read_it(
    tiny_student: Student,
    encoder: PairEncoder,
    labelled_pairs: tuple[Pair, ...],
    tmp_path: Path,
    storage: Storage,
    tolerance: float,
) -> None:
    pairs = labelled_pairs[:24]
    path = tmp_path / "model.onnx"
    export_graph(tiny_student, path, storage)
    expected = run(student_model(tiny_student), encoder, pairs)
    assert run(graph_model(path), encoder, pairs) == pytest.approx(expected, abs=tolerance)
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def openvino_model(batch: Batch) -> NDArray[np.float32]:
        names = ("input_ids", "attention_mask", "token_type_ids")
        return np.asarray(compiled({name: getattr(batch, name) for name in names})["logits"])

    assert run(openvino_model, encoder, pairs) == pytest.approx(expected, abs=tolerance)


def test_the_shipped_shape_fits_in_twenty_megabytes() -> None:
    # 30,522 word pieces, 512 positions, 3 layers of width 384: 17.2 million weights.
    shapes = {"words": (30522, 384), "positions": (512, 384)}
    for layer in range(3):
        shapes |= {f"{layer}.{name}": (384, 384) for name in ("query", "key", "value", "output")}
        shapes |= {f"{layer}.wide": (384, 1536), f"{layer}.narrow": (1536, 384)}
    small = shrink(holding({n: np.ones(s, np.float32) for n, s in shapes.items()}), "int8")
    assert 17_000_000 < small.ByteSize() < 18_000_000


def test_small_weights_stay_as_they_are(tiny_student: Student, tmp_path: Path) -> None:
    model = export_graph(tiny_student, tmp_path / "model.onnx", "int8")
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert kinds["encoder.embeddings.LayerNorm.weight"] == TensorProto.FLOAT
    assert kinds["encoder.embeddings.word_embeddings.weight.int8"] == TensorProto.INT8
    assert kinds["head_bank.weight"] == TensorProto.FLOAT


def test_a_table_has_a_scale_a_row_and_a_matrix_one_an_output(
    tiny_student: Student, tmp_path: Path
) -> None:
    model = export_graph(tiny_student, tmp_path / "model.onnx", "int8")
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    assert shapes["encoder.embeddings.word_embeddings.weight.scale"] == (124, 1)
    assert shapes["encoder.embeddings.position_embeddings.weight.scale"] == (64, 1)
    assert shapes["encoder.encoder.layer.0.intermediate.dense.weight.scale"] == (1, 64)


def test_the_graph_given_is_left_alone(tiny_student: Student, tmp_path: Path) -> None:
    model = export_graph(tiny_student, tmp_path / "model.onnx", "fp32")
    before = model.SerializeToString(deterministic=True)
    shrink(model, "int8")
    assert model.SerializeToString(deterministic=True) == before


def test_weights_that_are_not_finite_are_named() -> None:
    weights = {"broken": np.full((20, 20), np.nan, np.float32)}
    with pytest.raises(StorageError, match="broken has weights that are not finite"):
        shrink(holding(weights), "int8")


def test_a_weight_beyond_fp16_is_named() -> None:
    with pytest.raises(StorageError, match=r"huge reaches 1e\+05: fp16 ends"):
        shrink(holding({"huge": np.full((20, 20), 1e5, np.float32)}), "fp16")


def holding(weights: dict[str, NDArray[np.float32]]) -> onnx.ModelProto:
    """A graph that does nothing but hold `weights`."""
    nodes = [helper.make_node("Gather", [name, "row"], [f"{name}.out"], axis=0) for name in weights]
    last = f"{next(iter(weights))}.out"
    graph = helper.make_graph(
        nodes,
        "weights",
        [helper.make_tensor_value_info("row", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["row", "column"])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)])
    model.ir_version = 7
    return model


def test_more_than_a_graph_can_hold_is_stored_small_or_refused(
    tiny_student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = BundleSpec("m", "1")
    exact = exactly(spec, tiny_student)
    assert (exact.storage, exact.bounds.max_score_difference) == ("fp32", 1e-3)
    monkeypatch.setattr(bundling, "GRAPH_BYTES", bundling.ROOM_FOR_NODES)
    exact = exactly(spec, tiny_student)
    assert (exact.storage, exact.bounds.max_score_difference) == ("fp16", 5e-3)
    with pytest.raises(StorageError, match="store them as fp16 or int8"):
        export_graph(tiny_student, tmp_path / "model.onnx", "fp32")
    export_graph(tiny_student, tmp_path / "model.onnx", "fp16")
