"""Labelling: teachers score the pairs of a table into the store, block by block."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from tqdm.auto import tqdm

from training.data.pairs import Pair
from training.store import ScoreStore, TeacherScores, pair_keys
from training.teachers import Teacher


def label(
    teacher: Teacher, pairs: Sequence[Pair], store: ScoreStore, log: Callable[[str], None] = print
) -> TeacherScores:
    """Score the pairs that have no score yet; resumable after a kill. Fixes the scale."""
    scores = store.teacher(teacher.name, teacher.identity)
    keys = pair_keys(pairs)
    missing = np.flatnonzero(np.isnan(scores.lookup(keys)))
    missing = missing[np.unique(keys[missing], return_index=True)[1]]
    missing.sort()
    started = time.monotonic()
    bar = tqdm(total=len(missing), desc=f"{teacher.name} labels", unit="pair", mininterval=10)
    for start in range(0, len(missing), teacher.block_pairs):
        rows = missing[start : start + teacher.block_pairs]
        scores.add(keys[rows], teacher.score([pairs[row] for row in rows]))
        bar.update(len(rows))
    bar.close()
    scale = scores.calibrate(keys)
    seconds = time.monotonic() - started
    log(
        f"{teacher.name}: {len(missing)} pairs in {seconds:.0f} s, {len(pairs) - len(missing)} "
        f"were there; mean {scale.mean:.3f}, deviation {scale.deviation:.3f}"
    )
    return scores
