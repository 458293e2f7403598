from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from retort.models.bundle import Bundle, find_bundle, read_bundle
from retort.models.encoding import Batch, Truncation
from retort.models.layout import INPUTS
from retort.models.runtime.base import BackendUnavailable
from retort.models.runtime.half import half_graph, halve
from retort.models.runtime.onnxruntime import open_session
from retort.models.scores import combine
from retort.training.export.bundling import export_graph
from retort.training.nn.student import Head, Student
from tests.service.running import ROOT
from tests.tiny import make_student

CPU = ("CPUExecutionProvider",)


def logits(model: Path | bytes, batch: Batch) -> NDArray[np.float32]:
    session = open_session(model, "cpu", {}, threads=1)
    arrays = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
    found: NDArray[np.float32] = session.run(None, dict(zip(INPUTS, arrays, strict=True)))[0]
    return found


def golden_batch(bundle: Bundle) -> Batch:
    encoder = bundle.encoder()
    return encoder.collate([encoder.encode(p.query, [p.passage])[0] for p in bundle.golden])


def types(model: bytes) -> Counter[int]:
    return Counter(t.data_type for t in onnx.load_from_string(model).graph.initializer if t.dims)


@pytest.mark.slow
def test_the_shipped_student_scores_alike_in_half() -> None:
    bundle = read_bundle(find_bundle("retort-small"))
    batch = golden_batch(bundle)
    half = half_graph(bundle.graph_path, None, CPU)
    whole, halved = logits(bundle.graph_path, batch), logits(half, batch)
    assert halved.dtype == np.float32
    assert halved == pytest.approx(whole, abs=0.02)
    assert combine(halved).score == pytest.approx(combine(whole).score, abs=3e-3)
    kinds = Counter(node.op_type for node in onnx.load_from_string(half).graph.node)
    assert kinds["Attention"] >= bundle.manifest.architecture.layers - 1
    # Of the encoder all weights, of the heads none.
    found = types(half)
    assert found[TensorProto.FLOAT16] > 5 * found[TensorProto.FLOAT]


@pytest.mark.parametrize("heads", [(Head("golden"),), (Head("golden"), Head("b", teacher="t"))])
def test_a_student_of_linear_heads_alone(tmp_path: Path, heads: tuple[Head, ...]) -> None:
    config = make_student(166, Truncation(max_length=64, max_query_tokens=16)).config
    student = Student(config, heads).eval()
    export_graph(student, tmp_path / "model.onnx", "int8")
    ids = np.arange(96, dtype=np.int64).reshape(6, 16)
    mask = np.ones_like(ids)
    mask[:3, 10:] = 0
    batch = Batch(ids, mask, (ids % 16 > 6).astype(np.int64))
    half = half_graph(tmp_path / "model.onnx", None, CPU)
    assert logits(half, batch) == pytest.approx(logits(tmp_path / "model.onnx", batch), abs=5e-3)


@pytest.mark.parametrize("name", ["retort-small", "tests/tiny-bundle"])
def test_every_layers_attention_is_one_node(name: str) -> None:
    bundle = read_bundle(find_bundle(name))
    model = onnx.load_from_string(half_graph(bundle.graph_path, None, ["CPUExecutionProvider"]))
    kinds = Counter(node.op_type for node in model.graph.node)
    layers, trimmed = (getattr(bundle.manifest.architecture, n) for n in ("layers", "trimmed"))
    # In a trimmed layer one token asks: there is nothing to fuse.
    assert kinds["Attention"] == layers - trimmed
    assert kinds["Softmax"] == trimmed
    assert kinds["BiasGelu"] == layers
    assert kinds["SkipLayerNormalization"] == 2 * layers


def test_attention_may_be_told_lengths_instead_of_a_mask(tiny_bundle: Bundle) -> None:
    made = half_graph(tiny_bundle.graph_path, None, ["CPUExecutionProvider"], lengths=True)
    model = onnx.load_from_string(made)
    attentions = [node for node in model.graph.node if node.op_type == "Attention"]
    assert {node.input[3] for node in attentions} == {"row_numbers"}
    # The CPU has no such attention, but it can compute the numbers.
    needed = {"Mask_Int32"} | {name for name in outputs(model) if name.startswith("row_")}
    nodes = [node for node in model.graph.node if set(node.output) & needed]
    part = onnx.helper.make_graph(
        nodes,
        "numbers",
        [onnx.helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["b", "s"])],
        [onnx.helper.make_tensor_value_info("row_numbers", TensorProto.INT32, ["n"])],
        [tensor for tensor in model.graph.initializer if tensor.name in read_by(nodes)],
    )
    alone = onnx.helper.make_model(part, opset_imports=model.opset_import, ir_version=10)
    session = onnxruntime.InferenceSession(alone.SerializeToString())
    mask = np.array([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]])
    (numbers,) = session.run(None, {"attention_mask": mask})
    assert numbers.tolist() == [3, 1, 4, 0, 4, 8, 12, 0, 4, 8, 12]


def outputs(model: onnx.ModelProto) -> set[str]:
    return {name for node in model.graph.node for name in node.output}


def read_by(nodes: list[onnx.NodeProto]) -> set[str]:
    return {name for node in nodes for name in node.input}


def test_it_is_made_once(tiny_bundle: Bundle, tmp_path: Path) -> None:
    made = half_graph(tiny_bundle.graph_path, tmp_path / "kept", CPU)
    (file,) = (tmp_path / "kept").iterdir()
    assert onnxruntime.__version__ in file.name
    assert file.read_bytes() == made
    file.write_bytes(b"what was kept")
    assert half_graph(tiny_bundle.graph_path, tmp_path / "kept", CPU) == b"what was kept"


def test_a_folder_that_cannot_be_written_does_not_stop_it(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert half_graph(tiny_bundle.graph_path, tmp_path / "file" / "kept", CPU)


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="it has CUDA"
)
def test_what_another_provider_fused_is_not_kept(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(BackendUnavailable, match="but CPUExecutionProvider runs"),
    ):
        half_graph(tiny_bundle.graph_path, tmp_path / "kept", ("CUDAExecutionProvider", *CPU))
    assert not (tmp_path / "kept").exists()


def test_a_graph_that_was_not_fused_is_refused(tiny_bundle: Bundle) -> None:
    model = onnx.load(tiny_bundle.graph_path)
    normed = [n for n in model.graph.node if n.op_type == "LayerNormalization"]
    assert not normed
    with pytest.raises(BackendUnavailable, match="no layer normalisation"):
        halve(model)


def test_a_weight_too_large_for_half_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    model = onnx.load(tiny_bundle.graph_path)
    tensor = next(t for t in model.graph.initializer if "word_embeddings" in t.name)
    values = numpy_helper.to_array(tensor).copy()
    values[0, 0] = 7e4
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(BackendUnavailable, match=r"has a value of 70000, .*ask for fp32"):
        half_graph(tmp_path / "model.onnx", None, CPU)


def test_without_onnx_it_says_what_to_install(tiny_bundle: Bundle) -> None:
    assert importlib.util.find_spec("onnx") is not None
    program = (
        "import sys; sys.modules['onnx'] = None\n"
        "from pathlib import Path\n"
        "from retort.models.runtime.half import half_graph\n"
        f"half_graph(Path({str(tiny_bundle.graph_path)!r}), None, {CPU!r})\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "fp16 needs the package onnx" in ended.stderr
