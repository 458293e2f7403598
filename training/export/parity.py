"""Parity: the gate that an exported graph has to pass.

On held-out pairs the graph must rank as the PyTorch student does. Four figures, each with a bound:

    top1_agreement         share of queries with the same best passage              at least
    kendall_tau            mean over queries of Kendall's tau-b                     at least
    max_score_difference   largest difference of a score, in probability            at most
    ndcg_change            mean nDCG@10 of the graph minus the student's            at most, ±

The gate holds the graph in float32. A server may multiply in bf16 or int8, and each of these has to
pass the same bounds against the same PyTorch original. Those that this machine can run are measured
and go into the manifest; a server does not use a precision that failed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from retort.models.encoding import PairEncoder
from retort.models.golden import MIN_GOLDEN_PAIRS
from retort.models.manifest import Parity, ParityBounds
from retort.models.rankings import compare, rows_by_query
from retort.models.runtime.base import BackendUnavailable, Precision
from retort.models.runtime.openvino import OpenVinoBackend
from retort.models.scores import Calibration, combine
from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.pairs import Pair
from retort.training.evaluate.measures import query_values
from retort.training.export.storage import Storage
from retort.training.nn.inference import Logits, run

# What int8 weights cost a sound 6-layer ranker: top-1 0.98, tau 0.987, scores 0.044, on 50 queries.
# A change of nDCG is a few swaps over the number of queries: judge by some hundreds of them.
DEFAULT_BOUNDS = ParityBounds(
    top1_agreement=0.95, kendall_tau=0.97, max_score_difference=0.05, ndcg_change=0.005
)
# Fewer queries than this say little about how a graph ranks.
MIN_QUERIES = 20
LOWER: tuple[Precision, ...] = ("bf16", "int8")


class ParityError(ValueError):
    """The graph does not rank as the PyTorch student does; `parity` has the figures."""

    def __init__(self, message: str, parity: Parity | None = None) -> None:
        super().__init__(message)
        self.parity = parity


class HeldOutError(ValueError):
    """The held-out pairs are too few to judge a graph by."""


def check_held_out(pairs: Sequence[Pair]) -> None:
    """Raise `HeldOutError` for too few distinct pairs, or too few queries with two passages."""
    distinct = len({pair.key for pair in pairs})
    if distinct < MIN_GOLDEN_PAIRS:
        raise HeldOutError(
            f"{distinct} distinct held-out pairs, and a bundle carries {MIN_GOLDEN_PAIRS} that its "
            "student never saw: give more queries, or more passages for each"
        )
    items = EvaluationSet("held-out pairs", tuple(pairs))
    queries = len(rows_by_query(items.query_ids, at_least=2))
    if queries < MIN_QUERIES:
        raise HeldOutError(
            f"{queries} held-out queries have two passages or more, and a graph is judged by "
            f"{MIN_QUERIES} at least: give more queries"
        )


def measure_parity(
    pairs: Sequence[Pair],
    reference: ArrayLike,
    exported: ArrayLike,
    bounds: ParityBounds = DEFAULT_BOUNDS,
    calibration: Calibration | None = None,
) -> Parity:
    """Compare logits (pairs, heads) of the student, `reference`, with those of the graph.

    `calibration` is the map of the mean, with which both are served. Raises `ParityError` if shapes
    differ or a value is not finite.
    """
    expected, found = np.asarray(reference), np.asarray(exported)
    if expected.shape != found.shape or len(expected) != len(pairs):
        raise ParityError(
            f"logits have shapes {expected.shape} and {found.shape} for {len(pairs)} pairs: "
            "the graph has another number of heads or dropped pairs"
        )
    if not np.isfinite(found).all():
        raise ParityError(f"{int((~np.isfinite(found)).sum())} logits of the graph are not finite")
    original, graph = (combine(logits, calibration).score for logits in (expected, found))
    items = EvaluationSet("held-out pairs", tuple(pairs))
    groups = rows_by_query(items.query_ids, at_least=2)
    before = query_values(items, original, ["nDCG@10"]).values["nDCG@10"]
    after = query_values(items, graph, ["nDCG@10"]).values["nDCG@10"]
    comparisons = [compare(graph[rows], original[rows]) for rows in groups]
    return Parity(
        pairs=len(pairs),
        queries=len(groups),
        top1_agreement=float(np.mean([found.top1_agrees for found in comparisons])),
        kendall_tau=float(np.mean([found.order_agreement for found in comparisons])),
        max_score_difference=float(np.abs(graph - original).max()),
        ndcg_change=float(after.mean() - before.mean()),
        bounds=bounds,
    )


def check_parity(parity: Parity) -> None:
    """Raise `ParityError`, naming every bound that was missed."""
    missed = parity.failures()
    if missed:
        raise ParityError(
            f"the graph does not rank as the PyTorch student does on {parity.pairs} pairs of "
            f"{parity.queries} queries: {'; '.join(missed)}. Store it as fp16 or fp32, or find "
            "what broke the export",
            parity,
        )


def measure_precisions(
    graph: Path,
    storage: Storage,
    width: int,
    encoder: PairEncoder,
    held_out: Sequence[Pair],
    reference: Logits,
    bounds: ParityBounds,
    calibration: Calibration | None = None,
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
            backend = OpenVinoBackend(
                graph, precision=precision, width=width, inputs=encoder.layout.inputs
            )
        except BackendUnavailable:
            continue
        title = f"OpenVINO {precision}" if progress else ""
        logits = run(backend.infer, encoder, held_out, progress=title)
        found[precision] = measure_parity(held_out, reference, logits, bounds, calibration)
    return found
