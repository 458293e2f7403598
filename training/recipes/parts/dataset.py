"""A data set of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from retort.training.recipes.parts.common import NAME, Part
from retort.training.recipes.parts.stage import Stage
from retort.training.recipes.parts.teacher import TeacherRef


class Dataset(Part):
    """Teachers, tables and evaluation sets that belong together.

    `ensemble` need not be all teachers: weak ones that are there for one method alone would lower
    the standard that students are compared with.
    """

    name: str = Field(pattern=NAME, description="Its name: a folder.")
    teachers: list[TeacherRef] = Field([], description="The teachers, as for a student.")
    best: str | None = Field(
        None, description="The teacher of rows with one teacher; choose it on validation data."
    )
    ensemble: list[str] | None = Field(
        None, description="The teachers whose mean students are compared with; none for all."
    )
    measure: Path | list[Path] = Field(
        description="Folder, or folders, of the evaluation sets that are reported."
    )
    choose: Path | list[Path] = Field(
        description="Of those that calibrate and choose; the first set calibrates."
    )
    stages: dict[str, Stage] = Field(
        min_length=1, description="Stages by name, each as for a student."
    )
    task: str | None = Field(
        None, description="The student that a row of several tasks leaves for this data set."
    )
    student: dict[str, Any] = Field(
        {}, description="Fields of the study's student that differ here."
    )

    @property
    def measure_folders(self) -> list[Path]:
        """Folders of the sets that are reported."""
        return self.measure if isinstance(self.measure, list) else [self.measure]

    @property
    def choose_folders(self) -> list[Path]:
        """Folders of the sets that calibrate and choose; the first set calibrates."""
        return self.choose if isinstance(self.choose, list) else [self.choose]

    @property
    def together(self) -> list[TeacherRef]:
        """The teachers of the ensemble."""
        return self.chosen("all" if self.ensemble is None else self.ensemble)

    def chosen(self, wanted: str | list[str]) -> list[TeacherRef]:
        """The teachers a row asks for. Raises `ValueError` for one that is not there."""
        if wanted == "all":
            return list(self.teachers)
        if wanted == "best":
            if self.best is None:
                raise ValueError(f"{self.name}: a row asks for the best teacher: name it in best:")
            wanted = [self.best]
        by_name = {teacher.name: teacher for teacher in self.teachers}
        unknown = [name for name in wanted if name not in by_name]
        if unknown:
            raise ValueError(
                f"{self.name}: no teacher {', '.join(unknown)}: there are "
                f"{', '.join(by_name) or 'none'}"
            )
        return [by_name[name] for name in wanted]
