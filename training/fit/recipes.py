"""The recipes of a fit: what each step runs, as files that an expert edits and runs again.

All that decides what a student learns stands here: the candidates of a question, the method, the
stages. A file that was edited is not written over.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from retort.training.data.sets import TRAIN_FILE
from retort.training.fit.material import PASSAGES, QUESTIONS, UNLABELLED, Material
from retort.training.fit.plan import DISTILLED, FitPlan
from retort.training.recipes.load import parse_recipe
from retort.training.recipes.methods import UNTAUGHT
from retort.training.recipes.parts.common import Length

# Candidates of each question: those that BM25 ranks first, and others of its best 50; where a
# teacher is a bi-encoder, also those that it puts nearest, and some from all over its range.
CANDIDATES = {"near": 6, "deep": 6}
DENSE_CANDIDATES = {"near": 4, "deep": 4, "dense": 2, "quantiles": 4}
# BM25's wrong passages for each right one, next to those that are labelled.
NEGATIVES = 2
METHOD, METHOD_WITHOUT_STAGE_1 = "tmkd", "mkd"
ALPHA = 0.7
SOFT = {"lr": 1.5e-4, "warmup": 0.03, "epochs": 1, "batch_pairs": 32}
LABELLED = {"lr": 1.0e-4, "batch_pairs": 32}
LAYERS = 3


def corpus_recipes(plan: FitPlan, material: Material) -> dict[str, dict[str, Any]]:
    """The recipes of the tables by name: labelled pairs, and candidates if a teacher is there."""
    work, train = plan.work, str(plan.work / TRAIN_FILE)
    pairs: dict[str, Any] = {
        "kind": "corpus",
        "out": str(work / "pairs.parquet"),
        "seed": plan.seed,
        "labelled": [{"source": train}],
        "positives": [
            {
                "source": train,
                "negatives": NEGATIVES,
                "threshold": material.parts.measure.relevant,
                "positive": False,
            }
        ],
    }
    if not plan.teachers:
        return {"pairs": pairs}
    dense = [teacher.path for teacher in plan.teachers if teacher.kind == "bi-encoder"][:1]
    asked = [train, *([str(work / UNLABELLED)] if material.unlabelled else [])]
    candidates: dict[str, Any] = {
        "kind": "corpus",
        "out": str(work / "candidates.parquet"),
        "seed": plan.seed,
        "labelled": [{"source": source} for source in asked[1:]],
        "questions": {
            "lists": [str(work / QUESTIONS)] if material.questions else [],
            "queries_of": asked,
            "passages": [*asked, *([str(work / PASSAGES)] if material.passages else [])],
            **(DENSE_CANDIDATES if dense else CANDIDATES),
        },
        **({"dense_teacher": dense[0]} if dense else {}),
    }
    return {"pairs": pairs, "candidates": candidates}


def student_recipes(
    plan: FitPlan, layers: int, length: Length, limit: int | None, epochs: float
) -> dict[str, dict[str, Any]]:
    """The recipes of the plan's students by name.

    `layers` are those of the encoder that they start from, `length` is how much of a pair they
    read. `limit` is how many candidates the first stage of the distilled one reads: None for all, 0
    for no such stage.
    """
    stage: dict[str, Any] = {
        "table": str(plan.work / "pairs.parquet"),
        "alpha": ALPHA,
        "length": length.model_dump(),
        "optimiser": {**LABELLED, "epochs": epochs},
    }
    first: dict[str, Any] = {
        "table": str(plan.work / "candidates.parquet"),
        **({"limit": limit} if limit else {}),
        "alpha": 1.0,
        "length": length.model_dump(),
        "optimiser": SOFT,
    }
    teachers = [t.model_dump(mode="json", exclude_defaults=True) for t in plan.teachers]
    found: dict[str, dict[str, Any]] = {}
    for student, checkpoint in plan.students.items():
        taught = student == DISTILLED
        soft = [first] if taught and limit != 0 else []
        found[recipe_name(student)] = {
            "kind": "distill",
            "name": f"{plan.name} {student}",
            "method": (METHOD if soft else METHOD_WITHOUT_STAGE_1) if taught else UNTAUGHT,
            "seed": plan.seed,
            "out": str(checkpoint.parent),
            "store": str(plan.work / "scores"),
            **({"teachers": teachers} if taught else {}),
            "student": {"init": plan.init, "layers": spread(layers)},
            "stages": [*soft, stage if taught else {**stage, "alpha": 0.0}],
        }
    return found


def recipe_name(student: str) -> str:
    """The name of a student's recipe: its file is `NAME.yaml`."""
    return student.replace(" ", "-")


def spread(layers: int) -> list[int]:
    """At most `LAYERS` of an encoder's layers, evenly spread up to the last.

    >>> spread(3), spread(6), spread(12)
    ([0, 1, 2], [1, 3, 5], [3, 7, 11])
    """
    count = min(LAYERS, layers)
    return [round((number + 1) * layers / count) - 1 for number in range(count)]


def write_recipes(work: Path, recipes: Mapping[str, Mapping[str, Any]]) -> None:
    """Write each to `NAME.yaml`, with how to run it again at the top.

    Raises `ValueError` for one that is there and is another.
    """
    for name, values in recipes.items():
        path = work / f"{name}.yaml"
        command = "data build" if values["kind"] == "corpus" else "distill"
        lines = ["# Written by `retort fit`. To change it and run it again:"]
        if values.get("teachers"):
            lines.append(f"#   retort label {path}")
        lines.append(f"#   retort {command} {path}" + ("" if command != "distill" else " out=NEW"))
        text = "\n".join([*lines, yaml.safe_dump(dict(values), sort_keys=False, width=100)])
        if path.is_file() and path.read_text(encoding="utf-8") != text:
            raise ValueError(
                f"{path} is not as `retort fit` writes it. To run what you changed, use the "
                "commands at its top; to let `retort fit` go on, remove it"
            )
        parse_recipe(dict(values), str(path))
        path.write_text(text, encoding="utf-8")
