"""Labelling: teachers score the pairs that a recipe's stages will read, each pair once.

One process scores every block (`blocks.py`), or several score a shard each and their stores are
merged. The store is the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from retort.parallel.cluster import Cluster
from retort.parallel.shards import Shard
from retort.training.data.pairs import Pair
from retort.training.data.table import select_all
from retort.training.labels.blocks import Block, cut
from retort.training.labels.distributed import score_on
from retort.training.labels.engines import check_kept, find_earlier
from retort.training.labels.scored import Run, score_here
from retort.training.labels.store import (
    HIDDEN_FOLDER,
    SCALE_PAIRS,
    UNFINISHED,
    HiddenStates,
    ScoreStore,
    StoreError,
    TeacherScores,
    pair_keys,
)
from retort.training.labels.targets import scored_by
from retort.training.nn.vocabulary import place_warning
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.parts.teacher import TeacherRef
from retort.training.teachers.given import GivenScores, load_given
from retort.training.teachers.scorers import kind_of, load_scorer
from retort.training.teachers.scoring.checkpoint import CrossEncoder
from retort.training.teachers.scoring.scorer import Scorer
from retort.wording import counted

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Work:
    """The pairs that a teacher of a recipe scores; of the `matched` its vectors are kept too."""

    teacher: TeacherRef
    pairs: list[Pair]
    matched: list[Pair]

    @property
    def scale(self) -> list[Pair]:
        """The pairs that fix the teacher's scale."""
        return self.matched or self.pairs


def label_recipe(
    recipe: DistillRecipe,
    only: Sequence[str],
    log: Log = print,
    *,
    shard: Shard | None = None,
    cluster: Cluster | None = None,
) -> dict[str, int]:
    """Score the recipe's pairs that have no score yet, and return how many scores each teacher has.

    `only` names the teachers that are asked, none for all. Of a `shard`, only its own blocks are
    scored, and the scale is left to `merge_recipe`; a teacher of kind `given` is left to it too.
    With a `cluster` its nodes score.
    Raises as `load_scorer`, `load_given` and `label` do.
    """
    store = ScoreStore(recipe.store)
    counts = {}
    for work in _works(recipe, only, log):
        name = work.teacher.name
        if work.teacher.kind == "given":
            if shard is None:
                counts[name] = len(keep_given(load_given(work.teacher), work.pairs, store, log))
            continue
        teacher = load_scorer(work.teacher)
        run = score_here if cluster is None else partial(score_on, cluster, work.teacher)
        if shard is None:
            scores = label(teacher, work.pairs, store, log, matched=work.matched, run=run)
            counts[name] = len(scores)
        else:
            counts[name] = _label_shard(teacher, work, store, log, shard, run)
    return counts


def merge_recipe(
    recipe: DistillRecipe,
    only: Sequence[str],
    shards: int,
    stores: Sequence[Path],
    log: Log = print,
) -> dict[str, int]:
    """Put together what `shards` processes scored, and return how many scores each teacher has.

    The recipe's store takes over what other `stores` have more. Then it is what one process would
    have written, its scale too. Raises `StoreError` that names every shard of which a score is
    missing; what is there stays.
    """
    store = ScoreStore(recipe.store)
    lacking: dict[Shard, list[str]] = {}
    works = _works(recipe, only, log)
    for work in works:
        if work.teacher.kind == "given":
            continue
        teacher = load_scorer(work.teacher)
        scores = store.teacher(teacher.name, teacher.identity)
        states = _states(scores) if work.matched else None
        for other in stores:
            folder = other / teacher.identity
            taken = scores.take_over(folder)
            if states is not None:
                states.take_over(folder / HIDDEN_FOLDER)
            log(f"{teacher.name}: {counted(taken, 'score')} taken over from {other}")
        blocks = cut(work.pairs, work.matched, teacher.block_pairs)
        wanting = _wanting(blocks, scores, states)
        for shard in (Shard(number, shards) for number in range(1, shards + 1)):
            own = shard.own(blocks)
            missing = _wanting(own, scores, states)
            if missing:
                pairs = sum(map(len, missing))
                of = counted(len(own), "block")
                lacking.setdefault(shard, []).append(
                    f"{teacher.name} lacks {counted(pairs, 'pair')} in {len(missing)} of its {of}"
                )
        for left in scores.folder.glob(UNFINISHED) if not wanting else ():
            left.unlink(missing_ok=True)
    if lacking:
        told = "; ".join(f"shard {shard}: {', '.join(said)}" for shard, said in lacking.items())
        raise StoreError(
            f"{recipe.store}: {len(lacking)} of {counted(shards, 'shard')} are not whole: {told}. "
            "Run `retort label` with --shard for each of these, or name the store that has it by "
            "--from"
        )
    return label_recipe(recipe, only, log)


