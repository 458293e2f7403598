"""The run of a fit: from a file of pairs to a bundle that is measured, step after step.

divide → try → tables → label → distilled and labels alone → export the better → measure

Each step is what a command of its own does (`retort data divide`, `data build`, `label`, `distill`,
`export`, `evaluate`), by a recipe in the work folder. A run that was killed goes on at the step it
was in, which itself goes on from its last checkpoint or block of scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retort.training.data.corpus import build_corpus
from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.leaks import HeldOut
from retort.training.data.readers.rows import BadRows, DataError
from retort.training.data.table import PairTable, table_counts, write_table
from retort.training.export.bundling import BundleSpec, build_bundle
from retort.training.export.parity import ParityError
from retort.training.export.storage import Storage
from retort.training.fit.choice import Choice, choose
from retort.training.fit.material import Material, Read, read_material
from retort.training.fit.plan import DISTILLED, PLAN_FILE, TOGETHER, FitPlan, check
from retort.training.fit.recipes import corpus_recipes, recipe_name, student_recipes, write_recipes
from retort.training.fit.report import FitReport, make_report
from retort.training.fit.speeds import Speeds, measure_speeds
from retort.training.fit.steps import Steps
from retort.training.labels.label import label_recipe
from retort.training.methods.distill import distill
from retort.training.nn.student import load_student
from retort.training.recipes.corpus import CorpusRecipe
from retort.training.recipes.distill import DistillRecipe
from retort.training.recipes.load import load_recipe
from retort.training.recipes.methods import METHODS
from retort.training.teachers.scorers import load_scorer
from retort.training.teachers.scoring.bi_encoder import load_embedder
from retort.training.teachers.scoring.scorer import MODEL, Reference, Spec
from retort.training.teachers.systems import members_mean, read_scores, write_scores

Log = Callable[[str], None]

SPEEDS_FILE, CHOICE_FILE = "speeds.json", "choice.json"
STORAGES: tuple[Storage, ...] = ("int8", "fp16")
# Seconds that a step takes however few the pairs: imports, indexes, graphs.
TABLES_SECONDS, EXPORT_SECONDS = 15.0, 20.0
# Scoring compared with training, of one model.
FASTER = 3.0
# Fewer candidates than this are no stage of their own, where time is short.
MIN_CANDIDATES = 200
MIN_EPOCHS = 0.1


@dataclass(frozen=True, slots=True)
class Amount:
    """What the student reads: a `limit` of candidates (None for all, 0 for none), and epochs."""

    limit: int | None
    epochs: float


def fit(plan: FitPlan, read: Read, log: Log) -> FitReport:
    """Run all steps that are not done yet, and report; `read` gives the pairs of a source.

    Raises `ValueError` for a plan that cannot work, before it begins anything, and as the steps do.
    """
    check(plan)
    plan.refuse_other()
    steps = Steps(plan.work, 5 + bool(plan.teachers) + len(plan.students), log)
    detail: Log = lambda text: log(f"      {text}")  # noqa: E731
    material = read_material(plan, read, detail)
    plan.work.mkdir(parents=True, exist_ok=True)
    counts = count_parts(material)
    log(", ".join(f"{part} {pairs:,} pairs" for part, (pairs, _) in counts.items()))
    steps.run(
        "divide",
        f"writing the parts to {plan.work}",
        lambda: material.write(plan.work),
        made=plan.work / PLAN_FILE,
    )
    run = _Run(plan, material, steps, detail)
    speeds = run.try_models()
    labelled, candidates = run.build_tables()
    run.train(speeds, labelled, candidates)
    run.export(speeds)
    scores = run.measure(speeds)
    choice = Choice.model_validate_json((plan.work / CHOICE_FILE).read_text(encoding="utf-8"))
    return make_report(plan, choice, material.parts.measure, scores, counts, steps.seconds)


@dataclass(frozen=True, slots=True)
class _Run:
    """The steps of a fit whose material is read."""

    plan: FitPlan
    material: Material
    steps: Steps
    log: Log

    def try_models(self) -> Speeds:
        plan, path = self.plan, self.plan.work / SPEEDS_FILE
        self.steps.run(
            "try",
            "loading teachers and student, and timing them on a few pairs",
            lambda: _begin(plan, measure_speeds(plan, self.material.parts.train, self.log)),
            expected=10.0 * (1 + len(plan.teachers)),
            made=path,
        )
        return Speeds.model_validate_json(path.read_text(encoding="utf-8"))

    def build_tables(self) -> tuple[int, int]:
        """How many labelled pairs and candidates the tables hold."""
        work, tables = self.plan.work, corpus_recipes(self.plan, self.material)
        write_recipes(work, tables)
        self.steps.run(
            "tables",
            "finding wrong passages and candidates for the queries by BM25",
            lambda: _build([work / f"{name}.yaml" for name in tables], self.material, self.log),
            expected=TABLES_SECONDS,
            made=work / f"{[*tables][-1]}.parquet",
        )
        return _pairs(work / "pairs.parquet"), _pairs(work / "candidates.parquet")

    def train(self, speeds: Speeds, labelled: int, candidates: int) -> None:
        """Label, and train each student, as much as the plan's minutes allow."""
        plan, work = self.plan, self.plan.work
        amount = within(plan, speeds, labelled, candidates)
        students = student_recipes(plan, speeds.layers, speeds.length, amount.limit, amount.epochs)
        write_recipes(work, students)
        recipes = {name: _distill_recipe(work / f"{name}.yaml") for name in students}
        soft = candidates if amount.limit is None else amount.limit
        if plan.teachers:
            self.steps.run(
                "label",
                f"{', '.join(t.name for t in plan.teachers)} scoring {labelled + soft:,} pairs",
                lambda: label_recipe(recipes[recipe_name(DISTILLED)], (), self.log),
                expected=speeds.label_seconds(labelled + soft),
            )
        for student, checkpoint in plan.students.items():
            own = soft if student == DISTILLED else 0
            self.steps.run(
                student,
                f"a student learns from {_times(own, amount.epochs, labelled)}",
                partial(distill, recipes[recipe_name(student)], self.log),
                expected=speeds.train_seconds(own + amount.epochs * labelled),
                made=checkpoint,
            )

    def export(self, speeds: Speeds) -> None:
        plan, pairs = self.plan, len(self.material.held_out)
        self.steps.run(
            "export",
            f"writing {plan.out}, and holding its graph against the student",
            lambda: _export(plan, self.material, self.log),
            expected=EXPORT_SECONDS + 3 * speeds.train_seconds(pairs) / FASTER,
            made=plan.out,
        )

    def measure(self, speeds: Speeds) -> dict[str, NDArray[np.float64]]:
        """The scores (pairs,) of all rankers, by name, of the pairs that are measured."""
        plan, measured = self.plan, self.material.parts.measure
        pairs = len(measured.pairs)
        self.steps.run(
            "measure",
            f"all rankers on {pairs:,} pairs",
            lambda: _score(plan, measured),
            expected=EXPORT_SECONDS
            + speeds.label_seconds(pairs)
            + 2 * speeds.train_seconds(pairs) / FASTER,
            made=plan.work / "scored",
        )
        return {name: read_scores(_kept(plan.work, name))[measured.name] for name in names_of(plan)}


