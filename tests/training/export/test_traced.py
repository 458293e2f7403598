"""Bundles of cross-encoders that PyTorch's exporter writes: their scores, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from sentence_transformers import CrossEncoder

from retort.models.bundle import Bundle
from retort.models.card import render_card
from retort.models.encoding import PairEncoder
from retort.models.reading.windows import Reading
from retort.models.runtime.gpu import DeviceRunner
from retort.models.runtime.onnxruntime import OnnxRuntimeBackend, open_session
from retort.models.runtime.openvino import OpenVinoBackend
from retort.models.runtime.options import RuntimeOptions
from retort.models.scores import combine
from retort.ranker import Ranker
from retort.training.data.pairs import Pair
from retort.training.export.bundling import export_graph
from retort.training.export.originals import load_original
from retort.training.export.storage import Storage, shrink
from retort.training.nn.inference import graph_model, run
from retort.training.teachers.classifier import Classifier
from retort.training.teachers.ensemble import Ensemble
from tests.architectures import ARCHITECTURES, save_cross_encoder, save_sentence_cross_encoder
from tests.cross_encoders import make_bundle
from tests.tiny_texts import golden_texts

TEXTS = [text for text in golden_texts() if len(" ".join(text)) < 60]
# XLM-R and CamemBERT are RoBERTas, BERT has a graph of ours, and GPT-2 no token to pad with.
RARER = sorted(set(ARCHITECTURES) - {"roberta", "xlm-roberta", "camembert", "bert", "gpt2"})


def scores(bundle: Bundle, backend: str) -> list[float]:
    options = RuntimeOptions(backend=backend, precision="fp32")  # type: ignore[arg-type]
    return [float(score) for score in Ranker(bundle, options).score(TEXTS)]


def predicted(folder: Path, texts: list[tuple[str, str]] = TEXTS) -> list[float]:
    model = CrossEncoder(str(folder), device="cpu")
    return [float(score) for score in model.predict(texts, show_progress_bar=False)]


def check_scores(folder: Path, bundle: Bundle) -> None:
    expected = predicted(folder)
    assert np.std(expected) > 0.005
    for backend in ("onnxruntime", "openvino"):
        assert scores(bundle, backend) == pytest.approx(expected, abs=1e-5)


def test_a_roberta_scores_as_its_cross_encoder_does(roberta: Path, roberta_bundle: Bundle) -> None:
    check_scores(roberta, roberta_bundle)
    manifest = roberta_bundle.manifest
    assert manifest.layout is not None
    assert manifest.parity is not None
    assert manifest.parity.max_score_difference < 1e-5
    assert manifest.parity.bounds.max_score_difference == 1e-3
    assert (manifest.architecture.layers, manifest.architecture.width) == (2, 32)
    assert len(roberta_bundle.golden) >= 64


@pytest.mark.slow
@pytest.mark.parametrize("architecture", RARER)
def test_so_does_the_graph_of_every_other_architecture(architecture: str, tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / architecture, architecture)
    original = load_original([str(folder)], tmp_path)
    assert isinstance(original.model, Classifier)
    layout = original.model.layout
    encoder = PairEncoder.from_file(original.tokenizer_path, original.truncation, layout)
    export_graph(original.model, tmp_path / "model.onnx", "fp32")
    expected = predicted(folder)
    pairs = [Pair(*texts) for texts in TEXTS]
    graph = tmp_path / "model.onnx"
    for backend in (
        OnnxRuntimeBackend(graph, inputs=layout.inputs, threads=1),
        OpenVinoBackend(graph, inputs=layout.inputs, threads=1),
    ):
        found = combine(run(backend.infer, encoder, pairs)).score
        assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("storage", "share", "tolerance"), [("fp16", 0.7, 1e-3), ("int8", 0.5, 1e-2)]
)
def test_weights_are_stored_small(
    storage: Storage, share: float, tolerance: float,
    roberta: Path, roberta_bundle: Bundle, tmp_path: Path,
) -> None:  # fmt: skip
    small = tmp_path / "model.onnx"
    whole = onnx.load_from_string(roberta_bundle.graph())
    small.write_bytes(shrink(whole, storage).SerializeToString())
    assert small.stat().st_size < share * roberta_bundle.graph_path.stat().st_size
    encoder, inputs = roberta_bundle.encoder(), roberta_bundle.manifest.inputs
    found = run(graph_model(small, inputs), encoder, [Pair(*texts) for texts in TEXTS])
    assert combine(found).score == pytest.approx(predicted(roberta), abs=tolerance)


def test_a_graph_does_not_tell_where_it_was_made(roberta_bundle: Bundle) -> None:
    assert b"site-packages" not in roberta_bundle.graph()
    assert str(Path.cwd()).encode() not in roberta_bundle.graph()


def test_a_long_passage_is_read_in_windows(roberta_bundle: Bundle) -> None:
    ranker = Ranker(roberta_bundle, RuntimeOptions(backend="onnxruntime", precision="fp32"))
    encoder = roberta_bundle.encoder()
    query, passage = "how tall is the tower", "the old city and the river. " * 12
    (result,) = ranker.rank(query, [passage])
    assert result.windows is not None
    assert result.windows > 2
    head, text = encoder.encode_query(query), encoder.lay_out(passage)[0]
    read = encoder.read(head, passage, text, Reading())
    assert read is not None
    pairs = [encoder.join_window(head, text, window) for window in read.windows]
    backend = OnnxRuntimeBackend(
        roberta_bundle.graph(), inputs=roberta_bundle.manifest.inputs, threads=1
    )
    logits = [backend.infer(encoder.collate([pair]))[0, 0] for pair in pairs]
    assert result.score == pytest.approx(1 / (1 + np.exp(-max(logits))), abs=1e-5)


def test_a_gpu_s_buckets_give_the_same_logits(roberta_bundle: Bundle) -> None:
    """The path of a GPU on the processor: named inputs, rows and columns filled up."""
    encoder, manifest = roberta_bundle.encoder(), roberta_bundle.manifest
    batch = encoder.collate(encoder.encode(*("the tower", ["the old river", "a", "tower " * 5])))
    plain = OnnxRuntimeBackend(roberta_bundle.graph(), inputs=manifest.inputs, threads=1)
    runner = DeviceRunner(
        open_session(roberta_bundle.graph(), "cpu", {}),
        device="cpu",
        inputs=manifest.inputs,
        pad_id=encoder.pad_id,
        longest=manifest.truncation.max_length,
    )
    assert runner.infer(batch) == pytest.approx(plain.infer(batch), abs=1e-5)


def test_the_card_says_that_the_score_is_not_calibrated(roberta_bundle: Bundle) -> None:
    card = render_card(roberta_bundle.manifest)
    assert "It was not calibrated" in card
    assert "a sigmoid too: it gives this score" in card
    assert "learned from" in card


def test_a_bert_keeps_the_graph_that_is_written_here(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "bert", "bert")
    known = load_original([str(folder)], tmp_path)
    assert isinstance(known.model, Ensemble)
    bundle = make_bundle(folder, tmp_path / "bundle")
    assert bundle.manifest.layout is None
    assert bundle.manifest.architecture.trimmed
    check_scores(folder, bundle)


def test_a_bert_that_it_cannot_express_is_traced(tmp_path: Path) -> None:
    folder = save_cross_encoder(tmp_path / "bert", "bert")
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"gelu"', '"relu"'))
    assert isinstance(load_original([str(folder)], tmp_path).model, Classifier)


def test_a_folder_of_sentence_transformers_is_cut_where_it_is(tmp_path: Path) -> None:
    folder = save_sentence_cross_encoder(tmp_path / "m", "bert", max_length=24)
    check_scores(folder, make_bundle(folder, tmp_path / "bundle"))
