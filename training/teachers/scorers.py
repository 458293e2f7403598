"""Scorers, found by what names them: `[NAME=][KIND:]PLACE[#OPTION=VALUE,…]`, or a recipe's teacher.

    cross-encoder:FOLDER       a checkpoint of `retort teach`, its mean logit
    bi-encoder:PLACE           a checkpoint's encoder, a folder of sentence-transformers, or any
                               encoder: the similarity of the two texts
    hub-cross-encoder:PLACE    any sequence classifier, by folder or hub name
    bundle:PLACE               a bundle, by path or name: its calibrated probabilities
    http(s)://…                any ranker's server, in one of the known shapes
    PLACE                      a student, by its checkpoint's folder, or a bundle by path or name:
                               probabilities (TMKD equation 6); or what else is found there

Teachers and checkpoints read what training reads of a pair: as much as fits. A bundle reads long
passages in windows, as it is served.

A scorer's identity is the hash of its weights, its tokenizer and how it is asked, so that a score
can be kept indefinitely: a retrained teacher, or another length, is another identity. What computes
it is none of that (`labels/engines.py` has how engines are held against each other).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from retort.failures import reading
from retort.training.nn.backbone import is_bundle
from retort.training.recipes.kinds import KINDS, Kind, find_kind, is_checkpoint, kind_fault
from retort.training.recipes.parts.teacher import TeacherRef
from retort.training.teachers.given import load_given
from retort.training.teachers.scoring.bi_encoder import load_bi_encoder
from retort.training.teachers.scoring.bundle import find_and_load_bundle
from retort.training.teachers.scoring.checkpoint import load_cross_encoder, load_student_scorer
from retort.training.teachers.scoring.http import load_http
from retort.training.teachers.scoring.hub import load_hub_cross_encoder
from retort.training.teachers.scoring.scorer import (
    MODEL,
    Reference,
    Scorer,
    UnknownScorerError,
)

_LOADERS: Mapping[str, Callable[[Reference], Scorer]] = {
    "cross-encoder": load_cross_encoder,
    "bi-encoder": load_bi_encoder,
    "hub-cross-encoder": load_hub_cross_encoder,
    "bundle": find_and_load_bundle,
    "http": load_http,
}


def load_scorer(reference: Reference) -> Scorer:
    """The scorer that a `Spec` or a recipe's teacher names.

    Raises `UnknownScorerError`, also for a kind that does not fit the place, `CheckpointError`,
    `BackboneError`, `HttpTeacherError` or `Unreadable`.
    """
    if reference.kind and (fault := kind_fault(reference.kind, reference.path)):
        raise UnknownScorerError(f"{reference.path}: {fault}")
    if reference.kind == MODEL and _is_student(reference.path):
        return load_student_scorer(reference)
    kind = kind_of(reference)
    if kind not in _LOADERS:
        raise UnknownScorerError(f"{reference.name}: a teacher of kind {kind} is no system")
    with reading(reference.path, f"a {kind}"):
        return _LOADERS[kind](reference)


def kind_of(reference: Reference) -> Kind:
    """A teacher's kind, as named or as found at its place; a bundle where nothing is found.

    Raises `UnknownScorerError` where a recipe's teacher is not there.
    """
    named = next((kind for kind in KINDS if kind == reference.kind), None)
    found = named or find_kind(reference.path)
    if found is None and reference.kind is None and not is_bundle(reference.path):
        raise UnknownScorerError(
            f"{reference.path}: no teacher is there that tells its kind: write kind: as one of "
            f"{', '.join(KINDS)}"
        )
    return found or "bundle"


def _is_student(place: str) -> bool:
    return is_checkpoint(place) and find_kind(place) == "cross-encoder"


def identity_of(teacher: TeacherRef) -> str:
    """Under which its scores are kept. Raises as `load_scorer` and `load_given`."""
    loaded = load_given(teacher) if teacher.kind == "given" else load_scorer(teacher)
    return loaded.identity
