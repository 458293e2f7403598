"""The part `arithmetic` of `retort stress`: how near the bare backend comes to the cores' limit.

The limit is the best of several large matrix products by OpenVINO, whose kernels the server runs
too, in each precision that the cores have; int8 is tried in two ways (activations quantised to one
range that is known beforehand, or each row to its own). The bare backend loop runs batches as large
as the server's, from as many threads. Both take turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from retort.loadtest.bare import bare_rate, load_served
from retort.loadtest.experiments.stress_parts import Part, Subject
from retort.loadtest.result import Cell, Column, Table
from retort.loadtest.rounds import Spread, ratios, take_turns
from retort.models.manifest import arithmetic as multiply_adds
from retort.models.runtime.base import BackendInfo, Precision, same_batch
from retort.models.runtime.openvino import HINTS, quiet_openvino

TOKENS = 128
GIGA = 1e9
# Rows, depth, columns: square ones, a wide one, and what a BERT of width 384 multiplies.
Size = tuple[int, int, int]
SIZES: tuple[Size, ...] = (
    (512, 1024, 1024), (1024, 1024, 4096), (2048, 2048, 2048), (2048, 384, 1536),
)  # fmt: skip
LEAST_RUNS = 3
LOWEST_LAST: tuple[Precision, ...] = ("fp32", "bf16", "int8")


@dataclass(frozen=True, slots=True)
class Product:
    """One product, ready to run. `kernel` is what OpenVINO chose for it."""

    size: Size
    kernel: str
    run: Callable[[], object]

    def per_second(self, seconds: float) -> float:
        """Multiply-adds per second of the fastest of the runs that fit into `seconds`."""
        end, runs, best = time.perf_counter() + seconds, 0, np.inf
        while runs < LEAST_RUNS or time.perf_counter() < end:
            begin = time.perf_counter()
            self.run()
            best = min(best, time.perf_counter() - begin)
            runs += 1
        rows, depth, columns = self.size
        return rows * depth * columns / float(best)


def arithmetic(subject: Subject) -> Part:
    """The products and the bare loop in turn.

    Raises `ValueError` if the server runs on a GPU, whose limit is not measured here.
    """
    served, options = subject.server.backend(), subject.options
    backend = load_served(served, subject.bundle)
    info = backend.info
    if info.on_gpu:
        raise ValueError(f"the server runs on {info}: this part measures the limit of CPU cores")
    tokens = min(TOKENS, subject.encoder.truncation.max_length)
    rows = max(1, served["batch_tokens"] // tokens)
    manifest, slots, seconds = subject.bundle.manifest, served["slots"], options.seconds / 2
    batch = same_batch(rows, tokens, 0)
    pair = multiply_adds(manifest.architecture, len(manifest.heads), 1, tokens)
    tried = all_products(info, served["threads"])
    kernels: dict[str, tuple[float, str]] = {}

    def limit(precision: Precision) -> float:
        each = seconds / len(tried[precision])
        best = max((product.per_second(each), product.kernel) for product in tried[precision])
        kernels[precision] = max(best, kernels.get(precision, (0.0, "")))
        return best[0]

    turns: dict[str, Callable[[], float]] = {p: partial(limit, p) for p in tried}
    turns["bare"] = lambda: pair * bare_rate(backend.infer, [batch], seconds, slots)
    rates = take_turns(turns, options.rounds, lambda line: subject.log(f"arithmetic: {line}"))
    note = (
        f"{pair / 1e6:,.0f} million multiply-adds per pair, {tokens} tokens per pair, "
        f"batches of {rows}, {slots} at once; matrix products and bare loop in turn, "
        f"{options.rounds} rounds."
    )
    names = {precision: kernel for precision, (_, kernel) in kernels.items()}
    return Part(limits_table(info, pair, rates, names), note)


def limits_table(
    info: BackendInfo, pair: int, rates: dict[str, list[float]], kernels: dict[str, str]
) -> Table:
    """Multiply-adds per second by precision and of the loop, `bare`, with its share of its limit.

    The share is taken within each round, in the precision that is served.
    """
    rows: list[tuple[Cell, ...]] = []
    for name, found in rates.items():
        rate = Spread.over(found).value
        if name == "bare":
            label, kernel = f"bare backend loop, {info}", None
            share = ratios(found, rates[info.precision])
        else:
            label, kernel, share = f"largest matrix product, {name}", kernels[name], None
        rows.append((label, rate / GIGA, rate / pair, share, kernel))
    columns = (
        Column("10⁹ multiply-adds per second"), Column("median", "count"),
        Column("as pairs", "pairs/s"), Column(f"share of the {info.precision} limit", "share"),
        Column("kernel"),
    )  # fmt: skip
    return Table("arithmetic", columns, tuple(rows))


def products(
    precision: Precision, threads: int = 0, sizes: Sequence[Size] = SIZES
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


def all_products(
    info: BackendInfo, threads: int, sizes: Sequence[Size] = SIZES
) -> dict[Precision, list[Product]]:
    """Those of all precisions that these cores have, and in any case of the one that is served."""
    found: dict[Precision, list[Product]] = {}
    for precision in LOWEST_LAST:
        try:
            found[precision] = list(products(precision, threads, sizes))
        except ValueError:
            if precision == info.precision:
                raise
    return found


def _product(
    openvino: Any, core: Any, precision: Precision, threads: int, size: Size, fixed: bool
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
    kernels = [
        info["primitiveType"].value
        for info in (op.get_rt_info() for op in compiled.get_runtime_model().get_ops())
        if info["layerType"].value in ("FullyConnected", "MatMul")
    ]
    kernel = kernels[0] if kernels else "unknown"
    return Product(size, kernel, lambda: request.infer({0: values}, share_inputs=True))
