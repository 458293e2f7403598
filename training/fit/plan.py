"""The plan of a fit: what was asked for, checked, and kept with the work.

A plan that is begun stays as it is: other arguments need a work folder of their own, as half of the
work would be of one plan and half of another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from retort.models.bundle import find_bundle
from retort.models.manifest import MANIFEST_FILE
from retort.training.nn.backbone import is_bundle
from retort.training.recipes.contradictions import Contradictions
from retort.training.recipes.corpus import FileLayout
from retort.training.recipes.kinds import find_kind, kind_fault
from retort.training.recipes.parts.teacher import TeacherRef
from retort.training.teachers.scoring.scorer import MODEL, parse

PLAN_FILE = "plan.json"
SHIPPED = "retort-small"
DISTILLED, LABELS_ALONE = "distilled", "labels alone"
TOGETHER = "teachers together"


class FitPlan(BaseModel):
    """Everything that a fit follows from.

    `digests` are those of the files that are read. `minutes` is how long labelling and training may
    take; `epochs` are passes over the labelled pairs. `layout`, `relevant` and `contradictions` say
    how labels are read, as for `retort data divide`. `labels_alone` trains a student without
    teachers too, for where those know less than the labels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    teachers: tuple[TeacherRef, ...] = ()
    out: Path
    work: Path
    init: str
    seed: int
    epochs: float = Field(gt=0)
    minutes: float | None = Field(None, gt=0)
    measure: str | None = None
    layout: FileLayout = FileLayout()
    relevant: float | None = Field(None, gt=0)
    contradictions: Contradictions
    questions: tuple[str, ...] = ()
    passages: tuple[str, ...] = ()
    labels_alone: bool
    digests: dict[str, str] = {}

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self.out.resolve().name

    @property
    def students(self) -> dict[str, Path]:
        """The students that are trained: their checkpoints by what they learn from."""
        found = {DISTILLED: self.work / "distilled" / "student"} if self.teachers else {}
        if self.labels_alone or not self.teachers:
            found[LABELS_ALONE] = self.work / "labels-alone" / "student"
        return found

    @property
    def served(self) -> str | None:
        """The bundle that the new one is compared with: `init` if it is one, or what ships."""
        return next((name for name in (self.init, SHIPPED) if is_bundle(name)), None)

    def keep(self) -> None:
        """Write the plan to its work folder. Raises `ValueError` if another was begun there."""
        self.refuse_other()
        self.work.mkdir(parents=True, exist_ok=True)
        text = self.model_dump_json(indent=1) + "\n"
        (self.work / PLAN_FILE).write_text(text, encoding="utf-8")

    def refuse_other(self) -> None:
        """Raise `ValueError` if another plan was begun in the work folder."""
        path = self.work / PLAN_FILE
        if path.is_file():
            begun = FitPlan.model_validate_json(path.read_text(encoding="utf-8"))
            changes = [
                f"{field} is {_shown(now)}, and was {_shown(then)}"
                for field, now, then in (
                    (field, getattr(self, field), getattr(begun, field))
                    for field in FitPlan.model_fields
                )
                if now != then
            ]
            if changes:
                raise ValueError(
                    f"{self.work} was begun with other arguments: {'; '.join(changes)}. Repeat "
                    "those to go on there, or give --work another folder"
                )


def check(plan: FitPlan) -> None:
    """Raise `ValueError` for what cannot work, before any of it is begun."""
    names = [teacher.name for teacher in plan.teachers]
    taken = [plan.name, DISTILLED, LABELS_ALONE, TOGETHER, *([plan.served] if plan.served else [])]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two teachers are called {name}: name them, as in --teacher a=PLACE")
        if name in taken:
            raise ValueError(
                f"a teacher is called {name}, as another ranker of the report is: name it, as in "
                "--teacher a=PLACE"
            )
    for name in (plan.init, SHIPPED):
        if is_bundle(name) and find_bundle(name).resolve() == plan.out.resolve():
            raise ValueError(
                f"--out {plan.out} is {name}, which the new bundle is compared with: give another"
            )
    for option, folder in (("--out", plan.out), ("--work", plan.work)):
        if folder.is_file():
            raise ValueError(f"{option} {folder} is a file: give a folder")
    if plan.out.is_dir() and not (plan.out / MANIFEST_FILE).is_file() and any(plan.out.iterdir()):
        raise ValueError(f"--out {plan.out} holds files but no bundle: give a new folder")
    if (plan.questions or plan.passages) and not plan.teachers:
        raise ValueError("questions and passages have no labels: only a --teacher can use them")


def teacher_refs(specs: Sequence[str]) -> tuple[TeacherRef, ...]:
    """Teachers from `[NAME=][KIND:]PLACE[#OPTION=VALUE]`; without a kind it is found at the place.

    Raises `ValueError` for a place where nothing is, and for one of another kind.
    """
    refs = []
    for text in specs:
        spec = parse(text)
        kind = _kind(spec.path) if spec.kind == MODEL else spec.kind
        if kind == "given":
            raise ValueError(
                f"--teacher {text}: scores in a file are for a recipe: it has a column"
            )
        if fault := kind_fault(kind, spec.path):
            raise ValueError(f"--teacher {text}: {fault}")
        values = {"name": spec.name, "path": spec.path, "kind": kind, "output": spec.output}
        refs.append(TeacherRef.model_validate({**values, "http": spec.http}))
    return tuple(refs)


def _kind(place: str) -> str:
    found = find_kind(place) or ("bundle" if is_bundle(place) else None)
    if found is None:
        raise ValueError(
            f"{place}: {'no teacher is in it' if Path(place).is_dir() else 'no such folder'}. If "
            "you know of which kind it is, or if it is a name on the Hugging Face hub, write the "
            f"kind: --teacher hub-cross-encoder:{place} or --teacher bi-encoder:{place}"
        )
    return found


def digest(path: Path) -> str:
    """16 hex digits of a file's content."""
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()


def digests(places: Sequence[str]) -> dict[str, str]:
    """Of those places that are files."""
    return {place: digest(Path(place)) for place in places if Path(place).is_file()}


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_shown, value)) or "none"
    if isinstance(value, TeacherRef):
        return f"{value.kind}:{value.path}"
    return "none" if value is None else str(value)
