"""Calibrating a bundle: the mean's map keeps every order; maps per head must earn their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retort.models.encoding import PairEncoder, Truncation
from retort.models.scores import combine
from retort.training.data.pairs import Pair
from retort.training.evaluate.calibration import CalibrationError
from retort.training.export.bundling import BundleSpec, BundlingError, build_bundle
from retort.training.export.calibrating import ScoredSet, find_meaning, ndcg
from retort.training.nn.inference import graph_model, run, student_model
from retort.training.nn.student import Student
from tests.training.conftest import WORDS
from tests.training.export.test_bundling import LOOSE


def questions(count: int, passages: int, tag: str = "q") -> tuple[Pair, ...]:
    """Each with one right passage of so many."""
    return tuple(
        Pair(f"{tag} {q}", f"passage {q} {p}", float(p == q % passages), f"{tag}{q}", f"p{p}")
        for q in range(count)
        for p in range(passages)
    )


def scored(pairs: tuple[Pair, ...], spread: float, seed: int, heads: int = 2) -> ScoredSet:
    """The first head ranks well, but some questions are far easier to it than others.

    `spread` is by how much, in log-odds. A logistic regression over all pairs sees that head as
    noise; the others rank badly, on one scale for all questions.
    """
    draw = np.random.default_rng(seed)
    right = np.array([pair.label or 0.0 for pair in pairs])
    queries = np.unique([pair.query_key for pair in pairs], return_inverse=True)[1]
    ease = draw.normal(0.0, spread, queries.max() + 1)[queries]
    good = 3.0 * right + ease + draw.normal(0.0, 0.8, len(pairs))
    bad = [1.0 * right - 1.0 + draw.normal(0.0, 1.0, len(pairs)) for _ in range(heads - 1)]
    return ScoredSet(pairs, np.stack([good, *bad], axis=1).astype(np.float32))


def test_the_mean_alone_keeps_every_order_whatever_the_labels() -> None:
    calibration, held_out = scored(questions(12, 6), 3.0, 1), scored(questions(200, 6, "h"), 3.0, 2)
    said: list[str] = []
    meaning = find_meaning([calibration], held_out, log=said.append)
    assert meaning.heads == ()
    assert meaning.mean is not None
    assert meaning.mean.gain != pytest.approx(1.0, abs=0.05)
    before = combine(held_out.logits).score
    after = combine(held_out.logits, meaning.mean).score
    assert ndcg(held_out.pairs, after) == ndcg(held_out.pairs, before)
    assert meaning.answerability is None
    assert any("no answerability" in text for text in said)


def test_maps_per_head_that_cost_quality_are_refused_with_the_figures() -> None:
    calibration = scored(questions(400, 6), 4.0, 1, heads=4)
    held_out = scored(questions(200, 6, "h"), 4.0, 2, heads=4)
    said: list[str] = []
    with pytest.raises(CalibrationError, match="leave out --calibrate-heads") as refused:
        find_meaning([calibration], held_out, per_head=True, log=said.append)
    for place in ("cross-validated on the calibration pairs", "on the held-out pairs"):
        assert place in str(refused.value)
        assert any(place in text for text in said)


def test_maps_per_head_that_rank_as_well_are_kept() -> None:
    calibration = scored(questions(400, 6), 0.2, 1)
    held_out = scored(questions(200, 6, "h"), 0.2, 2)
    meaning = find_meaning([calibration], held_out, per_head=True)
    # The head that ranks better weighs more.
    assert len(meaning.heads) == 2
    assert meaning.heads[0].gain > meaning.heads[1].gain
    assert meaning.answerability is not None


def test_a_fall_on_the_held_out_pairs_alone_is_refused_too() -> None:
    calibration = scored(questions(400, 6), 0.2, 1)
    # There, the head that was the better one is worthless.
    held_out = scored(questions(200, 6, "h"), 0.2, 2)
    good = held_out.logits[:, ::-1].copy()
    good[:, 0] = np.random.default_rng(0).normal(2.0, 1.5, len(good))
    with pytest.raises(CalibrationError, match="nDCG@10 changes by"):
        find_meaning([calibration], ScoredSet(held_out.pairs, good), per_head=True)


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        (questions(120, 6), "120 right ones and 120 questions"),
        (questions(700, 1), "questions with right and wrong passages"),
    ],
)
def test_too_few_pairs_for_maps_per_head_are_refused(pairs: tuple[Pair, ...], told: str) -> None:
    with pytest.raises(CalibrationError, match=told):
        find_meaning([scored(pairs, 0.2, 1)], None, per_head=True)


def test_heads_of_different_kinds_are_held_against_standardised_scores() -> None:
    calibration, held_out = scored(questions(60, 6), 0.2, 1), scored(questions(200, 6, "h"), 0.2, 2)
    # The second is a cosine: as a logit it would hardly count.
    for one in (calibration, held_out):
        one.logits[:, 1] *= 0.05
    said: list[str] = []
    meaning = find_meaning([calibration], held_out, per_head=True, alike=False, log=said.append)
    assert meaning.heads[1].gain > 3 * meaning.heads[0].gain
    assert any("standardised scores" in text for text in said)


def test_sets_count_alike_whatever_their_size() -> None:
    small, large = scored(questions(40, 4), 0.2, 1), scored(questions(400, 20, "l"), 0.2, 2)
    one = find_meaning([small, large], None).mean
    doubled = ScoredSet((*large.pairs, *large.pairs), np.concatenate([large.logits] * 2))
    other = find_meaning([small, doubled], None).mean
    assert one is not None
    assert other is not None
    assert (one.gain, one.shift) == pytest.approx((other.gain, other.shift), rel=0.02)


def word_questions(count: int, seed: int) -> tuple[Pair, ...]:
    """Questions and passages in the tests' words; the right one repeats the question."""
    draw = np.random.default_rng(seed)

    def text(low: int, high: int) -> str:
        return " ".join(f"w{n}" for n in draw.integers(0, WORDS, int(draw.integers(low, high))))

    pairs = []
    for number in range(count):
        query = text(2, 6)
        pairs += [
            Pair(
                query,
                text(3, 20) if p else f"{query} {text(2, 6)}",
                float(p == 0),
                f"{seed}-{number}",
            )
            for p in range(6)
        ]
    return tuple(pairs)


