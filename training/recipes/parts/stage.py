"""A stage of a student's training: its pairs, its losses, its optimiser."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from retort.training.recipes.parts.common import Length, Optimiser, Part


class Stage(Part):
    """One pass over a table, with the weights of its losses (`alpha` as in TMKD, equation 5)."""

    table: Path = Field(description="The pairs.")
    sources: list[str] | None = Field(
        None, description="Only pairs of these sources; none for all."
    )
    limit: int | None = Field(
        None, ge=1, description="A sample of so many pairs, of whole queries; none for all."
    )
    skip: int | None = Field(
        None, ge=1, description="Leave out the sample that a `limit` of this size draws."
    )
    alpha: float = Field(
        1.0, ge=0, le=1, description="Weight of soft labels; 1 − alpha is that of hard labels."
    )
    listwise: float = Field(
        0.0, ge=0, description="Weight of InfoNCE within a query, added to the golden head's loss."
    )
    hidden: float = Field(0.0, ge=0, description="Weight of the loss on `[CLS]` vectors.")
    match: Literal["scores", "states"] = Field(
        "scores",
        description="states: match the teacher's states and attention (meta-kd, tinybert).",
    )
    optimiser: Optimiser = Field(Optimiser(), description="How it is trained.")
    length: Length = Field(Length(), description="How long a pair may be.")
