"""The OpenVINO backend: the CPU in bf16 where it has that, or in fp32."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

from models.encoding import Batch
from service.backends.base import (
    INPUTS,
    OUTPUT,
    BackendInfo,
    BackendUnavailable,
    LogitArray,
    Precision,
)

DEVICE = "CPU"
HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoBackend:
    """Runs `graph` on the CPU; `threads` 0 means one to each core.

    Raises `BackendUnavailable` if the CPU has no arithmetic of that precision.
    """

    def __init__(self, graph: Path, *, precision: Precision = "fp32", threads: int = 0) -> None:
        core = _quiet_openvino().Core()
        able = core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
        if precision not in HINTS or (precision == "bf16" and "BF16" not in able):
            raise BackendUnavailable(
                f"openvino has no {precision} on this CPU, which is capable of {', '.join(able)}: "
                "ask for fp32"
            )
        properties: dict[str, str | int] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": HINTS[precision],
        }
        if threads:
            properties["INFERENCE_NUM_THREADS"] = threads
        self._info = BackendInfo("openvino", "cpu", precision)
        self._model = core.compile_model(core.read_model(graph), DEVICE, properties)
        self._columns = [self._model.input(name) for name in INPUTS]
        self._output = self._model.output(OUTPUT)
        self._local = threading.local()

    @property
    def info(self) -> BackendInfo:
        """What runs."""
        return self._info

    def infer(self, batch: Batch) -> LogitArray:
        """Inputs (batch, sequence) to logits (batch, heads)."""
        # A request holds buffers, so each thread has its own.
        request = getattr(self._local, "request", None)
        if request is None:
            request = self._local.request = self._model.create_infer_request()
        arrays = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
        results = request.infer(dict(zip(self._columns, arrays, strict=True)), share_inputs=True)
        logits: LogitArray = results[self._output]
        return logits


def _quiet_openvino() -> Any:
    # OpenVINO reports its use to a web service if this package can be imported, and carries a
    # stub for when it cannot. A server must not phone home.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
