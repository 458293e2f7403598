"""What recipes of several kinds have in common: how long a pair is, how a model is trained."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from retort.models.encoding import Truncation
from retort.training.recipes.mistakes import refuse

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # a name that a folder may have


class Part(BaseModel):
    """A part of a recipe: no field but its own, and none that changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Length(Part):
    """How long a pair may be, in tokens."""

    max_length: int = Field(128, ge=8, le=512, description="Tokens of a pair.")
    max_query_tokens: int = Field(48, ge=1, description="Tokens of its query.")

    @property
    def truncation(self) -> Truncation:
        """The same, as pairs are encoded by."""
        return Truncation(self.max_length, self.max_query_tokens)

    @model_validator(mode="after")
    def _leaves_the_passage_room(self) -> Self:
        try:
            self.truncation  # noqa: B018  (it checks itself)
        except ValueError as error:
            refuse([("max_query_tokens", str(error))])
        return self


class Optimiser(Part):
    """AdamW with linear warm-up and decay to zero."""

    lr: float = Field(5e-5, gt=0, description="Learning rate at its peak.")
    weight_decay: float = Field(0.01, ge=0, description="Weight decay.")
    warmup: float = Field(
        0.06, ge=0, lt=1, description="Share of the steps in which the learning rate rises."
    )
    epochs: float = Field(1.0, gt=0, description="Passes over the pairs; a fraction is allowed.")
    batch_pairs: int = Field(64, ge=1, description="Pairs per step.")
    batch_tokens: int | None = Field(
        None, ge=1, description="Tokens per step, in place of `batch_pairs`."
    )
    clip: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    freeze_words: bool = Field(True, description="Word embeddings stay as they are.")
    precision: Literal["auto", "bf16", "no", "fp16"] = Field(
        "auto",
        description="Precision of training; no is fp32, auto is bf16 where the device has it.",
    )
    compile: bool = Field(
        False, description="Make one program of a step first: a minute, which pays on a GPU."
    )
