"""Engines: what is kept of a teacher is held against what it says here, before both are mixed.

A teacher's identity says nothing of the machine. So scores that a GPU computed in bf16 serve on a
CPU, and a sample of them shows that they are the same scores up to rounding. The same holds for
scores of an earlier version, and for a server, behind which the model may have changed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from retort.training.data.pairs import Pair
from retort.training.labels.store import ScoreStore, StoreError, TeacherScores, pair_keys, whole
from retort.training.teachers.scoring.scorer import Scorer

SAMPLE = 128
# The root mean square of the differences, as a share of the scores' deviation. Measured on 1,000 to
# 1,500 pairs of WikiQA: in bf16 a student of three layers is 0.003 (OpenVINO) and 0.006 (PyTorch)
# off its float32, MiniLM as a bi-encoder 0.003; but read to 64 tokens instead of 128, or with every
# fiftieth word another, the student is 0.06 and 0.11 off.
TOLERANCE = 0.03
CHECKED_FILE = "engines.json"  # which engines agree with what is kept


def find_earlier(teacher: Scorer, store: ScoreStore, log: Callable[[str], None] = print) -> None:
    """Take over what an earlier version kept of this teacher, or say why it does not count."""
    if not teacher.identity or store.has(teacher.identity):
        return
    former = next((name for name in teacher.former if store.has(name)), None)
    if former is not None:
        store.adopt(teacher.identity, former)
        log(f"{teacher.name}: scores of an earlier version, {former}, are now {teacher.identity}")
        return
    for name in teacher.outdated:
        if store.has(name):
            log(
                f"{teacher.name}: the scores in {store.root / name} are of an earlier version, "
                "which read its pairs otherwise: they are not used"
            )


def check_kept(
    teacher: Scorer,
    pairs: Sequence[Pair],
    scores: TeacherScores,
    log: Callable[[str], None] = print,
) -> None:
    """Hold a sample of the scores that are kept against the teacher's own.

    Nothing is done where this engine computed them, or agreed before. Raises `StoreError` if they
    differ by more than `TOLERANCE`.
    """
    path = scores.folder / CHECKED_FILE
    agreed = _agreed(path)
    others = scores.engines - {teacher.engine}
    if not teacher.may_change and (not others or teacher.engine in agreed):
        return
    kept = scores.lookup(pair_keys(pairs))
    known = np.flatnonzero(np.isfinite(kept))
    if len(known) < 2:
        return
    rows = known[np.unique(np.linspace(0, len(known) - 1, SAMPLE).astype(int))]
    own = np.asarray(teacher.logits([pairs[row] for row in rows]), dtype=np.float64)
    deviation = float(kept[known].std()) or 1.0
    off = float(np.sqrt(np.mean((own - kept[rows]) ** 2))) / deviation
    made = ", ".join(sorted(name or "an engine that is not recorded" for name in scores.engines))
    if not off <= TOLERANCE:
        raise StoreError(
            f"{teacher.name}: {teacher.engine} gives other scores than those that {made} left in "
            f"{scores.folder}: on {len(rows)} pairs they are {off:.3f} of a deviation apart, and "
            f"{TOLERANCE} is allowed; label where they were made, or name another store"
        )
    log(
        f"{teacher.name}: {teacher.engine} gives the scores that {made} left: on {len(rows)} pairs "
        f"they are {off:.4f} of a deviation apart"
    )
    with whole(path) as temporary:
        temporary.write_text(json.dumps(sorted({*agreed, teacher.engine}), indent=1) + "\n")


def _agreed(path: Path) -> list[str]:
    return [str(name) for name in json.loads(path.read_text())] if path.is_file() else []
