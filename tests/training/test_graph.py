"""The graph against the PyTorch student, on ONNX Runtime and on OpenVINO."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from numpy.typing import NDArray
from transformers import BertModel

from tests.training.backbones import tiny_config
from training.export import export_graph
from training.graph import UnsupportedStudentError, build_graph, check_config
from training.student import Head, Student, make_bi_lstm

Inputs = dict[str, NDArray[np.int64]]


def batch(rows: int, length: int, seed: int = 0) -> Inputs:
    """Random pairs of unlike lengths, padded."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(4, length + 1, rows)
    lengths[0] = length
    place = np.arange(length)[None, :]
    mask = (place < lengths[:, None]).astype(np.int64)
    types = ((place >= (lengths // 2)[:, None]) * mask).astype(np.int64)
    return {
        "input_ids": draw.integers(1, 124, (rows, length)) * mask,
        "attention_mask": mask,
        "token_type_ids": types,
    }


def torch_logits(student: Student, inputs: Inputs) -> NDArray[np.float32]:
    with torch.no_grad():
        logits: NDArray[np.float32] = student(**{n: torch.from_numpy(a) for n, a in inputs.items()})
    return np.asarray(logits)


@pytest.fixture
def graph(tiny_student: Student, tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    export_graph(tiny_student, path, "fp32")
    return path


@pytest.mark.parametrize(("rows", "length"), [(1, 5), (3, 17), (8, 64)])
def test_onnx_runtime_gives_the_logits_of_pytorch(
    tiny_student: Student, graph: Path, rows: int, length: int
) -> None:
    inputs = batch(rows, length)
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], inputs)[0]
    assert logits.dtype == np.float32
    assert logits.shape == (rows, 3)
    assert logits == pytest.approx(torch_logits(tiny_student, inputs), abs=2e-5)


def test_openvino_gives_the_logits_of_pytorch(tiny_student: Student, graph: Path) -> None:
    core = openvino.Core()
    compiled = core.compile_model(str(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for rows, length in ((2, 9), (5, 30)):
        inputs = batch(rows, length)
        expected = torch_logits(tiny_student, inputs)
        assert compiled(inputs)["logits"] == pytest.approx(expected, abs=2e-5)


def test_padding_changes_nothing(graph: Path) -> None:
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    inputs = batch(1, 12)
    padded = {name: np.pad(array, ((0, 0), (0, 20))) for name, array in inputs.items()}
    assert session.run(None, padded)[0] == pytest.approx(session.run(None, inputs)[0], abs=2e-5)


def test_only_standard_operators_are_written(graph: Path) -> None:
    model = onnx.load(graph)
    assert {node.domain for node in model.graph.node} == {""}
    assert [entry.domain for entry in model.opset_import] == [""]


def test_batch_and_sequence_are_dynamic(graph: Path) -> None:
    model = onnx.load(graph)
    for value in model.graph.input:
        names = [dimension.dim_param for dimension in value.type.tensor_type.shape.dim]
        assert names == ["batch", "sequence"]
        assert value.type.tensor_type.elem_type == onnx.TensorProto.INT64


@pytest.mark.parametrize("storage", ["fp32", "fp16", "int8"])
def test_onnx_runtime_fuses_attention_at_load(
    tiny_student: Student, tmp_path: Path, storage: str
) -> None:
    path, optimised = tmp_path / "model.onnx", tmp_path / "optimised.onnx"
    export_graph(tiny_student, path, storage)  # type: ignore[arg-type]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that the optimised file fits this machine alone
    options.optimized_model_filepath = str(optimised)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    model = onnx.load(optimised)
    kinds = Counter(node.op_type for node in model.graph.node)
    assert kinds["Attention"] == 2
    assert kinds["SkipLayerNormalization"] == 4
    assert kinds["BiasGelu"] == 2
    # Weights were folded: nothing is unpacked at each call.
    stored = {tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.INT8 not in stored
    assert onnx.TensorProto.FLOAT16 not in stored


def test_the_same_student_gives_the_same_bytes(tiny_student: Student, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_graph(tiny_student, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_calibration_is_inside_the_head_weights(tiny_student: Student) -> None:
    weights = {name: value.numpy() for name, value in tiny_student.state_dict().items()}
    model = build_graph(tiny_student.config, tiny_student.heads, weights)
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    scale = weights["head_bank.2.scale"] * weights["gain"][2]
    assert stored["head_bank.2.scale"].ravel() == pytest.approx(scale)
    bias = weights["head_bank.1.linear.bias"] * weights["gain"][1] + weights["shift"][1]
    assert stored["head_bank.1.linear.bias"] == pytest.approx(bias)


def test_a_bi_lstm_is_refused() -> None:
    student = make_bi_lstm(BertModel(tiny_config(60)), 2, 8, [Head("golden")])
    with pytest.raises(UnsupportedStudentError, match="for comparison alone"):
        check_config(student.config)


def test_an_activation_that_the_graph_cannot_say_is_refused(tiny_student: Student) -> None:
    tiny_student.config.hidden_act = "relu"
    with pytest.raises(UnsupportedStudentError, match='hidden_act is "relu"'):
        check_config(tiny_student.config)
