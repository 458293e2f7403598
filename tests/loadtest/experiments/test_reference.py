"""The sentence-transformers reference: the student's weights, tokens and arithmetic."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from statistics import median
from time import perf_counter
from typing import Any

import httpx
import huggingface_hub.constants
import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig

from retort.loadtest.experiments.reference import Reference, load_reference
from retort.loadtest.traffic import Request, Traffic
from retort.models.bundle import Bundle, find_bundle, read_bundle
from retort.training.nn.student import Student
from tests.service.running import server
from tests.tiny import HEADS

REQUEST = Request("how tall is the tower", ("The tower is 330 metres tall.", "Paris is old."))


def of_shape(bundle: Bundle, **changes: int) -> Bundle:
    """The bundle, claiming to be of another shape."""
    size = bundle.manifest.architecture.model_copy(update=changes)
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"architecture": size}))


@pytest.fixture(scope="module")
def reference(tiny_bundle: Bundle) -> Reference:
    """The reference for the tiny bundle."""
    return load_reference(tiny_bundle)


def test_it_reads_pairs_as_the_student_does(reference: Reference, tiny_bundle: Bundle) -> None:
    texts = (*REQUEST.passages, "old " * 200)
    found = reference.model.tokenizer(
        [REQUEST.query] * 3,
        list(texts),
        padding=True,
        truncation="only_second",
        max_length=tiny_bundle.manifest.truncation.max_length,
        return_tensors="np",
    )
    encoder = tiny_bundle.encoder()
    expected = encoder.collate(encoder.encode(REQUEST.query, texts))
    assert (found["input_ids"] == expected.input_ids).all()
    assert (found["token_type_ids"] == expected.token_type_ids).all()
    assert (found["attention_mask"] == expected.attention_mask).all()


def test_it_scores_as_the_students_golden_head(reference: Reference, tiny_bundle: Bundle) -> None:
    pairs = [(pair.query, pair.passage) for pair in tiny_bundle.golden]
    scores = reference.model.predict(pairs, show_progress_bar=False)
    golden = np.array([pair.logits[0] for pair in tiny_bundle.golden])
    assert scores == pytest.approx(1 / (1 + np.exp(-golden)), abs=0.01)
    assert "the student's encoder and golden head" in reference.describe()


def test_its_arithmetic_is_within_one_percent_of_the_students(tiny_bundle: Bundle) -> None:
    # An ensemble, as far as its manifest says: there is no one encoder to take weights from.
    large = of_shape(tiny_bundle, layers=3, width=384, attention_heads=12, encoders=2)
    reference = load_reference(large)
    assert "random weights in the student's shape" in reference.describe()
    inner: Any = reference.model.model
    config = BertConfig.from_dict({**inner.config.to_dict(), "num_labels": 2})
    student = Student(config, HEADS).eval()
    ids = torch.ones((2, 128), dtype=torch.int64)
    counts = []
    for model in (student, inner):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            model(input_ids=ids, attention_mask=ids, token_type_ids=torch.zeros_like(ids))
        counts.append(counter.get_total_flops())
    assert counts[0] > 1e9
    assert counts[1] == pytest.approx(counts[0], rel=0.01)


def test_the_rate_counts_pairs(reference: Reference) -> None:
    assert reference.pairs_per_second(Traffic("real", "", (REQUEST,)), 0.05) > 2


def test_no_hub_is_asked(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    load_reference(tiny_bundle)
    assert huggingface_hub.constants.is_offline_mode()


@pytest.mark.slow
def test_a_server_answers_faster_than_the_reference_scores() -> None:
    bundle = read_bundle(find_bundle("retort-small"))
    passages = tuple(pair.passage for pair in bundle.golden)
    traffic = Traffic("golden", "", tuple(Request(p.query, passages) for p in bundle.golden[:4]))
    reference = load_reference(bundle)

    def ask(request: Request) -> int:
        body = {"query": request.query, "passages": request.passages}
        return len(httpx.post(f"{running.url}/score", json=body, timeout=60).json()["results"])

    def served(seconds: float) -> float:
        done, start = 0, perf_counter()
        with ThreadPoolExecutor(4) as pool:
            while (spent := perf_counter() - start) < seconds:
                done += sum(pool.map(ask, traffic.requests))
        return done / spent

    with server("--bundle", str(bundle.folder), "--passage-cache", "0") as running:
        served(0.5)
        reference.pairs_per_second(traffic, 0.5)
        rounds = [(served(1.5), reference.pairs_per_second(traffic, 1.5)) for _ in range(3)]
    assert median(ours / theirs for ours, theirs in rounds) > 1
