"""Recipes of kind `distill`: a student, its teachers, and the stages of its training."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from retort.training.recipes.method_checks import method_mistakes
from retort.training.recipes.methods import METHODS, UNTAUGHT, OneOptions
from retort.training.recipes.mistakes import Mistake, refuse
from retort.training.recipes.parts.common import Part
from retort.training.recipes.parts.stage import Stage
from retort.training.recipes.parts.student import StudentPlan
from retort.training.recipes.parts.teacher import TeacherRef


class DistillRecipe(Part):
    """A student distilled from teachers by a method, stage after stage."""

    kind: Literal["distill"] = Field(description="What the recipe makes.")
    name: str = Field(description="The student's name.")
    method: str = Field("tmkd", description="One of `retort methods`.")
    options: dict[str, Any] = Field({}, description="The method's own settings.")
    seed: int = Field(1, description="Seed of every random choice.")
    out: Path = Field(description="The run's folder; the student is its `student`.")
    store: Path = Field(description="The score store.")
    teachers: list[TeacherRef] = Field([], description="The teachers.")
    student: StudentPlan = Field(StudentPlan(), description="The student's shape.")
    stages: list[Stage] = Field(min_length=1, description="The passes of training, in order.")
    checkpoint_steps: int = Field(
        200, ge=1, description="Steps between checkpoints, from which a killed run resumes."
    )

    @property
    def hidden_teacher(self) -> TeacherRef | None:
        """The teacher whose hidden states are kept, if there is one."""
        return next((teacher for teacher in self.teachers if teacher.hidden), None)

    @property
    def read_teachers(self) -> list[TeacherRef]:
        """The teachers whose scores the method reads.

        A method of one teacher reads the one that `options.teacher` names, or the first; one of
        labels alone reads none, and `infonce` none where no stage has an alpha.
        """
        if METHODS[self.method].options is OneOptions:
            named = self.options.get("teacher")
            return [t for t in self.teachers if named in (None, t.name)][:1]
        if self.method in (UNTAUGHT, "infonce") and not any(stage.alpha for stage in self.stages):
            return []
        return self.teachers

    def members(self) -> list[DistillRecipe]:
        """The recipes that are trained: one per teacher for m-o-m, else this one alone.

        A member is a student by 1-o-1, or by TKD after a stage 1, in `out/members/<teacher>`.
        """
        if not METHODS[self.method].member_per_teacher:
            return [self]
        return [
            self.model_copy(
                update={
                    "method": "tkd" if self.stages[0].alpha == 1.0 else "1-o-1",
                    "options": {},
                    "name": f"{self.name}-{teacher.name}",
                    "teachers": [teacher],
                    "out": self.out / "members" / teacher.name,
                }
            )
            for teacher in self.teachers
        ]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        refuse(
            chain(
                self._column_mistakes(),
                self._hidden_mistakes(),
                method_mistakes(
                    self.method, self.options, self.teachers, self.stages, self.student
                ),
            )
        )
        return self

    def _column_mistakes(self) -> Iterator[Mistake]:
        for number, teacher in enumerate(self.teachers):
            if (teacher.kind == "given") != (teacher.column is not None):
                yield (
                    f"teachers.{number}.column",
                    f"{teacher.name} is of kind {teacher.kind}: a teacher of kind given needs a "
                    "column, and no other has one",
                )

    def _hidden_mistakes(self) -> Iterator[Mistake]:
        keeping = [teacher.name for teacher in self.teachers if teacher.hidden]
        for number, teacher in enumerate(self.teachers):
            if teacher.hidden and teacher.kind not in (None, "cross-encoder"):
                yield (
                    f"teachers.{number}.hidden",
                    f"{teacher.name} is a {teacher.kind}; only a cross-encoder has hidden states",
                )
        if len(keeping) > 1:
            yield (
                "teachers",
                f"hidden states of {', '.join(keeping)}: one teacher's can be matched; set "
                "hidden for one alone",
            )
        for number, stage in enumerate(self.stages):
            if stage.hidden and not keeping:
                yield (
                    f"stages.{number}.hidden",
                    f"a hidden loss of weight {stage.hidden}, but no teacher says `hidden: true`",
                )
