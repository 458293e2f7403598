"""Blocks scored on a Ray cluster: every node loads the teacher once, and gives logits back.

Parts are still written by the process that asks, each when its block is done. So the store holds
what one process would have written, and a run that was killed goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from retort.parallel.cluster import Cluster
from retort.training.labels.blocks import Block
from retort.training.labels.scored import Scored, score_block
from retort.training.labels.store import StoreError
from retort.training.recipes.parts.teacher import TeacherRef
from retort.training.teachers.scorers import load_scorer
from retort.training.teachers.scoring.scorer import Scorer, Scores


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a node says of a block, and the teacher that it has loaded."""

    logits: Scores
    vectors: NDArray[np.float32] | None
    engine: str
    identity: str


def score_on(
    cluster: Cluster, reference: TeacherRef, teacher: Scorer, blocks: Sequence[Block]
) -> Iterator[Scored]:
    """Score blocks on `cluster`, as they are done; `reference` names the teacher on every node.

    Raises `StoreError` if a node finds another teacher there, and as `Cluster.each`.
    """
    answers = cluster.each(_score, reference.model_dump_json(), blocks, lambda block: block)
    for block, answer in answers:
        if answer.identity != teacher.identity:
            raise StoreError(
                f"{teacher.name}: a node has another teacher at {reference.path} than this machine "
                f"({answer.identity}, not {teacher.identity}): copy it there, and run this again"
            )
        yield Scored(block, answer.logits, answer.vectors, answer.engine)


def _score(reference: str, block: Block) -> _Answer:
    teacher = _teacher(reference)
    scored = score_block(teacher, block)
    return _Answer(scored.logits, scored.vectors, scored.engine, teacher.identity)


@cache
def _teacher(reference: str) -> Scorer:
    """Loaded once in each process of a node."""
    return load_scorer(TeacherRef.model_validate_json(reference))
