"""The null bundle: it passes the golden check, and what it is asked does not matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from retort.loadtest.null_bundle import write_null_bundle
from retort.models.bundle import Bundle
from retort.models.runtime.base import BackendInfo, same_batch
from retort.models.runtime.choose import load_compared
from retort.models.runtime.options import RuntimeOptions


def test_it_answers_zeros_and_reproduces_its_golden_pairs(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    made = write_null_bundle(tmp_path / "null", tiny_bundle)
    info = BackendInfo("onnxruntime", "cpu", "fp32")
    backend, golden = load_compared(info, made, made.encoder(), RuntimeOptions(), tmp_path)
    assert golden.passed
    assert len(made.golden) == len(tiny_bundle.golden)
    logits = backend.infer(same_batch(3, 20, 7))
    assert np.array_equal(logits, np.zeros((3, len(tiny_bundle.manifest.heads))))
    assert made.tokenizer_path.read_bytes() == tiny_bundle.tokenizer_path.read_bytes()
