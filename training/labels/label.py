"""Labelling: teachers score the pairs of a table into the store, block by block."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from tqdm.auto import tqdm

from retort.training.data.pairs import Pair
from retort.training.labels.hidden import HiddenStates
from retort.training.labels.store import ScoreStore, TeacherScores, pair_keys
from retort.training.teachers.scorers import CrossEncoder, Teacher


def label(
    teacher: Teacher,
    pairs: Sequence[Pair],
    store: ScoreStore,
    log: Callable[[str], None] = print,
    *,
    hidden: bool = False,
) -> TeacherScores:
    """Score the pairs that have no score yet; resumable after a kill. Fixes the scale.

    With `hidden` a cross-encoder's `[CLS]` vectors are kept too, and what lacks one is asked again.
    Raises `TypeError` for a teacher that has none.
    """
    scores = store.teacher(teacher.name, teacher.identity)
    states = HiddenStates(scores.folder / "hidden", teacher.name) if hidden else None
    keys = pair_keys(pairs)
    wanting = np.isnan(scores.lookup(keys))
    if states is not None:
        wanting |= states.missing(keys)
    missing = np.flatnonzero(wanting)
    missing = missing[np.unique(keys[missing], return_index=True)[1]]
    missing.sort()
    started = time.monotonic()
    bar = tqdm(total=len(missing), desc=f"{teacher.name} labels", unit="pair", mininterval=10)
    for start in range(0, len(missing), teacher.block_pairs):
        rows = missing[start : start + teacher.block_pairs]
        block = [pairs[row] for row in rows]
        if states is None:
            logits = teacher.score(block)
        elif isinstance(teacher, CrossEncoder):
            logits, vectors = teacher.represent(block)
            states.add(keys[rows], vectors)
        else:
            raise TypeError(f"{teacher.name} is no cross-encoder of ours: it has no hidden states")
        scores.add(keys[rows], logits)
        bar.update(len(rows))
    bar.close()
    scale = scores.calibrate(keys)
    seconds = time.monotonic() - started
    log(
        f"{teacher.name}: {len(missing)} pairs in {seconds:.0f} s, {len(pairs) - len(missing)} "
        f"were there; mean {scale.mean:.3f}, deviation {scale.deviation:.3f}"
    )
    return scores
