"""The arithmetic: how near the bare backend comes to what the cores can multiply and add.

The limit is the best of several large matrix products in the precision that the server runs; the
bare backend loop runs batches as large as the server's, from as many threads. Both take turns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from retort.loadtest.bench import bare_rate
from retort.loadtest.figures import Spread, ratios
from retort.loadtest.limits.found import Finding, Row
from retort.loadtest.limits.ground import Ground
from retort.loadtest.limits.matrix import Product, products
from retort.loadtest.served import load_served
from retort.models.arithmetic import arithmetic
from retort.models.encoding import Batch
from retort.models.runtime.base import Backend, BackendInfo, Precision

TOKENS = 128
WANTED_SHARE = 0.5
GIGA = 1e9


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Multiply-adds a second by round: the limit in each precision, and the backend's."""

    served: str
    precision: Precision
    limits: dict[Precision, tuple[float, ...]]
    kernels: dict[Precision, str]
    loop: tuple[float, ...]
    pair: int  # multiply-adds of one pair
    described: str

    @property
    def share(self) -> Spread:
        """The backend's share of the limit in its own precision, round by round."""
        return ratios(self.loop, self.limits[self.precision])

    def finding(self) -> Finding:
        """The share in the precision served; the limits of all precisions in a table."""
        share = self.share
        row = Row(
            f"Bare backend loop over the {self.precision} matrix limit of the cores",
            f"{share.median:.0%} ({share.low:.0%} to {share.high:.0%})",
            f"at least {WANTED_SHARE:.0%}",
            share.median >= WANTED_SHARE,
        )
        lines = [("10⁹ multiply-adds a second", "median", "pairs/s that would be", "kernel")]
        for precision, found in self.limits.items():
            limit = Spread.over(found).median
            name = f"largest matrix product, {precision}"
            lines.append(
                (name, f"{limit / GIGA:,.0f}", f"{limit / self.pair:,.0f}", self.kernels[precision])
            )
        loop = Spread.over(self.loop).median
        bare = f"bare backend loop, {self.served}"
        lines.append((bare, f"{loop / GIGA:,.0f}", f"{loop / self.pair:,.0f}", ""))
        note = (
            f"Arithmetic: {self.pair / 1e6:,.0f} million multiply-adds a pair, {self.described}; "
            f"matrix products and bare loop in turn, {len(self.loop)} rounds."
        )
        return Finding("arithmetic", (row,), (note,), tuple(lines))


def measure_arithmetic(ground: Ground) -> Arithmetic:
    """The products and the bare loop in turn.

    Raises `ValueError` if the server runs on a GPU, whose limit is not measured here.
    """
    told = ground.backend()
    options, settings = ground.options, ground.settings
    backend = load_served(told, ground.bundle, settings)
    info = backend.info
    if info.on_gpu:
        raise ValueError(f"the server runs on {info}: this part measures the limit of CPU cores")
    tokens = min(TOKENS, ground.encoder.truncation.max_length)
    rows = max(1, told["batch_tokens"] // tokens)
    manifest = ground.bundle.manifest
    batch = _batch(rows, tokens, manifest.architecture.vocabulary)
    work = arithmetic(manifest.architecture, len(manifest.heads), rows, tokens)
    tried = {precision: _ready(precision, settings.threads) for precision in _precisions(info)}
    limits: dict[Precision, list[float]] = {precision: [] for precision in tried}
    kernels: dict[Precision, str] = {}
    highest: dict[Precision, float] = {}
    loop: list[float] = []

    def bare(backend: Backend = backend) -> None:
        rate = bare_rate(backend.infer, [batch], options.seconds / 2, told["slots"])
        loop.append(rate * work / rows)

    def limit() -> None:
        for precision, ready in tried.items():
            each = options.seconds / 2 / len(ready)
            found = [(product.per_second(each), product.kernel) for product in ready]
            best, kernel = max(found)
            limits[precision].append(best)
            if best > highest.get(precision, 0.0):
                highest[precision], kernels[precision] = best, kernel

    for number in range(options.rounds):
        ground.progress(f"arithmetic: round {number + 1} of {options.rounds}")
        turns = [limit, bare]
        for turn in reversed(turns) if number % 2 else turns:
            turn()
    return Arithmetic(
        served=str(info),
        precision=info.precision,
        limits={precision: tuple(found) for precision, found in limits.items()},
        kernels=kernels,
        loop=tuple(loop),
        pair=round(work / rows),
        described=f"{tokens} tokens a pair, batches of {rows}, {told['slots']} at once",
    )


def _batch(rows: int, columns: int, vocabulary: int) -> Batch:
    """A full batch of any tokens: what they say makes no difference to how long they take."""
    ids = np.random.default_rng(0).integers(0, vocabulary, (rows, columns))
    return Batch(ids, np.ones_like(ids), np.zeros_like(ids))


def _ready(precision: Precision, threads: int) -> list[Product]:
    return list(products(precision, threads))


def _precisions(info: BackendInfo) -> list[Precision]:
    """All that these cores have, and in any case the one that is served."""
    found: list[Precision] = []
    every: tuple[Precision, ...] = ("fp32", "bf16", "int8")
    for precision in every:
        try:
            next(products(precision, sizes=((16, 16, 16),)))
        except ValueError:
            if precision == info.precision:
                raise
            continue
        found.append(precision)
    return found
