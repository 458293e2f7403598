"""A student starts from a bundle with the weights that its graph holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from retort.models.bundle import Bundle, write_bundle
from retort.training.export.graph import build_graph
from retort.training.export.storage import Storage, shrink
from retort.training.nn.backbone import load_backbone
from retort.training.nn.from_bundle import BundleWeightsError, encoder_of
from retort.training.nn.student import Head, Student, take_layers
from tests.fake_bundle import golden_pairs, make_encoder, make_manifest
from tests.tiny_texts import make_tokenizer
from tests.training.backbones import tiny_config


@pytest.fixture(scope="module")
def student() -> Student:
    torch.manual_seed(2)
    config = tiny_config(make_tokenizer().get_vocab_size())
    student = Student(config, [Head("golden"), Head("soft", teacher="a")]).eval()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.normal_(0.0, 0.2)
    return student


def bundle_of(folder: Path, model: onnx.ModelProto, attention_heads: int) -> Bundle:
    """A bundle of the graph, under the manifest of a fake one."""
    graph, tokenizer = folder / "graph.onnx", folder / "tokenizer.json"
    onnx.save(model, graph)
    make_tokenizer().save(str(tokenizer))
    manifest = make_manifest("start")
    size = manifest.architecture.model_copy(update={"attention_heads": attention_heads})
    return write_bundle(
        folder / "start",
        manifest=manifest.model_copy(update={"architecture": size}),
        graph=graph,
        tokenizer=tokenizer,
        golden=golden_pairs(make_encoder()),
    )


def graph_of(student: Student, storage: Storage, *, trim: bool) -> onnx.ModelProto:
    weights = {n: v.numpy().astype(np.float32) for n, v in student.state_dict().items()}
    return shrink(build_graph(student.config, student.heads, weights, trim=trim), storage)


@pytest.mark.parametrize("trim", [True, False])
@pytest.mark.parametrize(("storage", "error"), [("fp32", 1e-6), ("fp16", 2e-3), ("int8", 3e-2)])
def test_the_encoder_says_what_it_said(
    student: Student, storage: Storage, error: float, trim: bool, tmp_path: Path
) -> None:
    model = graph_of(student, storage, trim=trim)
    heads = student.config.num_attention_heads
    encoder = encoder_of(bundle_of(tmp_path, model, heads))
    ids = torch.randint(4, 100, (6, 9))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.no_grad():
        expected = student.encoder(**batch).last_hidden_state[:, 0]
        found = encoder(**batch).last_hidden_state[:, 0]
    assert float((found - expected).abs().max()) < error * float(expected.abs().max())


def test_a_recipe_may_start_from_a_bundle_that_ships() -> None:
    backbone = load_backbone("retort-small")
    student = take_layers(backbone.encoder, [0, 1], [Head("golden")])
    words = student.encoder.embeddings.word_embeddings.weight
    assert words.shape == (30522, 384)
    assert backbone.truncation is not None
    assert backbone.tokenizer_path.is_file()


def test_a_graph_without_an_encoder_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    model = onnx.load_from_string(tiny_bundle.graph())
    for tensor in model.graph.initializer:
        tensor.name = tensor.name.replace("encoder", "other")
    with pytest.raises(BundleWeightsError, match="no weights of one BERT encoder"):
        encoder_of(bundle_of(tmp_path, model, 2))


def test_a_lost_weight_is_named(student: Student, tmp_path: Path) -> None:
    model = graph_of(student, "fp32", trim=False)
    kept = [t for t in model.graph.initializer if not t.name.endswith("0.output.dense.weight")]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    with pytest.raises(BundleWeightsError, match=r"layer\.0\.output\.dense\.weight is missing"):
        encoder_of(bundle_of(tmp_path, model, 2))
