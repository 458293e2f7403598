"""The manifest: what a bundle says of itself, and the hashes that hold it to its word.

`manifest.json` is this model as JSON. Unknown fields are refused, and so is a `schema_version`
other than `SCHEMA_VERSION`: a server must not guess what a newer exporter meant.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from retort.models.encoding import Truncation
from retort.models.errors import InvalidManifest, MissingFile, UnknownSchema

SCHEMA_VERSION: Literal[1] = 1
MANIFEST_FILE = "manifest.json"

Count = Annotated[int, Field(ge=1)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Architecture(_Value):
    """The encoder's size; `vocabulary` counts tokens.

    Of an ensemble, `layers` counts those of all its `encoders` together: what a pair costs.
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


class Precision(_Value):
    """How the weights are stored in the graph, and in what they are multiplied."""

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
    """On which share of queries student and teacher put the same passage first.

    `top1` with its 95% interval over `queries` held-out queries, when the student was exported:
    the level that a live agreement is held against.
    """

    teacher: str
    top1: Annotated[float, Field(ge=0, le=1)]
    low: float | None = None
    high: float | None = None
    queries: Count


class ParityBounds(_Value):
    """What the exported graph had to reach against the PyTorch student, or be refused."""

    top1_agreement: float
    kendall_tau: float
    max_score_difference: float
    ndcg_change: float


class Parity(_Value):
    """What it did reach, on `pairs` held-out pairs of `queries` queries."""

    pairs: int
    queries: int
    top1_agreement: float
    kendall_tau: float
    max_score_difference: float
    ndcg_change: float
    bounds: ParityBounds

    def failures(self) -> list[str]:
        """One sentence for every bound that was missed, with the value and the bound."""
        bounds = self.bounds
        checks = [
            ("top-1 agreement", self.top1_agreement, "at least", bounds.top1_agreement),
            ("Kendall tau", self.kendall_tau, "at least", bounds.kendall_tau),
            (
                "largest score difference",
                self.max_score_difference,
                "at most",
                bounds.max_score_difference,
            ),
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
    """A bundle's own account. `files` maps each other file to its sha256 and is filled on writing.

    A score is `combine` over the heads: the mean of `sigmoid(logit)` (TMKD, equation 6).
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    version: str
    created: str
    files: dict[str, str] = Field(default_factory=dict)
    architecture: Architecture
    truncation: Truncation
    heads: Annotated[tuple[HeadInfo, ...], Field(min_length=1)]
    combine: Literal["mean_sigmoid"] = "mean_sigmoid"
    precision: Precision
    methods: tuple[str, ...] = ()
    data: tuple[DataSource, ...] = ()
    quality: dict[str, Figure] = Field(default_factory=dict)
    parity: Parity | None = None
    # What the graph reached in other precisions than float32, as far as they were measured.
    lower_parity: dict[str, Parity] = Field(
        default_factory=dict, exclude_if=lambda value: not value
    )
    # Left out where there is none, so that a release which does not know the field reads the rest.
    agreement: Agreement | None = Field(None, exclude_if=lambda value: value is None)
    shape_profiles: tuple[ShapeProfile, ...] = ()

    @field_validator("created")
    @classmethod
    def _iso(cls, value: str) -> str:
        datetime.fromisoformat(value)
        return value

    def to_json(self) -> str:
        """The manifest as it stands in `manifest.json`."""
        return self.model_dump_json(indent=2) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """Read `manifest.json` of the bundle at `folder`.

    Raises `MissingFile`, `UnknownSchema` or `InvalidManifest`, each with the path.
    """
    path = folder / MANIFEST_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MissingFile(path, "not there, so this folder is no bundle") from None
    except UnicodeDecodeError as error:
        raise InvalidManifest(path, f"not UTF-8 ({error})") from None
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidManifest(path, f"not JSON ({error})") from None
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version is not None and version != SCHEMA_VERSION:
        raise UnknownSchema(
            path,
            f"schema_version is {version!r}, this release reads {SCHEMA_VERSION}: "
            "export the bundle again, or serve it with the release that wrote it",
        )
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise InvalidManifest(path, f"field {where}: {first['msg']}{more}") from None
