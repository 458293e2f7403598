"""Methods of distillation as data: name, paper, options, and what a recipe must give them.

The code of a method is in `training/methods/`, whose registry has the same names. Nothing here
needs PyTorch, so that a recipe is checked, and the methods are listed, in an instant.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Options(_Part):
    """What a recipe may say under `options`; here nothing."""


class OneOptions(Options):
    """`teacher` names the one to learn from; without it that is the recipe's first."""

    teacher: str | None = Field(
        None, description="The teacher to learn from; none for the recipe's first."
    )


class HeadOptions(Options):
    """`each` teacher has a soft head of its own, or their `average` has one."""

    heads: Literal["each", "average"] = Field(
        "average", description="A soft head for each teacher, or one for their average."
    )


class InfoNceOptions(HeadOptions):
    """With teachers, each has a soft head unless the recipe says otherwise."""

    heads: Literal["each", "average"] = Field(
        "each", description="A soft head for each teacher, or one for their average."
    )


class ListOptions(HeadOptions):
    """`tau` is listwise KL's temperature of both sides; in ADR-MSE how sharply scores rank."""

    tau: float = Field(
        1.0,
        gt=0,
        description="listwise-kl: temperature of both sides; adr-mse: how sharply scores rank.",
    )


class MtBertOptions(HeadOptions):
    """`temperature` is T."""

    temperature: float = Field(1.0, gt=0, description="The paper's T.")


class SkdOptions(Options):
    """How a step's teacher is drawn; `heads: each` trains the drawn teacher's own head."""

    distribution: Literal["uniform", "teacher-rank", "student-rank"] = Field(
        "uniform", description="How a step's teacher is drawn."
    )
    form: Literal["linear", "softmax"] = Field(
        "linear", description="From its figure to its probability."
    )
    tau: float = Field(0.05, gt=0, description="Temperature of the form softmax.")
    temperature: float = Field(
        1.0, gt=0, description="Temperature of teacher and student in the loss."
    )
    figures: dict[str, float] = Field({}, description="By teacher, its quality on validation data.")
    heads: Literal["one", "each"] = Field(
        "one", description="One soft head for all, or each teacher's own, trained when it is drawn."
    )


class TinyBertOptions(Options):
    """`attention: false` leaves L_attn out, for unequal numbers of attention heads."""

    attention: bool = Field(
        True, description="Match attention too; false for unequal numbers of attention heads."
    )
    temperature: float = Field(
        1.0, gt=0, description="Temperature of teacher and student in the loss."
    )


class MetaOptions(TinyBertOptions):
    """`weighted: false` sets every lambda to 1."""

    gamma2: float = Field(
        0.5, ge=0, description="Weight of the loss on domain features, the paper's gamma2."
    )
    weighted: bool = Field(
        True, description="Weight each pair by its prototype score; false sets every lambda to 1."
    )


