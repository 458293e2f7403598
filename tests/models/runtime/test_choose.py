from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from retort.models.bundle import Bundle, find_bundle, read_bundle, write_bundle
from retort.models.errors import StartError
from retort.models.manifest import WeightPrecision
from retort.models.runtime.base import BackendInfo, BackendUnavailable, each_stream
from retort.models.runtime.choose import (
    candidates,
    choice_file,
    choose_backend,
    load_backend,
    recall,
    remember,
)
from retort.models.runtime.golden import GoldenMismatch
from retort.models.runtime.onnxruntime import OnnxRuntimeBackend
from retort.models.runtime.openvino import OpenVinoBackend
from retort.models.runtime.options import RuntimeOptions, default_streams
from retort.models.scores import combine
from tests.tiny_texts import PASSAGES, QUERIES

ONNX = BackendInfo("onnxruntime", "cpu", "fp32")
OPENVINO = BackendInfo("openvino", "cpu", "fp32")


def test_the_fastest_is_chosen_and_remembered(tiny_bundle: Bundle, tmp_path: Path) -> None:
    encoder = tiny_bundle.encoder()
    first = choose_backend(
        tiny_bundle, encoder, RuntimeOptions(precision="fp32", threads=1), tmp_path
    )
    speeds = first.pairs_per_second
    assert {str(ONNX), str(OPENVINO)} <= set(speeds)
    assert str(first.backend.info) == max(speeds, key=lambda name: speeds[name])
    second = choose_backend(
        tiny_bundle, encoder, RuntimeOptions(precision="fp32", threads=1), tmp_path
    )
    assert second.backend.info == first.backend.info
    assert second.pairs_per_second == {}
    assert second.golden.passed


def test_a_setting_wins(tiny_bundle: Bundle, tmp_path: Path) -> None:
    for info in (ONNX, OPENVINO):
        wish = RuntimeOptions(backend=info.backend, precision="fp32", threads=1)  # type: ignore[arg-type]
        assert (
            choose_backend(tiny_bundle, tiny_bundle.encoder(), wish, tmp_path).backend.info == info
        )


def test_who_asks_for_the_cpu_gets_nothing_else() -> None:
    assert {info.provider for info in candidates(RuntimeOptions())} == {"cpu", "cuda", "tensorrt"}
    assert {info.provider for info in candidates(RuntimeOptions(provider="cpu"))} == {"cpu"}


def test_backends_agree_with_the_original(tiny_bundle: Bundle, tmp_path: Path) -> None:
    encoder = tiny_bundle.encoder()
    batch = encoder.collate([p for query in QUERIES for p in encoder.encode(query, PASSAGES)])
    one, other = (
        load_backend(info, tiny_bundle, RuntimeOptions(threads=1), tmp_path).infer(batch)
        for info in (ONNX, OPENVINO)
    )
    assert one.shape == (16, len(tiny_bundle.manifest.heads))
    assert one == pytest.approx(other, abs=1e-3)


def test_streams_give_the_scores_of_one(tiny_bundle: Bundle, tmp_path: Path) -> None:
    encoder = tiny_bundle.encoder()
    batches = [encoder.collate(encoder.encode(query, PASSAGES)) for query in QUERIES]
    one = load_backend(OPENVINO, tiny_bundle, RuntimeOptions(threads=2), tmp_path)
    two = load_backend(OPENVINO, tiny_bundle, RuntimeOptions(threads=2, streams=2), tmp_path)
    assert len(each_stream(two)) == 2
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(two.infer, batches * 8))
    # Each answer is its own memory: the next batch of the same thread leaves it alone.
    for batch, logits in zip(batches * 8, found, strict=True):
        assert logits == pytest.approx(one.infer(batch), abs=1e-5)


