"""The ONNX Runtime backend: CPU, CUDA and TensorRT execution providers.

ONNX Runtime falls back to the CPU in silence when a provider cannot start. This backend does not:
unless the provider that was asked for is the one that runs, it cannot be created.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import onnxruntime

from retort.models.arrays import LogitArray
from retort.models.encoding import Batch
from retort.models.layout import INPUTS, Input
from retort.models.manifest import ShapeProfile
from retort.models.runtime.base import (
    OUTPUT,
    BackendInfo,
    BackendUnavailable,
    Graph,
    Precision,
)
from retort.models.runtime.gpu import DeviceRunner, faster_alike, one_profile
from retort.models.runtime.half import half_graph

logger = logging.getLogger("retort")

Provider = Literal["cpu", "cuda", "tensorrt"]
NAMES: dict[Provider, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}


class OnnxRuntimeBackend:
    """Runs `graph` with one provider.

    `inputs` are those of the graph; `threads` is for the CPU, 0 for one per core. The rest is for
    GPUs: `pad_id` fills rows, `longest` is the most tokens a pair may have, `profiles` bound
    TensorRT's engine, `kept` is a folder for what is built at the first start, and `cuda_graphs`
    launches a shape's kernels as one where possible.
    Raises `BackendUnavailable` if the provider is not the one that runs.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        provider: Provider = "cpu",
        precision: Precision = "fp32",
        inputs: Sequence[Input] = INPUTS,
        threads: int = 0,
        pad_id: int = 0,
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
        self.info = BackendInfo("onnxruntime", provider, precision)
        self.cuda_graphs = False
        self._inputs = tuple(inputs)
        self._pad_id = pad_id
        self._session: Any = None
        self._runner: DeviceRunner | None = None
        if provider == "cpu":
            self._session = open_session(graph, provider, {}, threads)
        elif provider == "tensorrt":
            profile = one_profile(profiles)
            engines = None if kept is None else kept / "tensorrt"
            options = tensorrt_options(precision, profile, engines, inputs)
            self._runner = DeviceRunner(
                open_session(graph, provider, options),
                device="cuda",
                inputs=inputs,
                pad_id=pad_id,
                longest=longest,
                max_rows=None if profile is None else profile.batch.max,
            )
        else:
            self._runner = self._fastest_on_cuda(graph, precision, kept, longest, cuda_graphs)

    def infer(self, batch: Batch) -> LogitArray:
        """Inputs (batch, sequence) to logits (batch, heads)."""
        if self._runner is not None:
            return self._runner.infer(batch)
        logits: LogitArray = self._session.run([OUTPUT], batch.feed(self._inputs))[0]
        return logits

    def _fastest_on_cuda(
        self,
        graph: Graph,
        precision: Precision,
        kept: Path | None,
        longest: int,
        cuda_graphs: bool,
    ) -> DeviceRunner:
        """The graph on CUDA; in fp16 the quicker of two ways to compute attention."""
        if precision != "fp16":
            return self._on_cuda(graph, longest, cuda_graphs)
        fused = (NAMES["cuda"], NAMES["cpu"])
        masked = self._on_cuda(half_graph(graph, kept, fused), longest, cuda_graphs)
        recorded = self.cuda_graphs
        try:
            lengths = half_graph(graph, kept, fused, lengths=True)
            told = self._on_cuda(lengths, longest, cuda_graphs)
            if faster_alike(told, masked, longest):
                logger.info("attention is told the lengths of rows in place of their mask")
                return told
        except Exception as problem:
            # A graph of another kind, or a device without such kernels: the mask always works.
            logger.info("attention keeps its mask: %s", problem)
        self.cuda_graphs = recorded
        return masked

    def _on_cuda(self, model: Graph, longest: int, cuda_graphs: bool) -> DeviceRunner:
        def on_device(graphs: bool) -> DeviceRunner:
            return DeviceRunner(
                open_session(model, "cuda", cuda_options(graphs=graphs)),
                device="cuda",
                inputs=self._inputs,
                pad_id=self._pad_id,
                longest=longest,
                graphs=graphs,
            )

        if cuda_graphs:
            try:
                runner = on_device(graphs=True)
                runner.try_out()
            except BackendUnavailable:
                raise
            except Exception as problem:
                # A graph may have a node that cannot be recorded, or the driver no CUDA graphs.
                logger.warning("no CUDA graphs, each kernel is launched alone: %s", problem)
            else:
                self.cuda_graphs = True
                return runner
        return on_device(graphs=False)


def open_session(
    model: Graph, provider: Provider, options: dict[str, str], threads: int = 0
) -> Any:
    """A session of `model`, a file or serialized, on `provider`.

    Raises `BackendUnavailable` if another provider runs instead, and what ONNX Runtime raises.
    """
    name = NAMES[provider]
    providers: list[Any] = [(name, options)]
    if provider != "cpu":
        # For nodes that compute shapes; a node that computes values stays on the GPU.
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
            f"asked for {name}, but {active} runs: see ONNX Runtime's message above"
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
    # One memory plan for every shape that was ever seen would grow without end.
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    # Not ONNX Runtime's own format, which it would recognise by itself.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options


def cuda_options(*, graphs: bool) -> dict[str, str]:
    """Options of CUDAExecutionProvider; `graphs` records a CUDA graph of each shape."""
    return {
        # fp32 means fp32: TF32 keeps ten bits of each factor.
        "use_tf32": "0",
        # There are few shapes and they come back, so memory need not be reserved ahead.
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": "1" if graphs else "0",
    }


def tensorrt_options(
    precision: Precision,
    profile: ShapeProfile | None,
    engines: Path | None,
    inputs: Sequence[Input] = INPUTS,
) -> dict[str, str]:
    """Options of TensorrtExecutionProvider for a graph with these inputs.

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
            options[f"trt_profile_{edge}_shapes"] = ",".join(f"{name}:{shape}" for name in inputs)
    return options
