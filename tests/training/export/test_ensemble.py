"""The graph of an ensemble against its PyTorch members, on ONNX Runtime and on OpenVINO."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch

from retort.models.encoding import Batch, PairEncoder
from retort.training.export.bundling import export_graph
from retort.training.export.encoder import UnsupportedStudentError
from retort.training.nn.inference import student_model
from retort.training.teachers.ensemble import Ensemble, LoadedEnsemble, load_ensemble
from tests.tiny_texts import PASSAGES, QUERIES
from tests.training.saved_teachers import save_teachers


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedEnsemble:
    """A cross-encoder, two bi-encoders and a sequence classifier, each with a map of its own."""
    made = load_ensemble(save_teachers(tmp_path))
    with torch.no_grad():
        made.ensemble.gain.copy_(torch.tensor([0.5, 2.0, 3.0, 4.0]))
        made.ensemble.shift.copy_(torch.tensor([0.1, -0.2, 0.3, 0.4]))
    return made


@pytest.fixture
def batch(loaded: LoadedEnsemble) -> Batch:
    encoder = PairEncoder.from_file(loaded.tokenizer_path, loaded.truncation)
    return encoder.collate([pair for query in QUERIES for pair in encoder.encode(query, PASSAGES)])


def inputs(batch: Batch) -> dict[str, object]:
    return {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "token_type_ids": batch.token_type_ids,
    }


def export(ensemble: Ensemble, path: Path, storage: str = "fp32") -> Path:
    export_graph(ensemble, path, storage)  # type: ignore[arg-type]
    return path


def test_onnx_runtime_gives_the_logits_of_pytorch(
    loaded: LoadedEnsemble, batch: Batch, tmp_path: Path
) -> None:
    expected = student_model(loaded.ensemble)(batch)
    path = export(loaded.ensemble, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    logits = session.run(["logits"], inputs(batch))[0]
    assert logits.shape == (16, 4)
    assert (expected.std(axis=0) > 0.01).all()
    assert logits == pytest.approx(expected, abs=1e-4)


def test_openvino_gives_the_logits_of_pytorch(
    loaded: LoadedEnsemble, batch: Batch, tmp_path: Path
) -> None:
    path = export(loaded.ensemble, tmp_path / "model.onnx")
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = student_model(loaded.ensemble)(batch)
    assert compiled(inputs(batch))["logits"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("storage", ["fp16", "int8"])
def test_small_storage_stays_near(
    loaded: LoadedEnsemble, batch: Batch, tmp_path: Path, storage: str
) -> None:
    path = export(loaded.ensemble, tmp_path / "model.onnx", storage)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = student_model(loaded.ensemble)(batch)
    assert session.run(None, inputs(batch))[0] == pytest.approx(expected, abs=0.05)


def test_padding_and_neighbours_change_nothing(
    loaded: LoadedEnsemble, batch: Batch, tmp_path: Path
) -> None:
    path = export(loaded.ensemble, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    together = session.run(None, inputs(batch))[0]
    length = int(batch.attention_mask[3].sum())
    alone = {name: array[3:4, :length] for name, array in inputs(batch).items()}  # type: ignore[index]
    assert session.run(None, alone)[0] == pytest.approx(together[3:4], abs=1e-5)


def test_a_bi_encoder_is_written_once_however_many_halves(
    loaded: LoadedEnsemble, tmp_path: Path
) -> None:
    model = onnx.load(export(loaded.ensemble, tmp_path / "model.onnx"))
    assert {node.domain for node in model.graph.node} == {""}
    # Four encoders of two layers: one softmax each, not two for the halves of a pair.
    assert Counter(node.op_type for node in model.graph.node)["Softmax"] == 8
    names = [tensor.name for tensor in model.graph.initializer]
    assert len(names) == len(set(names))


def test_the_calibration_is_inside_the_head_weights(loaded: LoadedEnsemble, tmp_path: Path) -> None:
    model = onnx.load(export(loaded.ensemble, tmp_path / "model.onnx"))
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert stored["members.1.head.weight"].ravel() == pytest.approx([2.0])
    assert stored["members.1.head.bias"] == pytest.approx([-0.2])
    assert "gain" not in stored


def test_an_activation_that_the_graph_cannot_say_is_refused(
    loaded: LoadedEnsemble, tmp_path: Path
) -> None:
    loaded.ensemble.configs[2].hidden_act = "relu"
    with pytest.raises(UnsupportedStudentError, match='hidden_act is "relu"'):
        export(loaded.ensemble, tmp_path / "model.onnx")
    assert np.array(list(tmp_path.glob("model.onnx"))).size == 0


def test_weights_that_members_share_are_there_once(loaded: LoadedEnsemble, tmp_path: Path) -> None:
    model = onnx.load(export(loaded.ensemble, tmp_path / "model.onnx"))
    names = {tensor.name for tensor in model.graph.initializer}
    table = "encoder.embeddings.word_embeddings.weight"
    # The first three were cut from one backbone, the classifier was not.
    assert {name for name in names if name.endswith(table)} == {
        f"members.0.{table}",
        f"members.3.{table}",
    }


def test_onnx_runtime_still_fuses_the_cross_encoders(
    loaded: LoadedEnsemble, tmp_path: Path
) -> None:
    path, optimised = export(loaded.ensemble, tmp_path / "model.onnx"), tmp_path / "optimised.onnx"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that the optimised file fits this machine alone
    options.optimized_model_filepath = str(optimised)
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(optimised).graph.node)
    # The first layer of two cross-encoders: their second is trimmed, and a bi-encoder's mask is no
    # mask that it knows.
    assert kinds["Attention"] == 2
    assert kinds["BiasGelu"] == 8
