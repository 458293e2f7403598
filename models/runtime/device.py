"""The device runner: a session on a GPU, run by one thread, with buffers that stay where they are.

Each bucket has arrays on the device and a binding to them, made when its shape first comes. With
CUDA graphs its kernels are recorded then too, and from the second time on launched as one. ONNX
Runtime keeps a recording with the thread that made it, hence one thread; callers lay their arrays
out in their own, while the device works.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime

from retort.models.encoding import Batch
from retort.models.runtime.base import INPUTS, OUTPUT, LogitArray
from retort.models.runtime.buckets import cut, pad, padded_columns, padded_rows

# Of a run: which recording it is or makes; -1 is none.
GRAPH_ID, NO_GRAPH = "gpu_graph_id", "-1"
# Recordings hold on to memory of the device; past so many, shapes are run without one.
MAX_GRAPHS = 256


@dataclass(frozen=True, slots=True)
class _Bucket:
    """Arrays on the device for one shape, bound to the session."""

    inputs: tuple[Any, ...]
    output: Any
    binding: Any
    options: Any


class DeviceRunner:
    """Runs `session` on `device`, named as ONNX Runtime names it.

    `longest` is the most tokens a pair may have, `max_rows` the most rows of a run, None for any
    number: a larger batch is run in parts. `graphs` says whether the session records CUDA graphs.
    """

    def __init__(
        self,
        session: Any,
        *,
        device: str,
        longest: int,
        graphs: bool = False,
        max_rows: int | None = None,
    ) -> None:
        self._session = session
        self._device = device
        self._longest = longest
        self._graphs = graphs
        self._max_rows = max_rows
        self._heads = int(session.get_outputs()[0].shape[1])
        self._buckets: dict[tuple[int, int], _Bucket] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="retort-device")

    def infer(self, batch: Batch) -> LogitArray:
        """Inputs (batch, sequence) to logits (batch, heads). Safe to call from several threads."""
        rows = batch.shape[0]
        step = self._max_rows or rows
        parts = [self._infer(cut(batch, start, start + step)) for start in range(0, rows, step)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def try_out(self) -> None:
        """Run the smallest batch twice, first to record it. Raises what ONNX Runtime raises."""
        batch = Batch(*np.ones((3, 1, 1), dtype=np.int64))
        for _ in range(2):
            self.infer(batch)

    def _infer(self, batch: Batch) -> LogitArray:
        height, width = batch.shape
        rows = min(padded_rows(height), self._max_rows or padded_rows(height))
        padded = pad(batch, rows, padded_columns(width, self._longest))
        return self._thread.submit(self._run, padded).result()[:height]

    def _run(self, batch: Batch) -> LogitArray:
        bucket = self._buckets.get(batch.shape)
        if bucket is None:
            bucket = self._buckets[batch.shape] = self._bind(batch.shape)
        arrays = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
        for value, array in zip(bucket.inputs, arrays, strict=True):
            value.update_inplace(array)
        self._session.run_with_iobinding(bucket.binding, bucket.options)
        logits: LogitArray = bucket.output.numpy()
        # On the CPU these are the buffer's own bytes, which the next batch overwrites.
        return logits.copy() if self._device == "cpu" else logits

    def _bind(self, shape: tuple[int, int]) -> _Bucket:
        binding = self._session.io_binding()
        inputs = tuple(self._array(shape, np.int64) for _ in INPUTS)
        for name, value in zip(INPUTS, inputs, strict=True):
            binding.bind_ortvalue_input(name, value)
        output = self._array((shape[0], self._heads), np.float32)
        binding.bind_ortvalue_output(OUTPUT, output)
        options = onnxruntime.RunOptions()
        if self._graphs:
            number = len(self._buckets)
            graph = str(number) if number < MAX_GRAPHS else NO_GRAPH
            options.add_run_config_entry(GRAPH_ID, graph)
        return _Bucket(inputs, output, binding, options)

    def _array(self, shape: tuple[int, int], kind: type[np.generic]) -> Any:
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, kind, self._device, 0)
