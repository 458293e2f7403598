"""What a bundle's numbers are worth: each part on the tiny bundle, and the page of made figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.models.arrays import FloatArray
from retort.models.bundle import Bundle
from retort.models.reading.sentences import sentences
from retort.models.reading.spans import Span
from retort.models.reading.windows import READING, Reading
from retort.ranker import Ranker
from retort.training.data.evaluation_set import EvaluationSet
from retort.training.data.long_sets import DEPTHS, long_set
from retort.training.data.marked import MarkedPassage
from retort.training.data.pairs import Pair
from retort.training.evaluate.bootstrap import Estimate
from retort.training.evaluate.highlights import is_right, measure_highlights
from retort.training.evaluate.long_passages import measure_depths
from retort.training.evaluate.measures import Bin
from retort.training.evaluate.probabilities import answerable_curves, head_agreement, score_curves
from retort.training.evaluate.questions import PREAMBLES, RULES, measure_questions
from retort.training.evaluate.trust import (
    Curve,
    Depth,
    Heads,
    LongSet,
    Questions,
    Rule,
    Sentences,
    TrustReport,
    read_trust,
)
from retort.training.evaluate.trust_parts import measure_trust
from retort.training.export.recalibrate import recalibrate
from retort.training.teachers.scoring.bundle import FLOAT32, BundleScorer, load_bundle
from tests.tiny_texts import WORDS

# The tiny bundle says yes where the passage has the question's word.
THINGS = tuple(word for word in WORDS if len(word) > 3)


def asked(count: int) -> tuple[Pair, ...]:
    return tuple(
        Pair(f"what is {THINGS[n % len(THINGS)]}", f"the {other} is old", float(not step), f"q{n}")
        for n in range(count)
        for step in range(4)
        for other in [THINGS[(n + step) % len(THINGS)]]
    )


def test_a_bundles_scores_are_held_against_labels(tiny_bundle: Bundle, tmp_path: Path) -> None:
    sets = [EvaluationSet("things", asked(60))]
    made = recalibrate(tiny_bundle, tmp_path / "made", [asked(250)])
    scorer = load_bundle("made", made)
    (curve,) = score_curves(scorer, sets, None)
    assert (curve.count, curve.relevant) == (240, 0.25)
    assert curve.plain_error is not None
    assert curve.wide_error < 0.1
    assert sum(one.pairs for one in curve.bins) == 240
    (lists,) = answerable_curves(scorer, sets)
    assert lists.count == 60
    assert 0.3 < lists.relevant < 0.7
    assert lists.bins[-1].relevant > lists.bins[0].relevant
    (heads,) = head_agreement(made, sets, None)
    assert heads.queries == 60
    assert 0.0 < heads.golden.value < 1.0
    assert heads.logits.value > heads.golden.value
    with pytest.raises(ValueError, match="no answerability"):
        answerable_curves(load_bundle("tiny", tiny_bundle), sets)


class OverlapRanker(Ranker):
    """A ranker that finds the words of a question's thing, in what `reading` lets it see.

    It has windows of ten words where the model has some of 64 tokens; the tiny bundle has never
    seen a long text, and its order there means nothing.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle, FLOAT32)

    def score(self, pairs: Sequence[tuple[str, str]], reading: Reading = READING) -> FloatArray:
        seen = 10 if reading.score == "first" else 10_000
        return np.array(
            [float(q.split()[-1] in p.lower().split()[:seen]) for q, p in pairs], dtype=np.float64
        )


def test_depths_are_told_apart(tiny_bundle: Bundle) -> None:
    positives = [Pair(f"what is {a}", f"The {a} is old.", 1.0, a) for a in THINGS[:8]]
    pool = [" ".join(["q", str(n), *["x"] * 27]) + "." for n in range(200)]
    items = long_set("long", positives, pool, 8, 1)
    scorer = BundleScorer("tiny", "", OverlapRanker(tiny_bundle))
    depths, (cost,) = measure_depths(scorer, [items])
    assert [(one.depth, one.queries) for one in depths] == [(depth, 8) for depth in DEPTHS]
    assert [one.windows.value for one in depths] == [1.0] * 4
    assert [one.cut.value for one in depths] == [1.0, 0.0, 0.0, 0.0]
    # Eight sentences of 29 words and more tokens, in windows of 64 tokens at most.
    assert cost.chunks == 20
    assert cost.pairs > 4 * cost.chunks
    assert 200 < cost.words < 240


def test_the_products_rule_keeps_the_question(tiny_bundle: Bundle) -> None:
    positives = [Pair(f"what is the {a}?", f"The {a} is old.", 1.0, a) for a in THINGS]
    pool = [f"A {a} was by a {b}." for a in WORDS[:8] for b in ("was", "who", "tall", "does")]
    found = measure_questions(tiny_bundle, positives, pool, 8, seed=1)
    assert found.hit.value > 0.8
    assert found.preambles == tuple(PREAMBLES)
    kept = {rule.name: [one.value for one in rule.kept] for rule in found.rules}
    assert list(kept) == list(RULES)
    product = next(iter(kept.values()))
    assert product == [1.0] * len(PREAMBLES)
    assert min(kept["the first 48 tokens"]) < 1.0


