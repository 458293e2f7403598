from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from retort.models.bundle import Bundle
from retort.models.manifest import Range, ShapeProfile
from retort.models.runtime.base import BackendInfo, BackendUnavailable
from retort.models.runtime.onnxruntime import (
    OnnxRuntimeBackend,
    Provider,
    cuda_options,
    open_session,
    tensorrt_options,
)

HERE = onnxruntime.get_available_providers()
on_the_cpu_alone = pytest.mark.skipif(
    "CUDAExecutionProvider" in HERE, reason="this onnxruntime has CUDA"
)


@on_the_cpu_alone
@pytest.mark.parametrize(
    ("provider", "name"),
    [("cuda", "CUDAExecutionProvider"), ("tensorrt", "TensorrtExecutionProvider")],
)
def test_a_provider_that_is_not_there_is_refused(
    tiny_bundle: Bundle, tmp_path: Path, provider: Provider, name: str
) -> None:
    with pytest.raises(BackendUnavailable, match=f"has no {name}, it has .*CPUExecution"):
        OnnxRuntimeBackend(
            tiny_bundle.graph_path, provider=provider, precision="fp16", kept=tmp_path / "kept"
        )
    assert not (tmp_path / "kept").exists()


@on_the_cpu_alone
def test_the_cpu_is_not_taken_in_silence(tiny_bundle: Bundle) -> None:
    # ONNX Runtime warns, and would go on with the CPU.
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(BackendUnavailable, match="but CPUExecutionProvider runs"),
    ):
        open_session(tiny_bundle.graph_path, "cuda", {})


@pytest.mark.parametrize("provider", ["cpu", "cuda", "tensorrt"])
def test_no_provider_has_bf16(tiny_bundle: Bundle, provider: Provider) -> None:
    with pytest.raises(BackendUnavailable, match=f"onnxruntime on {provider} has no bf16"):
        OnnxRuntimeBackend(tiny_bundle.graph_path, provider=provider, precision="bf16")


def test_it_says_what_runs(tiny_bundle: Bundle) -> None:
    backend = OnnxRuntimeBackend(tiny_bundle.graph_path, threads=1)
    assert backend.info == BackendInfo("onnxruntime", "cpu", "fp32")
    assert not backend.cuda_graphs


def test_no_memory_plan_is_kept_for_each_shape(tiny_bundle: Bundle) -> None:
    session = open_session(tiny_bundle.graph_path, "cpu", {}, threads=1)
    assert not session.get_session_options().enable_mem_pattern


PROFILE = ShapeProfile(batch=Range(min=1, opt=64, max=256), sequence=Range(min=8, opt=128, max=128))


def test_cuda_multiplies_fp32_in_fp32() -> None:
    assert cuda_options(graphs=True) == {
        "use_tf32": "0",
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": "1",
    }
    assert cuda_options(graphs=False)["enable_cuda_graph"] == "0"


def test_tensorrt_gets_shapes_and_a_place_for_its_engine(tmp_path: Path) -> None:
    engines = tmp_path / "kept" / "tensorrt"
    options = tensorrt_options("fp16", PROFILE, engines)
    assert engines.is_dir()
    assert options == {
        "trt_fp16_enable": "True",
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(engines),
        "trt_profile_min_shapes": "input_ids:1x8,attention_mask:1x8,token_type_ids:1x8",
        "trt_profile_opt_shapes": "input_ids:64x128,attention_mask:64x128,token_type_ids:64x128",
        "trt_profile_max_shapes": "input_ids:256x128,attention_mask:256x128,token_type_ids:256x128",
    }


def test_tensorrt_without_either_is_left_to_itself() -> None:
    assert tensorrt_options("fp32", None, None) == {"trt_fp16_enable": "False"}