def count_parts(material: Material) -> dict[str, tuple[int, int]]:
    """Pairs and queries of each part."""
    parts = {
        "train": material.parts.train,
        "unlabelled": material.unlabelled,
        "choose": material.parts.choose.pairs,
        "measure": material.parts.measure.pairs,
    }
    return {
        name: (len(pairs), len({pair.query_key for pair in pairs}))
        for name, pairs in parts.items()
        if pairs
    }


def within(plan: FitPlan, speeds: Speeds, labelled: int, candidates: int) -> Amount:
    """How much is read of so many labelled pairs and candidates in `plan.minutes`.

    The labelled pairs come first; candidates get what time is left.
    """
    if plan.minutes is None or not labelled:
        return Amount(None if candidates else 0, plan.epochs)
    seconds, students = 60 * plan.minutes, len(plan.students)
    label, train = speeds.label_seconds(1), speeds.train_seconds(1)
    left = seconds - labelled * (label + students * plan.epochs * train)
    if left <= 0:
        epochs = (seconds / labelled - label) / (students * train)
        return Amount(0, round(min(plan.epochs, max(MIN_EPOCHS, epochs)), 2))
    limit = int(left / (label + train))
    if limit >= candidates:
        return Amount(None if candidates else 0, plan.epochs)
    return Amount(limit if limit >= MIN_CANDIDATES else 0, plan.epochs)


