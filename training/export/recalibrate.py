"""Recalibrating: a bundle that is there gets another map of its mean, and says what lists tell.

Its graph and tokenizer stay byte for byte, so it ranks as it did. What follows from the map is
computed again: the golden pairs' scores from their logits, and how far the graph may be from the
PyTorch original. That one has been measured on scores of the old scale, so the largest difference
that this can be on the new one is written down.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from retort.models.bundle import Bundle, write_bundle
from retort.models.manifest import Figure, Parity
from retort.models.scores import Calibration, combine
from retort.training.data.pairs import Pair
from retort.training.export.calibrating import ScoredSet, find_meaning
from retort.training.nn.inference import graph_model, run

STEPS = 10_000


def recalibrate(
    bundle: Bundle,
    folder: Path,
    calibration: Sequence[Sequence[Pair]],
    held_out: Sequence[Pair] = (),
    *,
    name: str | None = None,
    version: str | None = None,
    quality: Mapping[str, Figure] | None = None,
    progress: bool = False,
    log: Callable[[str], None] = lambda text: None,
) -> Bundle:
    """Write `bundle`, calibrated on these sets of labelled pairs, to `folder`.

    `folder` may be the bundle's own. What comes of it is measured on `held_out`, if there is any,
    and told by `log`. `quality` are figures of the new scores; without them, the old ones stay but
    for the calibration errors.
    Raises `CalibrationError` for labels that are all alike, `BundleError` as `write_bundle` does.
    """
    encoder, manifest = bundle.encoder(), bundle.manifest
    model = graph_model(bundle.graph_path, manifest.inputs)

    def scored(pairs: Sequence[Pair], title: str) -> ScoredSet:
        logits = run(model, encoder, pairs, progress=title if progress else "")
        return ScoredSet(tuple(pairs), logits)

    sets = [scored(pairs, "calibrate") for pairs in calibration]
    meaning = find_meaning(sets, scored(held_out, "held out") if held_out else None, log=log)
    assert meaning.mean is not None
    old = manifest.calibration or Calibration()
    # From scores of the old scale to those of the new one.
    gain = meaning.mean.gain / old.gain
    between = Calibration(gain, meaning.mean.shift - gain * old.shift)
    kept = {
        figure: value
        for figure, value in manifest.quality.items()
        if not figure.endswith("calibration error")
    }
    fresh = manifest.model_copy(
        update={
            "name": name or manifest.name,
            "version": version or manifest.version,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "files": {},
            "calibration": meaning.mean,
            "answerability": meaning.answerability,
            "quality": dict(quality) if quality else kept,
            "parity": _moved(manifest.parity, between),
            "lower_parity": {
                precision: parity
                for precision, found in manifest.lower_parity.items()
                if (parity := _moved(found, between)) is not None
            },
        }
    )
    scores = combine([pair.logits for pair in bundle.golden], meaning.mean).score.tolist()
    golden = [replace(p, score=score) for p, score in zip(bundle.golden, scores, strict=True)]
    return write_bundle(
        folder,
        manifest=fresh,
        graph=bundle.graph_path,
        tokenizer=bundle.tokenizer_path,
        golden=golden,
    )


def widest(calibration: Calibration, difference: float) -> float:
    """How far apart scores can be, once calibrated, that were `difference` apart before."""
    low = np.linspace(0.0, 1.0 - difference, STEPS)
    return float((calibration.apply(low + difference) - calibration.apply(low)).max())


def _moved(parity: Parity | None, between: Calibration) -> Parity | None:
    if parity is None:
        return None
    difference = widest(between, parity.max_score_difference)
    return parity.model_copy(update={"max_score_difference": difference})