def _works(recipe: DistillRecipe, only: Sequence[str], log: Log) -> list[Work]:
    chosen = select_all(recipe.stages)
    if warning := place_warning(recipe.student.init, [p for c in chosen for p in c.pairs]):
        log(f"{warning} (student.init)")
    works = []
    for reference in recipe.teachers:
        if only and reference.name not in only:
            continue
        every: list[Pair] = []
        matched: list[Pair] = []
        for stage, selection in zip(recipe.stages, chosen, strict=True):
            known = scored_by(reference, selection.sources)
            own = [pair for pair, hit in zip(selection.pairs, known, strict=True) if hit]
            every += own
            matched += own if stage.hidden > 0 and reference.hidden else []
        read_here = reference.kind != "given" and kind_of(reference) != "http"
        if read_here and (warning := place_warning(reference.path, every)):
            log(f"{warning} (the teacher {reference.name})")
        works.append(Work(reference, every, matched))
    return works


def keep_given(
    teacher: GivenScores,
    pairs: Sequence[Pair],
    store: ScoreStore,
    log: Log = print,
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
    scale = scores.calibrate(pair_keys(pairs[:SCALE_PAIRS]))
    log(
        f"{teacher.name}: {known} of {len(keys)} pairs are on its file; mean {scale.mean:.3f}, "
        f"deviation {scale.deviation:.3f}"
    )
    return scores


def label(
    teacher: Scorer,
    pairs: Sequence[Pair],
    store: ScoreStore,
    log: Log = print,
    *,
    matched: Sequence[Pair] = (),
    run: Run = score_here,
) -> TeacherScores:
    """Score the pairs that have no score yet; resumable after a kill. Fixes the scale.

    Of those that are `matched` a cross-encoder's `[CLS]` vectors are kept too, and one that lacks
    its vector is scored again; they fix the scale then. Raises as `score_missing`, and `StoreError`
    for scores that are all alike.
    """
    started = time.monotonic()
    scores, scored = score_missing(teacher, pairs, store, log, matched=matched, run=run)
    scale = scores.calibrate(pair_keys((matched or pairs)[:SCALE_PAIRS]))
    seconds = time.monotonic() - started
    about = f" ({teacher.about})" if teacher.about else ""
    log(
        f"{teacher.name}{about}: {scored} pairs in {seconds:.0f} s, {len(pairs) - scored} "
        f"were there; mean {scale.mean:.3f}, deviation {scale.deviation:.3f}"
    )
    return scores


def _label_shard(
    teacher: Scorer, work: Work, store: ScoreStore, log: Log, shard: Shard, run: Run
) -> int:
    started = time.monotonic()
    _, scored = score_missing(
        teacher, work.pairs, store, log, matched=work.matched, shard=shard, run=run
    )
    blocks = cut(work.pairs, work.matched, teacher.block_pairs)
    own = shard.own(blocks)
    log(
        f"{teacher.name}: {scored} pairs in {time.monotonic() - started:.0f} s; shard {shard} has "
        f"{len(own)} of {counted(len(blocks), 'block')}, {sum(map(len, own))} of "
        f"{counted(sum(map(len, blocks)), 'pair')}"
    )
    return sum(map(len, own))


def score_missing(
    teacher: Scorer,
    pairs: Sequence[Pair],
    store: ScoreStore,
    log: Log = print,
    *,
    matched: Sequence[Pair] = (),
    shard: Shard | None = None,
    run: Run = score_here,
) -> tuple[TeacherScores, int]:
    """As `label`, without a scale, and of a `shard` only; the second is how many were scored.

    `run` scores the blocks.

    What is kept is first held against what the teacher says here and now (`engines.py`). Raises
    `StoreError` if that is something else, `TypeError` for hidden states of a teacher that has
    none.
    """
    find_earlier(teacher, store, log)
    scores = store.teacher(teacher.name, teacher.identity)
    check_kept(teacher, pairs, scores, log)
    states = _states(scores) if matched else None
    if states is not None and not isinstance(teacher, CrossEncoder):
        raise TypeError(f"{teacher.name} is no cross-encoder of ours: it has no hidden states")
    blocks = cut(pairs, matched, teacher.block_pairs)
    own = blocks if shard is None else shard.own(blocks)
    wanting = _wanting(own, scores, states)
    total = sum(map(len, wanting))
    bar = tqdm(total=total, desc=f"{teacher.name} labels", unit="pair", mininterval=10)
    for scored in run(teacher, wanting):
        keys = scored.block.keys
        if states is not None and scored.vectors is not None:
            states.add(keys, scored.vectors)
        # A pair that was scored again for its vector keeps its score.
        new = np.isnan(scores.lookup(keys))
        if new.any():
            scores.add(keys[new], np.asarray(scored.logits)[new], scored.engine)
        bar.update(len(keys))
    bar.close()
    return scores, total


def _states(scores: TeacherScores) -> HiddenStates:
    return HiddenStates(scores.folder / HIDDEN_FOLDER, scores.name)


def _wanting(
    blocks: Sequence[Block], scores: TeacherScores, states: HiddenStates | None
) -> list[Block]:
    """What is left of blocks: the pairs without a score, or without a vector that is wanted."""
    found = []
    for block in blocks:
        missing = np.isnan(scores.lookup(block.keys))
        if block.hidden and states is not None:
            missing |= states.missing(block.keys)
        if missing.any():
            found.append(block if missing.all() else block.take(np.flatnonzero(missing)))
    return found
