"""The ONNX Runtime backend: CPU, CUDA and TensorRT execution providers.

ONNX Runtime falls back to the CPU in silence when a provider cannot start. This backend does not:
unless the provider that was asked for is the one that runs, it refuses to be made.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import onnxruntime

from retort.models.encoding import Batch
from retort.models.manifest import ShapeProfile
from retort.models.runtime.base import (
    INPUTS,
    OUTPUT,
    BackendInfo,
    BackendUnavailable,
    LogitArray,
    Precision,
)
from retort.models.runtime.buckets import one_profile
from retort.models.runtime.device import DeviceRunner
from retort.models.runtime.half import half_graph
from retort.models.runtime.providers import cuda_options, tensorrt_options

logger = logging.getLogger("retort")

Provider = Literal["cpu", "cuda", "tensorrt"]
NAMES: dict[Provider, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


class OnnxRuntimeBackend:
    """Runs `graph` with one provider.

    `threads` is for the CPU, 0 for one to each core. The rest is for GPUs: `longest` is the most
    tokens a pair may have, `profiles` bound TensorRT's engine, `kept` is a folder for what is
    built at the first start, and `cuda_graphs` launches a shape's kernels as one where that can be
    done. Raises `BackendUnavailable` if the provider is not the one that runs.
    """

    def __init__(
        self,
        graph: Path,
        *,
        provider: Provider = "cpu",
        precision: Precision = "fp32",
        threads: int = 0,
        longest: int = 512,
        profiles: Sequence[ShapeProfile] = (),
        kept: Path | None = None,
        cuda_graphs: bool = True,
    ) -> None:
        if precision != "fp32" and (provider == "cpu" or precision != "fp16"):
            raise BackendUnavailable(
                f"onnxruntime on {provider} has no {precision}: "
                "ask for fp32, or for fp16 with provider cuda or tensorrt"
            )
        _require(provider)
        self._info = BackendInfo("onnxruntime", provider, precision)
        self.cuda_graphs = False
        self._session: Any = None
        self._runner: DeviceRunner | None = None
        if provider == "cpu":
            self._session = open_session(graph, provider, {}, threads)
        elif provider == "tensorrt":
            profile = one_profile(profiles)
            engines = None if kept is None else kept / "tensorrt"
            options = tensorrt_options(precision, profile, engines)
            self._runner = DeviceRunner(
                open_session(graph, provider, options),
                device="cuda",
                longest=longest,
                max_rows=None if profile is None else profile.batch.max,
            )
        else:
            fused = (NAMES["cuda"], NAMES["cpu"])
            model = half_graph(graph, kept, fused) if precision == "fp16" else graph
            self._runner = self._on_cuda(model, longest, cuda_graphs)

    @property
    def info(self) -> BackendInfo:
        """What runs."""
        return self._info

    def infer(self, batch: Batch) -> LogitArray:
        """Inputs (batch, sequence) to logits (batch, heads)."""
        if self._runner is not None:
            return self._runner.infer(batch)
        arrays = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
        logits: LogitArray = self._session.run([OUTPUT], dict(zip(INPUTS, arrays, strict=True)))[0]
        return logits

    def _on_cuda(self, model: Path | bytes, longest: int, cuda_graphs: bool) -> DeviceRunner:
        if cuda_graphs:
            try:
                session = open_session(model, "cuda", cuda_options(graphs=True))
                runner = DeviceRunner(session, device="cuda", longest=longest, graphs=True)
                runner.try_out()
            except BackendUnavailable:
                raise
            except Exception as problem:
                # A graph may have a node that cannot be recorded; the driver may have none at all.
                logger.warning("no CUDA graphs, each kernel is launched alone: %s", problem)
            else:
                self.cuda_graphs = True
                return runner
        session = open_session(model, "cuda", cuda_options(graphs=False))
        return DeviceRunner(session, device="cuda", longest=longest)


def open_session(
    model: Path | bytes, provider: Provider, options: dict[str, str], threads: int = 0
) -> Any:
    """A session of `model`, a file or serialized, on `provider`.

    Raises `BackendUnavailable` if another provider is what runs, and whatever ONNX Runtime raises.
    """
    name = NAMES[provider]
    providers: list[Any] = [(name, options)]
    if provider != "cpu":
        # For the shapes of shapes; a node that computes something stays on the GPU.
        providers.append(NAMES["cpu"])
    session = onnxruntime.InferenceSession(
        model if isinstance(model, bytes) else str(model),
        _session_options(threads),
        providers=providers,
        enable_fallback=False,
    )
    active = session.get_providers()[0]
    if active != name:
        raise BackendUnavailable(
            f"asked for {name}, but {active} is what runs: see ONNX Runtime's message above"
        )
    return session


def _require(provider: Provider) -> None:
    name = NAMES[provider]
    available = onnxruntime.get_available_providers()
    if name not in available:
        raise BackendUnavailable(
            f"this onnxruntime has no {name}, it has {', '.join(available)}: "
            "install the gpu extra, or ask for provider cpu"
        )
    if provider != "cpu":
        # CUDA may have come as Python packages, where the loader does not look.
        onnxruntime.preload_dlls()


def _session_options(threads: int) -> Any:
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # One memory plan to every shape that was ever seen would grow without end.
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    return options
