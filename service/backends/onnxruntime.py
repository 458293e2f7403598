"""The ONNX Runtime backend: CPU, CUDA and TensorRT execution providers.

ONNX Runtime falls back to the CPU in silence when a provider cannot start. This backend does not:
unless the provider that was asked for is the one that runs, it refuses to be made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import onnxruntime

from models.encoding import Batch
from models.manifest import ShapeProfile
from service.backends.base import (
    INPUTS,
    OUTPUT,
    BackendInfo,
    BackendUnavailable,
    LogitArray,
    Precision,
)

Provider = Literal["cpu", "cuda", "tensorrt"]
NAMES: dict[Provider, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


class OnnxRuntimeBackend:
    """Runs `graph` with one provider.

    `threads` is for the CPU, 0 for one to each core. `engines` is where TensorRT keeps what it
    built. Raises `BackendUnavailable` if the provider is not the one that runs.
    """

    def __init__(
        self,
        graph: Path,
        *,
        provider: Provider = "cpu",
        precision: Precision = "fp32",
        threads: int = 0,
        profiles: Sequence[ShapeProfile] = (),
        engines: Path | None = None,
    ) -> None:
        if precision != "fp32" and not (provider == "tensorrt" and precision == "fp16"):
            raise BackendUnavailable(
                f"onnxruntime on {provider} has no {precision}: "
                "ask for fp32, or for fp16 with provider tensorrt"
            )
        name = NAMES[provider]
        available = onnxruntime.get_available_providers()
        if name not in available:
            raise BackendUnavailable(
                f"this onnxruntime has no {name}, it has {', '.join(available)}: "
                "install the gpu extra, or ask for provider cpu"
            )
        self._info = BackendInfo("onnxruntime", provider, precision)
        own = _tensorrt_options(precision, profiles, engines) if provider == "tensorrt" else {}
        self._session = onnxruntime.InferenceSession(
            str(graph),
            _session_options(threads),
            providers=[(name, own)] if provider == "cpu" else [(name, own), NAMES["cpu"]],
        )
        active = self._session.get_providers()[0]
        if active != name:
            raise BackendUnavailable(
                f"asked for {name}, but {active} is what runs: see ONNX Runtime's message above"
            )

    @property
    def info(self) -> BackendInfo:
        """What runs."""
        return self._info

    def infer(self, batch: Batch) -> LogitArray:
        """Inputs (batch, sequence) to logits (batch, heads)."""
        arrays = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
        logits: LogitArray = self._session.run([OUTPUT], dict(zip(INPUTS, arrays, strict=True)))[0]
        return logits


def _session_options(threads: int) -> Any:
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # One memory plan to every shape that was ever seen would grow without end.
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    return options


def _tensorrt_options(
    precision: Precision, profiles: Sequence[ShapeProfile], engines: Path | None
) -> dict[str, str]:
    options = {"trt_fp16_enable": str(precision == "fp16")}
    if engines is not None:
        engines.mkdir(parents=True, exist_ok=True)
        options |= {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": str(engines),
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": str(engines),
        }
    for edge in ("min", "opt", "max") if profiles else ():
        shapes = [(getattr(p.batch, edge), getattr(p.sequence, edge)) for p in profiles]
        options[f"trt_profile_{edge}_shapes"] = ",".join(
            f"{name}:{rows}x{columns}" for rows, columns in shapes for name in INPUTS
        )
    return options
