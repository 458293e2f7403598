"""The GPU: the few shapes a batch is padded to, and the session that runs them.

A batch is padded up to a bucket, a shape (batch, sequence) with arrays on the device and a binding
to them, made when it is first used. A shape that comes back finds its buffers, and its CUDA graph,
where it left them. Up to some hundred rows a GPU is faster than it can be given work, so padding
costs it next to nothing.

ONNX Runtime keeps a recorded CUDA graph with the thread that made it, hence one thread runs the
session; callers lay out their arrays in their own while the device works.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from retort.models.arrays import LogitArray
from retort.models.encoding import Batch
from retort.models.layout import INPUTS, Input
from retort.models.manifest import Range, ShapeProfile
from retort.models.runtime.base import OUTPUT, fastest

COLUMN_STEP = 16
# (rows, step): up to `rows` rows, those of a bucket are a multiple of `step`. From 100 on, at most
# an eighth is padding, and a hundred buckets reach to the largest batch.
ROW_STEPS = ((2, 1), (8, 2), (16, 4), (32, 8), (256, 16), (512, 32), (1024, 64), (2048, 128))
LAST_ROW_STEP = 256

# What two runners are compared on, and how far rounding in float16 may move a logit.
TRIED_TOKENS, TRIED_RUNS, TRIED_TOLERANCE = 8_192, 5, 0.1

# The option of a run that names the graph to record or replay; -1 means none.
GRAPH_ID, NO_GRAPH = "gpu_graph_id", "-1"
# Recordings hold memory of the device; shapes past this number are run without one. So are large
# ones: launching their kernels takes no time compared with running them.
MAX_GRAPHS, GRAPH_TOKENS = 256, 16_384


def padded_rows(rows: int) -> int:
    """The rows of the bucket for a batch of `rows`.

    Example: 1, 2, 3 and 10 rows are padded to 1, 2, 4 and 12; 100 to 112.
    """
    step = next((step for limit, step in ROW_STEPS if rows <= limit), LAST_ROW_STEP)
    return -(-rows // step) * step


def padded_columns(columns: int, longest: int) -> int:
    """The columns of the bucket; no more than `longest`, which is all the positions there are."""
    return min(-(-columns // COLUMN_STEP) * COLUMN_STEP, max(longest, columns))


def row_buckets(limit: int) -> tuple[int, ...]:
    """The rows of every bucket up to `limit`, ascending."""
    return tuple(rows for rows in range(1, limit + 1) if padded_rows(rows) == rows)


def cut(batch: Batch, start: int, stop: int) -> Batch:
    """The rows of `batch` from `start` to `stop`."""
    return Batch(*(array[start:stop] for array in batch.arrays))


def pad(batch: Batch, rows: int, columns: int, pad_id: int = 0) -> Batch:
    """`batch` in the upper left of arrays (rows, columns), the rest of its tokens `pad_id`.

    A row that is added has one token: without any, attention would have nothing to divide by.
    """
    padded = Batch(*np.zeros((3, rows, columns), dtype=np.int64))
    padded.input_ids[:] = pad_id
    height, width = batch.shape
    padded.input_ids[:height, :width] = batch.input_ids
    padded.attention_mask[:height, :width] = batch.attention_mask
    padded.token_type_ids[:height, :width] = batch.token_type_ids
    padded.attention_mask[height:, 0] = 1
    return padded


def one_profile(profiles: Sequence[ShapeProfile]) -> ShapeProfile | None:
    """One profile for all that `profiles` allow, at its best where the largest is.

    ONNX Runtime builds an engine with several profiles and then only ever uses the first.
    """
    if not profiles:
        return None
    largest = max(profiles, key=lambda profile: profile.batch.max * profile.sequence.max)

    def widest(ranges: Sequence[Range], opt: int) -> Range:
        return Range(min=min(r.min for r in ranges), opt=opt, max=max(r.max for r in ranges))

    return ShapeProfile(
        batch=widest([p.batch for p in profiles], largest.batch.opt),
        sequence=widest([p.sequence for p in profiles], largest.sequence.opt),
    )


@dataclass(frozen=True, slots=True)
class _Bucket:
    """Arrays on the device for one shape, bound to the session."""

    inputs: tuple[Any, ...]
    output: Any
    binding: Any
    options: Any


class DeviceRunner:
    """Runs `session` on `device`, named as ONNX Runtime names it.

    `inputs` are the graph's, and `pad_id` fills a bucket. `longest` is the most tokens a pair may
    have, `max_rows` the most rows of a run, None for any number: a larger batch is run in parts.
    `graphs` says whether the session records CUDA graphs.
    """

    def __init__(
        self,
        session: Any,
        *,
        device: str,
        longest: int,
        inputs: Sequence[Input] = INPUTS,
        pad_id: int = 0,
        graphs: bool = False,
        max_rows: int | None = None,
    ) -> None:
        self._session = session
        self._device = device
        self._inputs = tuple(inputs)
        self._pad_id = pad_id
        self._longest = longest
        self._graphs = graphs
        self._max_rows = max_rows
        self._heads = int(session.get_outputs()[0].shape[1])
        self._buckets: dict[tuple[int, int], _Bucket] = {}
        self._recorded = 0
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
        columns = padded_columns(width, self._longest)
        padded = pad(batch, rows, columns, self._pad_id)
        return self._thread.submit(self._run, padded).result()[:height]

    def _run(self, batch: Batch) -> LogitArray:
        bucket = self._buckets.get(batch.shape)
        if bucket is None:
            bucket = self._buckets[batch.shape] = self._bind(batch.shape)
        arrays = batch.feed(self._inputs).values()
        for value, array in zip(bucket.inputs, arrays, strict=True):
            value.update_inplace(array)
        self._session.run_with_iobinding(bucket.binding, bucket.options)
        logits: LogitArray = bucket.output.numpy()
        # On the CPU these are the buffer's own bytes, which the next batch overwrites.
        return logits.copy() if self._device == "cpu" else logits

    def _bind(self, shape: tuple[int, int]) -> _Bucket:
        binding = self._session.io_binding()
        inputs = tuple(self._array(shape, np.int64) for _ in self._inputs)
        for name, value in zip(self._inputs, inputs, strict=True):
            binding.bind_ortvalue_input(name, value)
        output = self._array((shape[0], self._heads), np.float32)
        binding.bind_ortvalue_output(OUTPUT, output)
        import onnxruntime

        options = onnxruntime.RunOptions()
        if self._graphs:
            small = shape[0] * shape[1] <= GRAPH_TOKENS
            graph = str(self._recorded) if small and self._recorded < MAX_GRAPHS else NO_GRAPH
            self._recorded += graph != NO_GRAPH
            options.add_run_config_entry(GRAPH_ID, graph)
        return _Bucket(inputs, output, binding, options)

    def _array(self, shape: tuple[int, int], kind: type[np.generic]) -> Any:
        import onnxruntime

        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, kind, self._device, 0)


def faster_alike(runner: DeviceRunner, other: DeviceRunner, longest: int) -> bool:
    """Whether `runner` gives the logits of `other` and takes less time for it.

    Both run a batch of rows of all lengths up to `longest` tokens.
    """
    rows = TRIED_TOKENS // longest
    ids = np.random.default_rng(1).integers(1, 100, (rows, longest))
    mask = (np.arange(longest) < np.linspace(4, longest, rows)[:, None]).astype(np.int64)
    batch = Batch(ids * mask, mask, np.zeros_like(mask))
    found, expected = runner.infer(batch), other.infer(batch)
    if not np.allclose(found, expected, atol=TRIED_TOLERANCE):
        return False
    times = [fastest(each.infer, batch, TRIED_RUNS) for each in (runner, other)]
    return times[0] < times[1]