def test_a_sentence_is_right_if_most_of_it_was_marked() -> None:
    assert is_right(Span(0, 10), [Span(50, 60), Span(4, 30)])
    assert not is_right(Span(0, 10), [Span(5, 30)])


def test_highlights_are_held_against_other_ways_to_choose(tiny_bundle: Bundle) -> None:
    marked = []
    for number, thing in enumerate(THINGS):
        texts = [f"The {THINGS[(number + step) % len(THINGS)]} is old." for step in (2, 0, 1)]
        passage = " ".join(texts)
        right = sentences(passage)[1]
        marked.append(MarkedPassage(f"what is the {thing}", passage, (right,)))
    scorer = load_bundle("tiny", tiny_bundle)
    found = measure_highlights(scorer, load_bundle("again", tiny_bundle), "things", marked)
    assert (found.queries, found.sentences) == (len(THINGS), 3.0)
    assert found.chance == pytest.approx(1 / 3)
    # The bundle by itself and as somebody else's scorer chooses the same sentences.
    assert found.systems["highlight"] == found.systems["again"]
    # These passages are one window each.
    assert found.systems["highlight"] == found.systems["of the best window alone"]
    assert found.systems["highlight"].value > 0.6
    assert found.slower > 1.0
    # One of the words is a stop word, which BM25 does not see.
    assert found.systems["BM25"].value > 0.9


def made_report() -> TrustReport:
    half = Estimate(0.5, 0.4, 0.6)
    curve = Curve(
        name="things", count=240, relevant=0.25, error=0.0123, floor=0.01, wide_error=0.0345,
        plain_error=0.0678, bins=(Bin(0.1, 0.12, 120), Bin(0.7, 0.65, 120)),
    )  # fmt: skip
    return TrustReport(
        bundle="tiny 1", query_tokens=48, created="2026-01-01", scores=(curve,),
        answerable=(curve.model_copy(update={"plain_error": None}),),
        heads=(Heads(name="things", golden=Estimate(0.927, 0.91, 0.94), logits=half, queries=60),),
        depths=tuple(
            Depth(name="long", depth=d, queries=8, windows=Estimate(0.91, 0.8, 1.0), cut=half)
            for d in DEPTHS
        ),
        long=(LongSet(name="long", chunks=20, words=280.0, pairs=97),),
        questions=Questions(
            queries=8, passages=20, hit=Estimate(0.96, 0.9, 1.0), preambles=("before",),
            rules=(Rule(name="its question", kept=(Estimate(0.997, 0.98, 1.0),)),),
        ),
        highlights=(
            Sentences(
                name="squad", queries=600, sentences=5.1, chance=0.2, slower=1.7,
                systems={"highlight": Estimate(0.888, 0.86, 0.91), "BM25": half},
            ),
        ),
    )  # fmt: skip


def test_the_page_and_its_plots_have_every_figure(tmp_path: Path) -> None:
    source, page = tmp_path / "scores.json", tmp_path / "scores.md"
    source.write_text(made_report().to_json())
    assert read_trust(source) == made_report()
    result = CliRunner().invoke(app, ["trust", f"--from={source}", f"--report={page}"])
    assert result.exit_code == 0, result.output
    text = page.read_text()
    for told in (
        "0.012", "0.068", "0.927 [0.910, 0.940]", "0.910 [0.800, 1.000]", "| 97 |", "1.00 [0.98",
        "0.888 [0.860, 0.910]", "48 tokens", "0.01 to 0.01", "reached on things", "89% (squad)",
    ):  # fmt: skip
        assert told in text, told
    for name in ("scores.svg", "windows.svg"):
        assert f"]({name})" in text
        assert (tmp_path / name).read_text().startswith("<svg")


def test_parts_that_were_not_measured_leave_no_hole(tmp_path: Path) -> None:
    source, page = tmp_path / "scores.json", tmp_path / "scores.md"
    source.write_text(TrustReport(bundle="tiny 1", query_tokens=48, created="").to_json())
    result = CliRunner().invoke(app, ["trust", f"--from={source}", f"--report={page}"])
    assert result.exit_code == 0, result.output
    assert "## highlight" in page.read_text()
    assert ".svg" not in page.read_text()
    assert list(tmp_path.glob("*.svg")) == []
    result = CliRunner().invoke(app, ["trust"])
    assert result.exit_code == 1
    assert "nothing to measure" in result.stderr


def test_parts_of_two_bundles_are_not_mixed(tiny_bundle: Bundle, tmp_path: Path) -> None:
    other = made_report()
    with pytest.raises(
        ValueError, match=r"the other parts are of tiny 1, and this is tiny 0\.0\.1"
    ):
        measure_trust("windows", tiny_bundle, tmp_path, tmp_path, report=other)
    with pytest.raises(ValueError, match="no part 'all'"):
        measure_trust("all", tiny_bundle, tmp_path, tmp_path)
