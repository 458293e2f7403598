"""Bundles as scorers: their calibrated probabilities, read as they are served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from retort.models.bundle import Bundle, find_bundle, read_bundle
from retort.models.errors import BundleError
from retort.models.reading.windows import READING, Reading
from retort.models.runtime.options import RuntimeOptions
from retort.ranker import Ranker
from retort.training.data.pairs import Pair
from retort.training.teachers.scoring.scorer import Reference, Scorer, UnknownScorerError

BLOCK_PAIRS = 1_024
FLOAT32 = RuntimeOptions(backend="onnxruntime", provider="cpu", precision="fp32")


@dataclass(frozen=True)
class BundleScorer(Scorer):
    """A bundle that reads as it is served; a pair that is there several times is scored once."""

    ranker: Ranker
    reading: Reading = READING

    @property
    def probabilities(self) -> bool:
        """Yes."""
        return True

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> NDArray[np.float64]:
        """Probabilities (pairs,)."""
        places: dict[tuple[str, str], int] = {}
        rows = [places.setdefault((p.query, p.passage), len(places)) for p in pairs]
        texts = list(places)
        # Pairs of like length share a batch, and a block is what there is to choose from.
        texts.sort(key=lambda text: len(text[1]))
        order = np.array([places[text] for text in texts])
        scores = np.zeros(len(texts))
        bar = tqdm(total=len(texts), desc=self.name, unit="pair", disable=not progress)
        for start in range(0, len(texts), BLOCK_PAIRS):
            block = texts[start : start + BLOCK_PAIRS]
            scores[order[start : start + len(block)]] = self.ranker.score(block, self.reading)
            bar.update(len(block))
        bar.close()
        return scores[rows]


def find_and_load_bundle(reference: Reference) -> BundleScorer:
    """The bundle that a reference names. Raises `UnknownScorerError` and as `load_bundle`."""
    try:
        bundle = read_bundle(find_bundle(reference.path))
    except BundleError as error:
        raise UnknownScorerError(
            f"{reference.name}={reference.path}: no checkpoint (student.json), no model of Hugging "
            f"Face, no URL, no .npz of scores, and no bundle ({error})"
        ) from error
    return load_bundle(reference.name, bundle)


def load_bundle(
    name: str, bundle: Bundle, reading: Reading = READING, options: RuntimeOptions = FLOAT32
) -> BundleScorer:
    """A bundle in ONNX Runtime and float32, or as `options` say.

    Raises `BundleError` for bad golden pairs, `StartError` if no backend can run it so.
    """
    # The digest is of everything in the bundle, its tokenizer and calibration too.
    identity = bundle.digest[:16] if reading == READING else ""
    return BundleScorer(
        name,
        identity,
        Ranker(bundle, options),
        reading,
        engine=f"{options.backend}-{options.precision}",
        about="its calibrated probability, read in windows as it is served",
    )
