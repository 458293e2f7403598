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

from retort.training.export.bundling import export_graph
from retort.training.export.encoder import UnsupportedStudentError, check_config
from retort.training.export.graph import build_graph
from retort.training.nn.student import Head, HeadKind, Student, golden_alone, make_bi_lstm
from tests.training.backbones import tiny_config

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


def state(student: Student) -> dict[str, NDArray[np.float32]]:
    return {name: value.numpy() for name, value in student.state_dict().items()}


def run(model: onnx.ModelProto, inputs: Inputs) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(["logits"], inputs)[0])


def optimised(path: Path) -> onnx.ModelProto:
    """What ONNX Runtime makes of the graph at `path` when it loads it."""
    target = path.with_name("optimised.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that the optimised file fits this machine alone
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.load(target)


# All heads, one of them a cosine of all tokens; the golden head alone, which trims the last layer.
@pytest.fixture(params=["all", "golden"])
def student(request: pytest.FixtureRequest, tiny_student: Student) -> Student:
    return tiny_student if request.param == "all" else golden_alone(tiny_student)


@pytest.fixture
def graph(student: Student, tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    export_graph(student, path, "fp32")
    return path


@pytest.mark.parametrize(("rows", "length"), [(1, 5), (3, 17), (8, 64)])
def test_onnx_runtime_gives_the_logits_of_pytorch(
    student: Student, graph: Path, rows: int, length: int
) -> None:
    inputs = batch(rows, length)
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], inputs)[0]
    assert logits.dtype == np.float32
    assert logits.shape == (rows, len(student.heads))
    assert logits == pytest.approx(torch_logits(student, inputs), abs=2e-5)


def test_openvino_gives_the_logits_of_pytorch(student: Student, graph: Path) -> None:
    core = openvino.Core()
    compiled = core.compile_model(str(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for rows, length in ((2, 9), (5, 30)):
        inputs = batch(rows, length)
        expected = torch_logits(student, inputs)
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
    student: Student, tmp_path: Path, storage: str
) -> None:
    path = tmp_path / "model.onnx"
    export_graph(student, path, storage)  # type: ignore[arg-type]
    model = optimised(path)
    kinds = Counter(node.op_type for node in model.graph.node)
    # Of the trimmed layer it fuses all but the attention.
    assert kinds["Attention"] == (2 if len(student.heads) > 1 else 1)
    assert kinds["SkipLayerNormalization"] == 4
    assert kinds["EmbedLayerNormalization"] == 1
    assert kinds["LayerNormalization"] == 0
    assert kinds["BiasGelu"] == 2
    # Weights were folded: nothing is unpacked at each call.
    stored = {tensor.data_type for tensor in model.graph.initializer}
    assert onnx.TensorProto.INT8 not in stored
    assert onnx.TensorProto.FLOAT16 not in stored


def test_the_same_student_gives_the_same_bytes(student: Student, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_graph(student, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_calibration_is_inside_the_head_weights(tiny_student: Student) -> None:
    weights = state(tiny_student)
    model = build_graph(tiny_student.config, tiny_student.heads, weights)
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    scale = weights["head_bank.2.scale"] * weights["gain"][2]
    assert stored["head_bank.scale"] == pytest.approx([0, 0, scale])
    assert stored["head_bank.weight"].shape == (32, 3)
    bias = weights["head_bank.1.linear.bias"][0] * weights["gain"][1] + weights["shift"][1]
    assert stored["head_bank.bias"][1] == pytest.approx(bias)


@pytest.mark.parametrize("seed", range(4))
def test_the_last_layer_for_the_first_token_alone_gives_the_same_logits(
    tiny_student: Student, seed: int
) -> None:
    torch.manual_seed(seed)
    alone = golden_alone(tiny_student)
    with torch.no_grad():  # biases are zero as initialised: a lost one would not be seen
        for name, parameter in alone.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.5)
    full = build_graph(alone.config, alone.heads, state(alone), trim=False)
    trimmed = build_graph(alone.config, alone.heads, state(alone))
    inputs = batch(6, 40, seed)
    assert run(trimmed, inputs) == pytest.approx(run(full, inputs), abs=2e-5)
    assert run(trimmed, inputs) == pytest.approx(torch_logits(alone, inputs), abs=2e-5)


def test_a_trimmed_last_layer_has_neither_keys_nor_values_of_all_tokens(
    tiny_student: Student,
) -> None:
    alone = golden_alone(tiny_student)
    model = onnx.shape_inference.infer_shapes(
        build_graph(alone.config, alone.heads, state(alone)), data_prop=True
    )
    names = {tensor.name for tensor in model.graph.initializer}
    assert "encoder.encoder.layer.0.attention.self.key.bias" in names
    assert "encoder.encoder.layer.1.attention.self.key.bias" not in names
    shapes = {value.name: value.type.tensor_type.shape.dim for value in model.graph.value_info}
    wide = [
        node.output[0]
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1].endswith("intermediate.dense.weight")
    ]
    assert [shapes[name][1].dim_value for name in wide] == [0, 1]  # all tokens, then one


def test_heads_keep_their_order(tiny_student: Student) -> None:
    heads = [
        Head("soft-bi", kind="cosine", teacher="bi"),
        Head("golden"),
        Head("soft-other", kind="cosine", teacher="other"),
        Head("soft-cross", teacher="cross"),
    ]
    mixed = Student(tiny_student.config, heads).eval()
    with torch.no_grad():
        mixed.gain.copy_(torch.tensor([0.5, 2.0, 3.0, 4.0]))
        mixed.shift.copy_(torch.tensor([-4.0, -2.0, 2.0, 4.0]))
        for number, index in enumerate((0, 2)):
            mixed.get_parameter(f"head_bank.{index}.scale").fill_(3.0 + number)
    inputs = batch(5, 20)
    found = run(build_graph(mixed.config, mixed.heads, state(mixed)), inputs)
    assert found == pytest.approx(torch_logits(mixed, inputs), abs=2e-5)
    assert np.unique(found.round(3)).size == found.size


def test_more_heads_are_no_more_nodes(tiny_student: Student) -> None:
    def nodes(kinds: list[HeadKind]) -> int:
        heads = [Head(f"head-{index}", kind) for index, kind in enumerate(kinds)]
        made = Student(tiny_student.config, heads)
        return len(build_graph(made.config, made.heads, state(made)).graph.node)

    assert nodes(["linear"] * 7) == nodes(["linear"])
    assert nodes(["linear", "cosine"] * 3) == nodes(["linear", "cosine"])


def test_cosine_heads_alone_need_no_product_with_weights(tiny_student: Student) -> None:
    only = Student(tiny_student.config, [Head("soft-bi", "cosine", "bi")]).eval()
    inputs = batch(3, 12)
    model = build_graph(only.config, only.heads, state(only))
    assert run(model, inputs) == pytest.approx(torch_logits(only, inputs), abs=2e-5)
    assert "head_bank.weight" not in {tensor.name for tensor in model.graph.initializer}


def test_a_bi_lstm_is_refused() -> None:
    student = make_bi_lstm(BertModel(tiny_config(60)), 2, 8, [Head("golden")])
    with pytest.raises(UnsupportedStudentError, match="for comparison alone"):
        check_config(student.config)


def test_an_activation_that_the_graph_cannot_say_is_refused(tiny_student: Student) -> None:
    tiny_student.config.hidden_act = "relu"
    with pytest.raises(UnsupportedStudentError, match='hidden_act is "relu"'):
        check_config(tiny_student.config)