def rankers_of(plan: FitPlan) -> dict[str, Reference]:
    """The rankers of the report by name: the bundles, the students, the teachers."""
    places = {plan.name: str(plan.out)}
    if plan.served is not None:
        places[plan.served] = plan.served
    places |= {student: str(checkpoint) for student, checkpoint in plan.students.items()}
    rankers: dict[str, Reference] = {
        name: Spec(name, MODEL, place) for name, place in places.items()
    }
    return rankers | {teacher.name: teacher for teacher in plan.teachers}


def names_of(plan: FitPlan) -> list[str]:
    """The rankers of the report, and the mean of several teachers."""
    return [*rankers_of(plan), *([TOGETHER] if len(plan.teachers) > 1 else [])]


def _times(soft: int, epochs: float, labelled: int) -> str:
    pairs = f"{labelled:,} labelled pairs, {epochs:g} times"
    return f"{soft:,} candidates once, and from {pairs}" if soft else pairs


def _begin(plan: FitPlan, speeds: Speeds) -> None:
    # Only a plan whose teachers and student were tried is kept: after a mistake in an argument, the
    # command is given again with another.
    plan.keep()
    (plan.work / SPEEDS_FILE).write_text(speeds.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _build(paths: Sequence[Path], material: Material, log: Log) -> None:
    for path in paths:
        recipe = load_recipe(path, [])
        assert isinstance(recipe, CorpusRecipe)
        place = recipe.dense_teacher
        embedder = None if place is None else load_embedder(place)
        try:
            table = build_corpus(recipe, None, BadRows(), log, embedder)
        except DataError as error:
            log(f"nothing is mined, and what is there is used: {error}")
            table = _unmined(recipe, log)
        HeldOut(material.held_out).check(table.pairs, str(recipe.out))
        write_table(recipe.out, table)


def _unmined(recipe: CorpusRecipe, log: Log) -> PairTable:
    if not recipe.labelled:
        return PairTable((), ())
    alone = recipe.model_copy(update={"positives": [], "questions": None})
    return build_corpus(alone, None, BadRows(), log)


def _distill_recipe(path: Path) -> DistillRecipe:
    recipe = load_recipe(path, [])
    assert isinstance(recipe, DistillRecipe)
    return recipe


def _pairs(table: Path) -> int:
    return sum(count["pairs"] for count in (table_counts(table) or {}).values())


def _export(plan: FitPlan, material: Material, log: Log) -> None:
    """The student that is chosen, as int8, or as fp16 where int8 does not rank as it does."""
    choice = choose(plan.students, material.parts.choose, log)
    (plan.work / CHOICE_FILE).write_text(choice.model_dump_json(indent=1), encoding="utf-8")
    if len(choice.figures) > 1:
        log(choice.text)
    loaded = load_student(plan.students[choice.student])
    spec = BundleSpec(name=plan.name, version="0.1.0", methods=_methods(plan, choice.student))
    for storage in STORAGES:
        try:
            build_bundle(
                plan.out,
                loaded.student,
                loaded.tokenizer_path,
                loaded.truncation,
                material.held_out,
                replace(spec, storage=storage),
                calibration=[material.parts.choose.pairs],
                log=log,
            )
        except ParityError as error:
            if storage == STORAGES[-1]:
                raise
            log(f"{storage} does not rank as the student does, so it is not taken: {error}")
        else:
            return


def _methods(plan: FitPlan, student: str) -> tuple[str, ...]:
    method = _distill_recipe(plan.work / f"{recipe_name(student)}.yaml").method
    return () if METHODS[method].labels_alone else (method.upper(),)


def _score(plan: FitPlan, items: EvaluationSet) -> None:
    scores = {
        name: np.asarray(load_scorer(reference).score(items.pairs), np.float64)
        for name, reference in rankers_of(plan).items()
    }
    if len(plan.teachers) > 1:
        members = [{items.name: scores[teacher.name]} for teacher in plan.teachers]
        scores[TOGETHER] = members_mean(members, [items.name])[items.name]
    for name, values in scores.items():
        write_scores(_kept(plan.work, name), {items.name: values})


def _kept(work: Path, name: str) -> Path:
    return work / "scored" / f"{name.replace('/', '-')}.npz"
