"""The manifest: a bundle's description of itself, and the hashes of its files.

`manifest.json` is this model as JSON. Unknown fields are refused, and so is a `schema_version`
other than `SCHEMA_VERSION`: a server must not guess what a newer exporter meant.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from retort.models.answerability import Answerability
from retort.models.encoding import Truncation
from retort.models.errors import InvalidManifest, UnknownSchema, mistakes
from retort.models.layout import INPUTS, Input, PairLayout
from retort.models.scores import Calibration, Scores, combine

SCHEMA_VERSION: Literal[1] = 1
MANIFEST_FILE = "manifest.json"
INTERMEDIATE = 4  # width of a dense layer, in widths of the encoder

# No tensor has a larger axis, and every number of it fits into a metric.
Count = Annotated[int, Field(ge=1, lt=2**31)]
# Before a server is ready it runs every length once, so a longer pair would keep it from starting.
LONGEST_PAIR_TOKENS = 32_768


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Architecture(_Value):
    """The encoder's size; `vocabulary` counts tokens.

    For an ensemble, `layers` counts those of all its `encoders` together: what a pair costs.
    `trimmed` says that the last layer of each encoder is computed for `[CLS]` alone.
    """

    encoders: Count = Field(1, exclude_if=lambda count: count == 1)
    layers: Count
    width: Count
    attention_heads: Count
    vocabulary: Count
    trimmed: bool = Field(False, exclude_if=lambda value: not value)


class HeadInfo(_Value):
    """One column of the logits; `teacher` is the one it imitates, None for the golden head."""

    name: str
    kind: Literal["golden", "soft"]
    teacher: str | None = None


class WeightPrecision(_Value):
    """How the weights are stored in the graph, and the arithmetic they are multiplied in."""

    storage: Literal["int8", "fp16", "fp32"]
    compute: Literal["fp32", "fp16", "bf16"] = "fp32"


class DataSource(_Value):
    """A data set the student learned from, and the licence it came under."""

    name: str
    licence: str


class Figure(_Value):
    """A measured value with its 95% interval and the number of queries or pairs behind it."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    note: str = ""


class Agreement(_Value):
    """The share of queries on which student and teacher put the same passage first.

    `top1` with its 95% interval over `queries` held-out queries, when the student was exported:
    the level that a live agreement is held against.
    """

    teacher: str
    top1: Annotated[float, Field(ge=0, le=1)]
    low: float | None = None
    high: float | None = None
    queries: Count


class ParityBounds(_Value):
    """What an exported graph must reach compared with the PyTorch student."""

    top1_agreement: float
    kendall_tau: float
    max_score_difference: float
    ndcg_change: float


class Parity(_Value):
    """What it reached, on `pairs` held-out pairs of `queries` queries."""

    pairs: int
    queries: int
    top1_agreement: float
    kendall_tau: float
    max_score_difference: float
    ndcg_change: float
    bounds: ParityBounds

    def failures(self) -> list[str]:
        """One sentence for every bound that was missed, with the value and the bound."""
        bounds, difference = self.bounds, self.max_score_difference
        checks = [
            ("top-1 agreement", self.top1_agreement, "at least", bounds.top1_agreement),
            ("Kendall tau", self.kendall_tau, "at least", bounds.kendall_tau),
            ("largest score difference", difference, "at most", bounds.max_score_difference),
            ("change in nDCG@10", abs(self.ndcg_change), "at most", bounds.ndcg_change),
        ]
        return [
            f"{name} is {value:.4f}, the bound is {word} {bound}"
            for name, value, word, bound in checks
            if (value < bound if word == "at least" else value > bound)
        ]


class Range(_Value):
    """The smallest, the usual and the largest size of one axis."""

    min: Count
    opt: Count
    max: Count

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.min <= self.opt <= self.max:
            raise ValueError(f"min {self.min}, opt {self.opt}, max {self.max} are not in order")
        return self


class ShapeProfile(_Value):
    """Shapes (batch, sequence) that TensorRT builds one engine for."""

    batch: Range
    sequence: Range


