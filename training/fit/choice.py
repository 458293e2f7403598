"""The choice: which of a fit's students becomes the bundle, by the queries that choose.

A teacher that knows less of one's own pairs than their labels do makes a worse student than labels
alone. Those queries are neither learned from nor measured, so the report's figures stay honest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from retort.training.data.evaluation_set import EvaluationSet
from retort.training.evaluate.evaluation import point_values
from retort.training.teachers.systems import score_sets


class Choice(BaseModel):
    """The student that was chosen, and all students' figures by name, on so many queries."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    student: str
    measure: str
    queries: int
    figures: dict[str, float]

    @property
    def text(self) -> str:
        """The choice in words."""
        figures = ", ".join(f"{name} {value:.4f}" for name, value in self.figures.items())
        return (
            f"taken is the student {self.student}: on the {self.queries} queries that choose, "
            f"{self.measure} is {figures}"
        )


def choose(
    students: Mapping[str, Path], items: EvaluationSet, log: Callable[[str], None]
) -> Choice:
    """The best of the checkpoints by the headline of `items`; of equals the first."""
    scores, _ = score_sets(
        {name: str(folder) for name, folder in students.items()}, [items], log=log
    )
    figures = {
        name: point_values(items, by_set[items.name])[items.headline]
        for name, by_set in scores.items()
    }
    return Choice(
        student=max(figures, key=lambda name: figures[name]),
        measure=items.headline,
        queries=len(set(items.query_ids)),
        figures=figures,
    )
