from __future__ import annotations

from pathlib import Path

from retort.models.manifest import Range, ShapeProfile
from retort.models.runtime.providers import cuda_options, tensorrt_options

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
