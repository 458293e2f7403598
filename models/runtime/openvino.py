"""The OpenVINO backend: the CPU in fp32, in bf16 where it has that, or in int8.

int8 multiplies int8 weights, as the graph stores them, with activations that are quantised on the
fly: each half of a token's vector by a scale of its own, so a pair's score does not depend on its
batch. One scale for the whole vector was no faster and up to twice as far off; thirds cost 3 to 8%.
Everything between the matrix products stays in bf16, or in fp32 where the CPU has no bf16. No
calibration is needed. Static int8, with ranges of activations fixed beforehand, was a tenth faster
and three times farther from the original.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np

from retort.models.arrays import LogitArray
from retort.models.encoding import Batch
from retort.models.layout import INPUTS, Input
from retort.models.runtime.base import (
    OUTPUT,
    BackendInfo,
    BackendUnavailable,
    Graph,
    Precision,
)

DEVICE = "CPU"
HINTS: dict[Precision, str] = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
AS_THEY_ARE = 0  # no quantisation of activations
# At the first inference of a process OpenVINO's Python sets things up. Two threads that came there
# at once deadlocked, seen once in about thirty starts.
FIRST = Lock()


class OpenVinoBackend:
    """Runs `graph` on the CPU, one batch at a time; `threads` 0 means one per core.

    `width` is the student's; in int8, half that many values of an activation share a scale.
    `inputs` are those of the graph.
    Raises `BackendUnavailable` if the CPU has no arithmetic of that precision.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        precision: Precision = "fp32",
        threads: int = 0,
        width: int = 384,
        inputs: Sequence[Input] = INPUTS,
    ) -> None:
        core = quiet_openvino().Core()
        able = core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
        if precision not in HINTS or (precision == "bf16" and "BF16" not in able):
            raise BackendUnavailable(
                f"openvino has no {precision} on this CPU, which has {', '.join(able)}: "
                "ask for fp32"
            )
        properties: dict[str, str | int | bool] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": AS_THEY_ARE,
            # Several at once are several backends: see base.Streams.
            "NUM_STREAMS": 1,
            # Each backend would be pinned to the same first cores.
            "ENABLE_CPU_PINNING": False,
        }
        if precision == "int8":
            properties["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = quantisation_group(width)
            if "BF16" in able:
                properties["INFERENCE_PRECISION_HINT"] = "bf16"
        if threads:
            properties["INFERENCE_NUM_THREADS"] = threads
        self.info = BackendInfo("openvino", "cpu", precision)
        # It takes a graph in memory together with weights, which ONNX has inside.
        model = core.read_model(graph, b"") if isinstance(graph, bytes) else core.read_model(graph)
        self._model = core.compile_model(model, DEVICE, properties)
        self._inputs = tuple(inputs)
        self._columns = [self._model.input(name) for name in inputs]
        self._output = self._model.output(OUTPUT)
        self._request = self._model.create_infer_request()
        self._lock = Lock()
        with FIRST:
            self.infer(Batch(*np.ones((3, 1, 2), dtype=np.int64)))

    def infer(self, batch: Batch) -> LogitArray:
        """Inputs (batch, sequence) to logits (batch, heads)."""
        inputs = dict(zip(self._columns, batch.feed(self._inputs).values(), strict=True))
        # The request holds buffers.
        with self._lock:
            logits: LogitArray = self._request.infer(inputs, share_inputs=True)[self._output]
        return logits


def quantisation_group(width: int) -> int:
    """How many values of an activation share a scale in int8.

    >>> quantisation_group(384), quantisation_group(312)
    (192, 312)
    """
    # The kernels take groups that divide the width and are multiples of 32.
    return width // 2 if width % 64 == 0 else width


def quiet_openvino() -> Any:
    """The module, imported so that it does not send telemetry."""
    # OpenVINO reports its use to a web service if this package can be imported, and carries a
    # stub for when it cannot.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
