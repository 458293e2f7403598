"""Labelling: teachers score the pairs that a recipe's stages will read, each pair once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from tqdm.auto import tqdm

from retort.training.data.pairs import Pair
from retort.training.data.table import select_all
from retort.training.labels.engines import check_kept, find_earlier
from retort.training.labels.store import (
    HIDDEN_FOLDER,
    HiddenStates,
    ScoreStore,
    StoreError,
    TeacherScores,
    pair_keys,
)
from retort.training.labels.targets import scored_by
from retort.training.nn.vocabulary import place_warning
from retort.training.recipes.distill import DistillRecipe
from retort.training.teachers.given import GivenScores, load_given
from retort.training.teachers.scorers import kind_of, load_scorer
from retort.training.teachers.scoring.checkpoint import CrossEncoder
from retort.training.teachers.scoring.scorer import Scorer


def label_recipe(
    recipe: DistillRecipe, only: Sequence[str], log: Callable[[str], None] = print
) -> dict[str, int]:
    """Score the recipe's pairs that have no score yet, and return how many scores each teacher has.

    `only` names the teachers that are asked, none for all. Raises as `load_scorer`, `load_given`
    and `label` do.
    """
    chosen = select_all(recipe.stages)
    pairs = [pair for selection in chosen for pair in selection.pairs]
    if warning := place_warning(recipe.student.init, pairs):
        log(f"{warning} (student.init)")
    store = ScoreStore(recipe.store)
    counts = {}
    for reference in recipe.teachers:
        if only and reference.name not in only:
            continue
        every: list[Pair] = []
        matched: list[Pair] = []
        for stage, selection in zip(recipe.stages, chosen, strict=True):
            known = scored_by(reference, selection.sources)
            own = [pair for pair, hit in zip(selection.pairs, known, strict=True) if hit]
            every += own
            matched += own if stage.hidden > 0 else []
        if reference.kind == "given":
            counts[reference.name] = len(keep_given(load_given(reference), every, store, log))
            continue
        teacher = load_scorer(reference)
        if kind_of(reference) != "http" and (warning := place_warning(reference.path, every)):
            log(f"{warning} (the teacher {reference.name})")
        if reference.hidden and matched:
            label(teacher, matched, store, log, hidden=True)
        counts[reference.name] = len(label(teacher, every, store, log))
    return counts


def keep_given(
    teacher: GivenScores,
    pairs: Sequence[Pair],
    store: ScoreStore,
    log: Callable[[str], None] = print,
) -> TeacherScores:
    """Keep the scores of the pairs that are on the teacher's file. Fixes the scale.

    Raises `StoreError` if none is.
    """
    scores = store.teacher(teacher.name, teacher.identity)
    keys = np.unique(pair_keys(pairs))
    found = teacher.lookup(keys)
    new = np.isnan(scores.lookup(keys)) & np.isfinite(found)
    if new.any():
        scores.add(keys[new], found[new])
    known = int(np.isfinite(found).sum())
    if not known:
        raise StoreError(
            f"{teacher.name}: none of the {len(keys)} pairs is among the {len(teacher.keys)} on "
            "its file: are these the same texts?"
        )
    scale = scores.calibrate(pair_keys(pairs))
    log(
        f"{teacher.name}: {known} of {len(keys)} pairs are on its file; mean {scale.mean:.3f}, "
        f"deviation {scale.deviation:.3f}"
    )
    return scores


def label(
    teacher: Scorer,
    pairs: Sequence[Pair],
    store: ScoreStore,
    log: Callable[[str], None] = print,
    *,
    hidden: bool = False,
) -> TeacherScores:
    """Score the pairs that have no score yet; resumable after a kill. Fixes the scale.

    With `hidden` a cross-encoder's `[CLS]` vectors are kept too, and a pair that lacks one is
    scored again. Raises as `score_missing`, and `StoreError` for scores that are all alike.
    """
    started = time.monotonic()
    scores, scored = score_missing(teacher, pairs, store, log, hidden=hidden)
    scale = scores.calibrate(pair_keys(pairs))
    seconds = time.monotonic() - started
    about = f" ({teacher.about})" if teacher.about else ""
    log(
        f"{teacher.name}{about}: {scored} pairs in {seconds:.0f} s, {len(pairs) - scored} "
        f"were there; mean {scale.mean:.3f}, deviation {scale.deviation:.3f}"
    )
    return scores


def score_missing(
    teacher: Scorer,
    pairs: Sequence[Pair],
    store: ScoreStore,
    log: Callable[[str], None] = print,
    *,
    hidden: bool = False,
) -> tuple[TeacherScores, int]:
    """As `label`, without a scale; the second is how many pairs were scored.

    What is kept is first held against what the teacher says here and now (`engines.py`). Raises
    `StoreError` if that is something else, `TypeError` for hidden states of a teacher that has
    none.
    """
    find_earlier(teacher, store, log)
    scores = store.teacher(teacher.name, teacher.identity)
    check_kept(teacher, pairs, scores, log)
    states = HiddenStates(scores.folder / HIDDEN_FOLDER, teacher.name) if hidden else None
    keys = pair_keys(pairs)
    wanting = np.isnan(scores.lookup(keys))
    if states is not None:
        wanting |= states.missing(keys)
    missing = np.flatnonzero(wanting)
    missing = missing[np.unique(keys[missing], return_index=True)[1]]
    missing.sort()
    bar = tqdm(total=len(missing), desc=f"{teacher.name} labels", unit="pair", mininterval=10)
    for start in range(0, len(missing), teacher.block_pairs):
        rows = missing[start : start + teacher.block_pairs]
        block = [pairs[row] for row in rows]
        if states is None:
            logits = teacher.logits(block)
        elif isinstance(teacher, CrossEncoder):
            logits, vectors = teacher.represent(block)
            states.add(keys[rows], vectors)
        else:
            raise TypeError(f"{teacher.name} is no cross-encoder of ours: it has no hidden states")
        scores.add(keys[rows], logits, teacher.engine)
        bar.update(len(rows))
    bar.close()
    return scores, len(missing)
