"""The options of ONNX Runtime's GPU providers, as it takes them: names and strings."""

from __future__ import annotations

from pathlib import Path

from retort.models.manifest import ShapeProfile
from retort.models.runtime.base import INPUTS, Precision


def cuda_options(*, graphs: bool) -> dict[str, str]:
    """Options of CUDAExecutionProvider; `graphs` records a CUDA graph of each shape."""
    return {
        # fp32 means fp32: TF32 keeps ten bits of each factor.
        "use_tf32": "0",
        # Shapes are few and come back, so memory need not be doubled ahead of need.
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": "1" if graphs else "0",
    }


def tensorrt_options(
    precision: Precision, profile: ShapeProfile | None, engines: Path | None
) -> dict[str, str]:
    """Options of TensorrtExecutionProvider.

    `profile` bounds the shapes of the engine, which is kept in the folder `engines`, and with it
    what was measured to build it.
    """
    options = {"trt_fp16_enable": str(precision == "fp16")}
    if engines is not None:
        engines.mkdir(parents=True, exist_ok=True)
        options |= {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": str(engines),
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": str(engines),
        }
    if profile is not None:
        for edge in ("min", "opt", "max"):
            shape = f"{getattr(profile.batch, edge)}x{getattr(profile.sequence, edge)}"
            options[f"trt_profile_{edge}_shapes"] = ",".join(f"{name}:{shape}" for name in INPUTS)
    return options
