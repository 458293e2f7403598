"""The matrix product: how many multiply-adds a second the cores manage, and nothing else.

One large product, in the precision asked for, by OpenVINO, whose kernels are those that the server
runs too. Several sizes are tried, and int8 in two ways (activations quantised to one range known
beforehand, or each row to its own); the best of all is the limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from retort.models.runtime.base import Precision
from retort.models.runtime.openvino import HINTS, quiet_openvino

# Rows, depth, columns: square ones, a wide one, and what a BERT of width 384 multiplies.
SIZES = ((512, 1024, 1024), (1024, 1024, 4096), (2048, 2048, 2048), (2048, 384, 1536))
LEAST_RUNS = 3

Run = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Product:
    """One product, ready to run. `kernel` is what OpenVINO chose for it."""

    rows: int
    depth: int
    columns: int
    kernel: str
    run: Run

    @property
    def multiply_adds(self) -> int:
        """Of one run."""
        return self.rows * self.depth * self.columns

    def per_second(self, seconds: float) -> float:
        """Multiply-adds a second of the fastest of the runs that fit into `seconds`."""
        end, runs, best = time.perf_counter() + seconds, 0, np.inf
        while runs < LEAST_RUNS or time.perf_counter() < end:
            begin = time.perf_counter()
            self.run()
            best = min(best, time.perf_counter() - begin)
            runs += 1
        return self.multiply_adds / float(best)


def products(
    precision: Precision, threads: int = 0, sizes: tuple[tuple[int, int, int], ...] = SIZES
) -> Iterator[Product]:
    """Every product to try. Raises `ValueError` for a precision that these cores do not have."""
    openvino = quiet_openvino()
    core = openvino.Core()
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision not in HINTS or (precision == "bf16" and "BF16" not in able):
        raise ValueError(f"these cores have no {precision} in OpenVINO, only {', '.join(able)}")
    for size in sizes:
        for fixed in (True, False) if precision == "int8" else (False,):
            yield _product(openvino, core, precision, threads, size, fixed)


def _product(
    openvino: Any,
    core: Any,
    precision: Precision,
    threads: int,
    size: tuple[int, int, int],
    fixed: bool,
) -> Product:
    ops = openvino.opset13
    rows, depth, columns = size
    chance = np.random.default_rng(0)
    given = ops.parameter([rows, depth], np.float32)
    left: Any = given
    if precision == "int8":
        stored = chance.integers(-127, 128, (columns, depth)).astype(np.int8)
        scale = np.full((columns, 1), 0.01, dtype=np.float32)
        right = ops.multiply(ops.convert(ops.constant(stored), "f32"), ops.constant(scale))
        if fixed:
            low, high = (ops.constant(np.float32(edge)) for edge in (0.0, 2.55))
            left = ops.fake_quantize(given, low, high, low, high, 256)
    else:
        right = ops.constant(chance.standard_normal((columns, depth), dtype=np.float32))
    model = openvino.Model([ops.matmul(left, right, False, True)], [given], "product")
    properties: dict[str, str | int] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": HINTS[precision],
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": depth if precision == "int8" and not fixed else 0,
    }
    if threads:
        properties["INFERENCE_NUM_THREADS"] = threads
    compiled = core.compile_model(model, "CPU", properties)
    request = compiled.create_infer_request()
    values = np.abs(chance.standard_normal((rows, depth), dtype=np.float32))

    def run() -> object:
        return request.infer({0: values}, share_inputs=True)

    return Product(rows, depth, columns, _kernel(compiled), run)


def _kernel(compiled: Any) -> str:
    told = [op.get_rt_info() for op in compiled.get_runtime_model().get_ops()]
    kernels = [
        info["primitiveType"].value
        for info in told
        if info["layerType"].value in ("FullyConnected", "MatMul")
    ]
    return kernels[0] if kernels else "unknown"
