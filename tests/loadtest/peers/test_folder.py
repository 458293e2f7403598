"""The folder: what Hugging Face libraries load of it gives the golden head's logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import transformers

from retort.loadtest.peers.folder import write_folder
from retort.loadtest.peers.golden_alone import golden_graph
from retort.loadtest.peers.weights import read_weights
from retort.models.bundle import Bundle
from tests.loadtest.peers.forms import golden_batch, run_graph


def test_a_library_gets_the_golden_logits_out_of_it(tiny_bundle: Bundle, tmp_path: Path) -> None:
    weights = read_weights(tiny_bundle)
    write_folder(tmp_path / "student", tiny_bundle, weights, golden_graph(tiny_bundle, weights))
    _, wanted = golden_batch(tiny_bundle)
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(tmp_path / "student")
    model: Any = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "student"
    )
    texts = [(pair.query, pair.passage) for pair in tiny_bundle.golden]
    inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    assert inputs["token_type_ids"].max() == 1
    with torch.inference_mode():
        logits = model.eval()(**inputs).logits[:, 0].numpy()
    assert np.allclose(logits, wanted, atol=1e-3)
    assert tokenizer.model_max_length == tiny_bundle.manifest.truncation.max_length


def test_it_holds_a_graph_and_nothing_of_an_older_one(tiny_bundle: Bundle, tmp_path: Path) -> None:
    weights = read_weights(tiny_bundle)
    (tmp_path / "student").mkdir()
    (tmp_path / "student" / "model_optimized.onnx").write_text("of another student")
    write_folder(tmp_path / "student", tiny_bundle, weights, golden_graph(tiny_bundle, weights))
    batch, wanted = golden_batch(tiny_bundle)
    graph = onnx.load(str(tmp_path / "student" / "model.onnx"))
    assert np.allclose(run_graph(graph.SerializeToString(), batch)[:, 0], wanted, atol=1e-3)
    assert [path.name for path in (tmp_path / "student").glob("*.onnx")] == ["model.onnx"]