def test_why_nothing_can_run_is_named(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"provider cuda.*no CUDAExecutionProvider"):
        choose_backend(
            tiny_bundle, tiny_bundle.encoder(), RuntimeOptions(provider="cuda"), tmp_path
        )
    with pytest.raises(StartError, match="there is no such combination"):
        choose_backend(
            tiny_bundle, tiny_bundle.encoder(), RuntimeOptions("openvino", "cuda"), tmp_path
        )


def test_a_graph_that_scores_otherwise_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    shifted = [
        type(pair)(pair.query, pair.passage, pair.logits, 1.0 - pair.score)
        for pair in tiny_bundle.golden
    ]
    wrong = write_bundle(
        tmp_path / "wrong",
        manifest=tiny_bundle.manifest,
        graph=tiny_bundle.graph_path,
        tokenizer=tiny_bundle.tokenizer_path,
        golden=shifted,
    )
    with pytest.raises(GoldenMismatch):
        choose_backend(wrong, wrong.encoder(), RuntimeOptions("onnxruntime", threads=1), tmp_path)


def test_a_file_that_is_no_graph_is_refused(fake_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(StartError, match="no backend can run"):
        choose_backend(fake_bundle, fake_bundle.encoder(), RuntimeOptions(), tmp_path)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_onnxruntime_on_the_cpu_has_no_half_precision(tiny_bundle: Bundle, precision: str) -> None:
    with pytest.raises(BackendUnavailable, match=f"has no {precision}"):
        OnnxRuntimeBackend(tiny_bundle.graph_path, precision=precision)  # type: ignore[arg-type]


def test_openvino_has_no_fp16_on_the_cpu(tiny_bundle: Bundle) -> None:
    with pytest.raises(BackendUnavailable, match="has no fp16"):
        OpenVinoBackend(tiny_bundle.graph_path, precision="fp16")


def test_memory(tmp_path: Path) -> None:
    path = choice_file(tmp_path / "cache", "a bundle", RuntimeOptions())
    assert path == choice_file(tmp_path / "cache", "a bundle", RuntimeOptions())
    assert path != choice_file(tmp_path / "cache", "another", RuntimeOptions())
    assert recall(path) is None
    remember(path, ONNX, {str(ONNX): 1.0})
    assert recall(path) == ONNX
    path.write_text(json.dumps({"choice": {"colour": "blue"}}))
    assert recall(path) is None


def test_a_cache_that_cannot_be_written_does_not_stop_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    remember(tmp_path / "file" / "choice.json", ONNX, {})


INT8 = BackendInfo("openvino", "cpu", "int8")


@pytest.mark.slow
def test_int8_scores_a_pair_alike_in_any_batch(tmp_path: Path) -> None:
    bundle = read_bundle(find_bundle("retort-small"))
    encoder = bundle.encoder()
    backend = choose_backend(
        bundle, encoder, RuntimeOptions(precision="int8", threads=1), tmp_path
    ).backend
    assert backend.info == INT8
    pairs = [pair for query in QUERIES[:2] for pair in encoder.encode(query, PASSAGES)]
    together = combine(backend.infer(encoder.collate(pairs))).score
    alone = [combine(backend.infer(encoder.collate([pair]))).score[0] for pair in pairs]
    assert together == pytest.approx(np.array(alone), abs=0.02)


def test_int8_wants_weights_stored_so(tiny_bundle: Bundle, tmp_path: Path) -> None:
    halved = tiny_bundle.manifest.model_copy(update={"precision": WeightPrecision(storage="fp16")})
    bundle = write_bundle(
        tmp_path / "halved",
        manifest=halved,
        graph=tiny_bundle.graph_path,
        tokenizer=tiny_bundle.tokenizer_path,
        golden=tiny_bundle.golden,
    )
    with pytest.raises(StartError, match="stores its weights as fp16: int8 multiplies weights"):
        choose_backend(bundle, bundle.encoder(), RuntimeOptions(precision="int8"), tmp_path)


def test_default_streams() -> None:
    assert [default_streams(threads) for threads in (1, 3, 16)] == [1, 3, 4]
    assert 1 <= default_streams(0) <= 4