class Task(_Part):
    """A task by name; its pairs are those of its `sources`, or all where there are none."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="The task's name.")
    sources: list[str] | None = Field(
        None, description="Its pairs are those of these sources; none for all."
    )
    kind: Literal["classification", "ranking", "similarity"] = Field(
        "classification", description="What its head is trained as."
    )


class MtDnnOptions(Options):
    """The tasks; without any, all pairs are one classification."""

    tasks: tuple[Task, ...] = Field(
        (Task(name="all"),), description="The tasks; by default all pairs are one classification."
    )

    @model_validator(mode="after")
    def _tasks_are_apart(self) -> Self:
        if not self.tasks:
            raise ValueError("tasks: give at least one, or leave the field out")
        faults = [f"two tasks are named {name}" for name in _twice(t.name for t in self.tasks)]
        sources = [source for task in self.tasks for source in set(task.sources or ())]
        faults += [f"{source} belongs to two tasks" for source in _twice(sources)]
        if len(self.tasks) > 1:
            faults += [f"{t.name} has no sources of its own" for t in self.tasks if not t.sources]
        if faults:
            raise ValueError("tasks: " + "; ".join(faults))
        return self


def _twice(values: Iterable[str]) -> list[str]:
    listed = list(values)
    return sorted({value for value in listed if listed.count(value) > 1})


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """A method: what to call it, whose it is, what it does, its options, and its limits.

    `teachers` is the fewest it learns from. `stage_one` says whether it begins with a stage of soft
    heads alone (alpha 1): always (`needed`), never (`none`), or as the recipe likes (`free`).
    `labels_alone` methods have no soft loss; `one_cross_encoder` ones learn from a single
    cross-encoder of ours; `member_per_teacher` ones train one student per teacher.
    """

    name: str
    paper: str
    line: str
    options: type[Options] = Options
    teachers: int = 1
    stage_one: Literal["free", "needed", "none"] = "free"
    labels_alone: bool = False
    one_cross_encoder: bool = False
    member_per_teacher: bool = False


_TMKD = "Yang et al. 2020 (TMKD)"

_METHODS = (
    MethodSpec(
        "none", "-", "labels alone: the undistilled student", teachers=0, labels_alone=True
    ),
    MethodSpec("tmkd", _TMKD, "a golden head and one soft head per teacher, after stage 1"),
    MethodSpec("mkd", _TMKD, "TMKD without stage 1 (m-o-1)", stage_one="none"),
    MethodSpec(
        "tkd", _TMKD, "stage 1 and stage 2 with one teacher", OneOptions, stage_one="needed"
    ),
    MethodSpec("1-o-1", _TMKD, "one teacher, no stage 1", OneOptions, stage_one="none"),
    MethodSpec("1avg-o-1", _TMKD, "the average of the teachers as one teacher"),
    MethodSpec(
        "m-o-m", _TMKD, "one student per teacher, averaged at inference", teachers=2,
        member_per_teacher=True,
    ),
    MethodSpec(
        "skd", "Ding et al. 2023 (SKDBERT)", "one teacher per step, drawn at random", SkdOptions,
        teachers=2,
    ),
    MethodSpec(
        "mt-dnn-kd", "Liu et al. 2019 (MT-DNN-KD)",
        "several tasks: one head per task, the mean of each task's teachers", MtDnnOptions,
        teachers=0,
    ),
    MethodSpec(
        "meta-kd", "Pan et al. 2021 (Meta-KD)", "states and scores of a teacher of many domains",
        MetaOptions, one_cross_encoder=True,
    ),
    MethodSpec(
        "tinybert", "Jiao et al. 2020 (TinyBERT)",
        "states and scores of one teacher, layer by layer", TinyBertOptions,
        one_cross_encoder=True,
    ),
    MethodSpec(
        "mt-bert", "Wu et al. 2021 (MT-BERT)", "wrong teachers weigh less, pair by pair",
        MtBertOptions,
    ),
    MethodSpec(
        "annealing", "Clark et al. 2019 (BAM!)", "from the teachers to the labels", HeadOptions
    ),
    MethodSpec(
        "margin-mse", "Hofstätter et al. 2020", "how far right is above wrong", HeadOptions
    ),
    MethodSpec(
        "listwise-kl", "Ren et al. 2021 (RocketQAv2)",
        "the teachers' softmax over the passages of a query", ListOptions,
    ),
    MethodSpec(
        "ranknet", "Burges et al. 2005; Rank-DistiLLM 2024", "the teachers' order alone",
        HeadOptions,
    ),
    MethodSpec(
        "adr-mse", "Rank-DistiLLM 2024", "the teachers' ranks, most at the top", ListOptions
    ),
    MethodSpec(
        "infonce", "Gao et al. 2021", "labels: the right passage among all of a query",
        InfoNceOptions, teachers=0,
    ),
)  # fmt: skip

METHODS = {spec.name: spec for spec in _METHODS}
