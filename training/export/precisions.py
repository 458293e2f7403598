"""Precisions: how the graph ranks when it is multiplied in fewer bits, as servers like to.

The parity gate holds the graph in float32. A server may run it in bf16 or int8, and each of these
has to pass the same bounds against the same PyTorch original. What this machine can run is measured
and goes into the manifest; a server does not use a precision that failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retort.models.encoding import PairEncoder
from retort.models.manifest import Parity, ParityBounds
from retort.models.runtime.base import BackendUnavailable, Precision
from retort.models.runtime.openvino import OpenVinoBackend
from retort.training.data.pairs import Pair
from retort.training.export.parity import measure_parity
from retort.training.export.storage import Storage
from retort.training.nn.inference import Logits, run

LOWER: tuple[Precision, ...] = ("bf16", "int8")


def measure_precisions(
    graph: Path,
    storage: Storage,
    width: int,
    encoder: PairEncoder,
    held_out: Sequence[Pair],
    reference: Logits,
    bounds: ParityBounds,
    *,
    progress: bool = False,
) -> dict[str, Parity]:
    """Parity of each precision below float32 that runs here, by its name.

    `reference` are the PyTorch original's logits (pairs, heads). int8 is left out where the weights
    are not stored so, bf16 where the CPU has none.
    """
    found: dict[str, Parity] = {}
    for precision in LOWER:
        if precision == "int8" and storage != "int8":
            continue
        try:
            backend = OpenVinoBackend(graph, precision=precision, width=width)
        except BackendUnavailable:
            continue
        title = f"OpenVINO {precision}" if progress else ""
        logits = run(backend.infer, encoder, held_out, progress=title)
        found[precision] = measure_parity(held_out, reference, logits, bounds)
    return found