def test_an_export_with_little_data_ranks_as_the_checkpoint_does(
    tiny_student: Student,
    tokenizer_path: Path,
    truncation: Truncation,
    encoder: PairEncoder,
    tmp_path: Path,
) -> None:
    held_out, calibration = word_questions(200, 1), word_questions(11, 2)
    before = ndcg(held_out, combine(run(student_model(tiny_student), encoder, held_out)).score)
    spec = BundleSpec("tiny", "1", storage="fp32", bounds=LOOSE)
    made = build_bundle(
        tmp_path / "tiny", tiny_student, tokenizer_path, truncation, held_out, spec,
        calibration=[calibration],
    )  # fmt: skip
    known = made.manifest.calibration
    assert known is not None
    logits = run(graph_model(made.graph_path), made.encoder(), held_out)
    assert ndcg(held_out, combine(logits, known).score) == ndcg(held_out, combine(logits).score)
    assert ndcg(held_out, combine(logits, known).score) == pytest.approx(before, abs=5e-4)
    assert made.manifest.parity is not None
    assert made.manifest.parity.ndcg_change == pytest.approx(0.0, abs=5e-4)


def test_heads_are_calibrated_only_on_enough_pairs(
    tiny_student: Student, tokenizer_path: Path, truncation: Truncation, tmp_path: Path
) -> None:
    held_out = word_questions(200, 1)
    spec = BundleSpec("tiny", "1", storage="fp32", bounds=LOOSE)
    given = (tmp_path / "tiny", tiny_student, tokenizer_path, truncation, held_out, spec)
    with pytest.raises(CalibrationError, match="11 right ones and 11 questions"):
        build_bundle(*given, calibration=[word_questions(11, 2)], calibrate_heads=True)
    with pytest.raises(BundlingError, match="no pairs to calibrate the heads on"):
        build_bundle(*given, calibrate_heads=True)
    assert not (tmp_path / "tiny").exists()
