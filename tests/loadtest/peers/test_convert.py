"""The converter: every form of a bundle gives the golden head's logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers
from numpy.typing import NDArray
from onnx import numpy_helper

from retort.cross_encoder import pair_tokenizer
from retort.loadtest.peers.catalog import Forms
from retort.loadtest.peers.convert import (
    convert,
    golden_graph,
    golden_head,
    norm_epsilon,
    read_weights,
    restored,
    with_own_segments,
)
from retort.loadtest.traffic import real
from retort.models.bundle import Bundle, read_bundle
from retort.models.encoding import Batch
from retort.training.export.storage import shrink

FloatArray = NDArray[np.float32]


@pytest.fixture(scope="module")
def forms(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Forms:
    """The tiny bundle in all forms, in a folder that held another student before."""
    forms = Forms.inside(tmp_path_factory.mktemp("peers") / "made")
    forms.student.mkdir(parents=True)
    (forms.student / "model_optimized.onnx").write_text("of another student")
    requests = real(tiny_bundle.encoder(), None, passages=4).requests[:25]
    convert(tiny_bundle, forms, requests)
    return forms


def golden_batch(bundle: Bundle) -> tuple[Batch, FloatArray]:
    """The golden pairs as one batch, and the golden head's logits (pairs,) of the original."""
    encoder = bundle.encoder()
    pairs = [pair for one in bundle.golden for pair in encoder.encode(one.query, [one.passage])]
    return encoder.collate(pairs), np.array([one.logits[0] for one in bundle.golden], np.float32)


