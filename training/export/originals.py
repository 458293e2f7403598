"""Originals: what is exported, by its names on the command line, with its tokenizer and lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from retort.models.bundle import TOKENIZER_FILE
from retort.models.encoding import Truncation
from retort.models.layout import bert_layout
from retort.training.export.encoder import UnsupportedStudentError, check_config
from retort.training.export.samples import sample_pairs
from retort.training.nn.student import Student, golden_alone, load_student
from retort.training.recipes.kinds import CONFIG_FILE
from retort.training.teachers.classifier import Classifier, LoadedClassifier, load_classifier
from retort.training.teachers.ensemble import Ensemble, bert_member, load_ensemble
from retort.training.teachers.scoring.scorer import MODEL, parse

Heads = Literal["all", "golden"]
CROSS_ENCODER = "hub-cross-encoder"


@dataclass(frozen=True, slots=True)
class Original:
    """A model that can become a bundle.

    `activation` is what the library that it comes from makes of its logits; None: it is of Retort.
    """

    model: Student | Ensemble | Classifier
    tokenizer_path: Path
    truncation: Truncation
    activation: str | None = None


def load_original(
    specs: Sequence[str],
    work: Path,
    *,
    max_length: int | None = None,
    max_query_tokens: int | None = None,
    heads: Heads = "all",
    wanted: str | None = None,
) -> Original:
    """A checkpoint's student as it is, one cross-encoder, or the ensemble of what `specs` name.

    `wanted` is the output of a cross-encoder that has several; `work` is a folder for its
    tokenizer. Raises `ValueError` for options that are not for such a model, `CheckpointError`,
    `BackboneError` or `EnsembleError`.
    """
    one = parse(specs[0]) if len(specs) == 1 else None
    if one is not None and one.kind == MODEL and (Path(one.path) / CONFIG_FILE).is_file():
        one = replace(one, kind=CROSS_ENCODER)
    if wanted is not None and (one is None or one.kind != CROSS_ENCODER):
        raise ValueError(f"--class {wanted} is for one {CROSS_ENCODER}: leave it out")
    if one is not None and one.kind == MODEL and "=" not in specs[0]:
        if max_length or max_query_tokens:
            raise ValueError(
                "--max-length and --max-query-tokens are for teachers: a student keeps the "
                "lengths that it learned with"
            )
        loaded = load_student(Path(specs[0]))
        student = golden_alone(loaded.student) if heads == "golden" else loaded.student
        return Original(student, loaded.tokenizer_path, loaded.truncation)
    if heads != "all":
        raise ValueError(
            f"--heads {heads} is for a student: of teachers, leave out those that are not wanted"
        )
    if one is None or one.kind != CROSS_ENCODER:
        teachers = load_ensemble(specs, max_length, max_query_tokens)
        return Original(teachers.ensemble, teachers.tokenizer_path, teachers.truncation)
    known = load_classifier(
        one.name,
        one.path,
        sample_pairs(),
        wanted=wanted,
        max_length=max_length,
        max_query_tokens=max_query_tokens,
    )
    tokenizer = work / TOKENIZER_FILE
    known.tokenizer.save(str(tokenizer))
    return Original(_written_here(known), tokenizer, known.truncation, known.activation)


def _written_here(known: LoadedClassifier) -> Ensemble | Classifier:
    """A BERT as the ensemble of itself, whose graph is the faster one; else the classifier."""
    member = bert_member(known)
    if member is None or known.layout != bert_layout(known.tokenizer):
        return known.classifier
    try:
        check_config(member.config)
    except UnsupportedStudentError:
        return known.classifier
    return Ensemble([(known.classifier.heads[0].name, member)]).eval()
