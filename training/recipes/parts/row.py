"""A row of a study."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from retort.training.recipes.parts.common import NAME, Part


class Published(Part):
    """A paper's own figure, to print next to ours."""

    set: str = Field(description="The evaluation set.")
    value: float = Field(description="The figure.")
    note: str = Field("", description="On what data, with which teachers.")


class Row(Part):
    """One line of the table: a method, with everything that differs from the study's common plan.

    `figures` fills `options.figures` with figures of this study, measured on the sets that choose:
    `teachers` takes each teacher's own; a row's name with `{teacher}` in it, as in
    `1-o-1-{teacher}`, takes those of the students of each teacher alone, with the same seed.
    """

    name: str = Field(pattern=NAME, description="Its name: a folder.")
    label: str = Field("", description="What reports call it; its name if empty.")
    method: str = Field(description="One of `retort methods`.")
    paper: str = Field("", description="Whose method it is.")
    stages: list[str] = Field(min_length=1, description="Names of the data sets' stages.")
    stage: dict[str, Any] = Field(
        {},
        description="Fields of all its stages that differ, as "
        "`{alpha: 0.5, optimiser: {epochs: 2}}`.",
    )
    options: dict[str, Any] = Field({}, description="The method's own settings.")
    teachers: Literal["best", "all"] | list[str] = Field(
        "all", description="Which of the data sets' teachers."
    )
    datasets: list[str] | None = Field(None, description="The data sets it runs on; none for all.")
    student: dict[str, Any] = Field({}, description="Fields of the student that differ.")
    seeds: list[int] | None = Field(None, description="Its own seeds; none for the study's.")
    joint: bool = Field(False, description="One distillation for all its data sets.")
    figures: str | None = Field(
        None,
        description="Fill `options.figures` from the study: `teachers`, or a row's name with "
        "`{teacher}` in it.",
    )
    published: list[Published] = Field([], description="The paper's figures, printed next to ours.")

    @property
    def title(self) -> str:
        """The row's name in tables."""
        return self.label or self.name

    @property
    def school(self) -> str:
        """Whose method it is: the paper, or the method where no paper is named."""
        return self.paper or self.method