def run_graph(graph: bytes, batch: Batch) -> FloatArray:
    """Logits (pairs, heads) of a graph that may have no input for token types."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    arrays = {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "token_type_ids": batch.token_type_ids,
    }
    names = {value.name for value in session.get_inputs()}
    logits: FloatArray = session.run(None, {k: v for k, v in arrays.items() if k in names})[0]
    return logits


def test_a_library_gets_the_golden_logits_out_of_the_folder(
    forms: Forms, tiny_bundle: Bundle
) -> None:
    _, expected = golden_batch(tiny_bundle)
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(forms.student)
    model: Any = transformers.AutoModelForSequenceClassification.from_pretrained(forms.student)
    texts = [(pair.query, pair.passage) for pair in tiny_bundle.golden]
    inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    assert inputs["token_type_ids"].max() == 1
    with torch.inference_mode():
        logits = model.eval()(**inputs).logits[:, 0].numpy()
    assert np.allclose(logits, expected, atol=1e-3)
    length = tiny_bundle.manifest.truncation.max_length
    assert (tokenizer.model_max_length, model.config.max_position_embeddings) == (length, length)


def test_the_folder_has_a_graph_and_nothing_of_an_older_one(
    forms: Forms, tiny_bundle: Bundle
) -> None:
    batch, expected = golden_batch(tiny_bundle)
    graph = (forms.student / "model.onnx").read_bytes()
    assert np.allclose(run_graph(graph, batch)[:, 0], expected, atol=1e-3)
    assert [path.name for path in forms.student.glob("*.onnx")] == ["model.onnx"]


def test_the_golden_bundle_has_one_head_and_its_logits(forms: Forms) -> None:
    golden = read_bundle(forms.golden)
    batch, expected = golden_batch(golden)
    logits = run_graph(golden.graph_path.read_bytes(), batch)
    assert logits.shape == (len(golden.golden), 1)
    assert np.allclose(logits[:, 0], expected, atol=1e-3)
    assert golden.manifest.name == "tiny-golden"
    assert [head.kind for head in golden.manifest.heads] == ["golden"]
    assert golden.manifest.architecture.trimmed
    first = golden.golden[0]
    assert first.score == pytest.approx(1 / (1 + np.exp(-first.logits[0])), abs=1e-12)


def test_lower_precisions_are_judged_by_the_bounds_of_an_export(forms: Forms) -> None:
    found = read_bundle(forms.golden).manifest.lower_parity
    assert set(found) <= {"bf16"}, "weights that are stored as fp32 have no int8"
    assert all(parity.queries == 25 for parity in found.values())


def test_trimmed_or_not_a_graph_gives_the_same_logits(tiny_bundle: Bundle) -> None:
    weights = read_weights(tiny_bundle)
    batch, _ = golden_batch(tiny_bundle)
    graphs = [golden_graph(weights, trim=trim) for trim in (True, False)]
    short, whole = (run_graph(graph.SerializeToString(), batch) for graph in graphs)
    assert np.allclose(short, whole, atol=1e-4)


def test_the_mended_graph_works_out_token_types(tiny_bundle: Bundle) -> None:
    graph = golden_graph(read_weights(tiny_bundle), trim=False)
    mended = with_own_segments(graph, pair_tokenizer(tiny_bundle.tokenizer_path))
    assert [value.name for value in mended.graph.input] == ["input_ids", "attention_mask"]
    assert [value.name for value in graph.graph.input][-1] == "token_type_ids"
    batch, _ = golden_batch(tiny_bundle)
    assert (batch.attention_mask == 0).any(), "a test without padding says little"
    expected = run_graph(graph.SerializeToString(), batch)
    assert np.allclose(run_graph(mended.SerializeToString(), batch), expected, atol=1e-5)
    zeros = Batch(batch.input_ids, batch.attention_mask, np.zeros_like(batch.token_type_ids))
    assert not np.allclose(run_graph(graph.SerializeToString(), zeros), expected, atol=1e-2)


def test_matrices_come_back_as_pytorch_has_them(tiny_bundle: Bundle) -> None:
    weights = read_weights(tiny_bundle)
    encoder = weights.encoder
    assert encoder["encoder.encoder.layer.0.intermediate.dense.weight"].shape == (64, 32)
    assert encoder["encoder.embeddings.word_embeddings.weight"].shape[1] == 32
    assert weights.config["max_position_embeddings"] == 64
    assert weights.head.shape == (32,)
    assert weights.config["layer_norm_eps"] == pytest.approx(1e-12)


@pytest.mark.parametrize(("storage", "within"), [("fp16", 1e-3), ("int8", 0.01)])
def test_small_storage_is_restored(tiny_bundle: Bundle, storage: str, within: float) -> None:
    full = golden_graph(read_weights(tiny_bundle))
    small = shrink(full, "fp16" if storage == "fp16" else "int8")
    stored = {t.name: numpy_helper.to_array(t) for t in small.graph.initializer}
    found = restored(stored)
    expected = {t.name: numpy_helper.to_array(t) for t in full.graph.initializer}
    name = "encoder.encoder.layer.1.attention.self.key.weight"
    assert f"{name}.{storage}" in stored
    scale = float(np.abs(expected[name]).max())
    assert np.allclose(found[name], expected[name], atol=within * scale)
    assert "scale" not in {key.rpartition(".")[2] for key in found}


def test_a_head_is_found_joined_and_apart() -> None:
    joined = {
        "head_bank.weight": np.array([[1, 3], [2, 4]], np.float32),
        "head_bank.bias": np.array([5, 6], np.float32),
    }
    weight, bias = golden_head(joined, 1)
    assert (weight.tolist(), bias) == ([3, 4], 6)
    apart = {
        "head_bank.1.linear.weight": np.array([[3], [4]], np.float32),
        "head_bank.1.linear.bias": np.array([6], np.float32),
    }
    weight, bias = golden_head(apart, 1)
    assert (weight.tolist(), bias) == ([3, 4], 6)
    assert not golden_head({"head_bank.2.scale": np.ones((1, 1), np.float32)}, 2)[0].any()


def test_a_graph_of_other_making_is_refused() -> None:
    with pytest.raises(ValueError, match="no layer normalisation"):
        norm_epsilon(onnx.GraphProto(), {})