class Manifest(_Value):
    """A bundle's description. `files` maps each other file to its sha256 and is filled on writing.

    A score is `combine` over the heads: the mean of `sigmoid(logit)` (TMKD, equation 6), and then
    `calibration`, if there is one. `answerability` makes scores of a list the probability that any
    of its passages answers.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    version: str
    created: str
    files: dict[str, str] = Field(default_factory=dict)
    architecture: Architecture
    truncation: Truncation
    # Left out where pairs are laid out as BERT's, so that a release without the field can read it.
    layout: PairLayout | None = Field(None, exclude_if=lambda value: value is None)
    heads: Annotated[tuple[HeadInfo, ...], Field(min_length=1)]
    combine: Literal["mean_sigmoid"] = "mean_sigmoid"
    calibration: Calibration | None = Field(None, exclude_if=lambda value: value is None)
    answerability: Answerability | None = Field(None, exclude_if=lambda value: value is None)
    # Of a cross-encoder that came from elsewhere: what its own library makes of the logit.
    activation: str | None = Field(None, exclude_if=lambda value: value is None)
    precision: WeightPrecision
    methods: tuple[str, ...] = ()
    data: tuple[DataSource, ...] = ()
    quality: dict[str, Figure] = Field(default_factory=dict)
    parity: Parity | None = None
    # What the graph reached in precisions other than float32, where measured.
    lower_parity: dict[str, Parity] = Field(
        default_factory=dict, exclude_if=lambda value: not value
    )
    # Left out where there is none, so that a release without the field can read the rest.
    agreement: Agreement | None = Field(None, exclude_if=lambda value: value is None)
    shape_profiles: tuple[ShapeProfile, ...] = ()

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What the graph takes, by name."""
        return INPUTS if self.layout is None else self.layout.inputs

    def scores(self, logits: ArrayLike) -> Scores:
        """The scores of logits (pairs, heads), calibrated."""
        return combine(logits, self.calibration)

    @field_validator("created")
    @classmethod
    def _iso(cls, value: str) -> str:
        datetime.fromisoformat(value)
        return value

    @field_validator("truncation")
    @classmethod
    def _runnable(cls, value: Truncation) -> Truncation:
        if value.max_length > LONGEST_PAIR_TOKENS:
            raise ValueError(f"max_length is {value.max_length}, at most {LONGEST_PAIR_TOKENS}")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.layout is not None:
            self.truncation.check(self.layout)
            if (last := max(self.layout.special_ids)) >= self.architecture.vocabulary:
                raise ValueError(
                    f"the layout has a token with id {last}, and the graph knows "
                    f"{self.architecture.vocabulary} tokens"
                )
        return self

    def to_json(self) -> str:
        """The text of `manifest.json`."""
        return self.model_dump_json(indent=2) + "\n"


def parse_manifest(path: Path, content: bytes) -> Manifest:
    """The manifest whose file, at `path`, has this content.

    Raises `UnknownSchema` or `InvalidManifest`.
    """
    try:
        raw = json.loads(content.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(path, f"not JSON in UTF-8 ({error})") from None
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version is not None and version != SCHEMA_VERSION:
        raise UnknownSchema(
            path,
            f"schema_version is {version!r}, this release reads {SCHEMA_VERSION}: "
            "export the bundle again, or serve it with the release that wrote it",
        )
    try:
        # Strict: a text that looks like a number is none.
        return Manifest.model_validate_json(content, strict=True)
    except ValidationError as error:
        raise InvalidManifest(path, mistakes(error)) from None


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which no name stands twice: readers differ in which of the two they take."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} stands there twice")
        found[name] = value
    return found


def arithmetic(size: Architecture, heads: int, batch: int, sequence: int) -> int:
    """Multiply-adds of a graph for one batch of shape (batch, sequence), padding included.

    `heads` is how many scores a pair gets. Matrix products are counted, which are nearly all of
    it, but not norms, activations and look-ups. Dense layers are taken to be four times as wide as
    the encoder, as in BERT. An ensemble gets an estimate: the widest encoder stands for all.
    """
    # One token through query, key, value and output and the two dense layers.
    projections = (4 + 2 * INTERMEDIATE) * size.width * size.width
    attention = 2 * sequence * size.width  # scores, and their mix of the values
    full = sequence * (projections + attention)
    # For `[CLS]` alone: each attention head has a query as wide as the encoder, to compare with the
    # states themselves, so neither keys nor values are needed.
    last = projections + attention * size.attention_heads
    trimmed = size.encoders if size.trimmed else 0
    pair = (size.layers - trimmed) * full + trimmed * last + heads * size.width
    return batch * pair
