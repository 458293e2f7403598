"""Teachers over HTTP: every shape is found, refusals are waited for, strange answers are told."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retort.models.bundle import Bundle
from retort.training.data.pairs import Pair
from retort.training.labels.label import label
from retort.training.labels.store import ScoreStore, StoreError, pair_keys
from retort.training.recipes.parts.teacher import HttpPart, TeacherRef
from retort.training.teachers.scorers import load_scorer
from retort.training.teachers.scoring.http import HttpScorer, HttpTeacherError
from retort.training.teachers.scoring.scorer import UnknownScorerError, parse
from tests.retort.client.rankers.strange import Strange, length_score, serve_strange
from tests.service.running import server
from tests.tiny_texts import PASSAGES, QUERIES

PAIRS = [Pair(query, passage) for query in QUERIES for passage in PASSAGES]
EXPECTED = [length_score(pair.query, pair.passage) for pair in PAIRS]


def teacher(url: str, **options: Any) -> HttpScorer:
    found = load_scorer(TeacherRef(name="far", path=url, http=HttpPart(**options)))
    assert isinstance(found, HttpScorer)
    return found


def quiet(text: str) -> None:
    return None


@pytest.mark.parametrize(
    ("shape", "path", "probabilities"),
    [
        ("cohere", "/v1/rerank", True),
        ("cohere", "/rerank", True),
        ("tei", "/rerank", False),
        ("vllm", "/score", True),
        ("vllm", "/v1/score", True),
    ],
)
def test_the_shape_of_a_route_is_found(shape: str, path: str, probabilities: bool) -> None:
    with serve_strange(Strange(shape), path) as strange:
        found = teacher(strange.url)
        assert found.shape.name == shape
        assert found.probabilities == probabilities
        assert found.score(PAIRS) == pytest.approx(EXPECTED)


@pytest.mark.slow
def test_every_shape_of_our_own_server_says_what_the_bundle_says(tiny_bundle: Bundle) -> None:
    expected = load_scorer(parse(f"b={tiny_bundle.folder}"))
    with server("--bundle", str(tiny_bundle.folder), "--precision", "fp32") as running:
        shapes = {}
        for path in ("/score", "/v1/score", "/v1/rerank", "/v2/rerank", "/rerank"):
            found = teacher(f"{running.url}{path}")
            shapes[path] = found.shape.name
            assert np.abs(found.logits(PAIRS) - expected.logits(PAIRS)).max() < 1e-3, path
        assert shapes == {
            "/score": "retort", "/v1/score": "vllm", "/v1/rerank": "cohere",
            "/v2/rerank": "cohere", "/rerank": "tei",
        }  # fmt: skip
        told = teacher(f"{running.url}/score")
        assert tiny_bundle.manifest.name in told.about


def test_a_label_is_the_logit_of_a_probability() -> None:
    with serve_strange(Strange()) as strange:
        found = teacher(strange.url)
        expected = np.log(np.array(EXPECTED) / (1 - np.array(EXPECTED)))
        assert found.logits(PAIRS) == pytest.approx(expected)
        raw = teacher(strange.url, scores="raw")
        assert raw.logits(PAIRS) == pytest.approx(EXPECTED)
        assert raw.identity != found.identity


def test_raw_scores_are_not_taken_for_probabilities() -> None:
    with serve_strange(Strange(add=3.0)) as strange:
        with pytest.raises(HttpTeacherError, match=r"no probability: say scores: raw"):
            teacher(strange.url).score(PAIRS)
        assert teacher(strange.url, scores="raw").score(PAIRS) == pytest.approx(
            [score + 3 for score in EXPECTED]
        )


def test_passages_of_a_query_share_requests_of_a_size() -> None:
    with serve_strange(Strange()) as strange:
        found = teacher(strange.url, passages=3, model="rank-1")
        strange.asked.clear()
        assert found.score([*PAIRS, PAIRS[0]]) == pytest.approx([*EXPECTED, EXPECTED[0]])
        assert sorted(len(passages) for _, passages in strange.asked) == [1] * 4 + [3] * 4
        assert "rank-1" in found.about


def test_a_request_that_is_too_large_is_halved() -> None:
    with serve_strange(Strange(most=2)) as strange:
        found = teacher(strange.url)
        strange.asked.clear()
        assert found.score(PAIRS[:4]) == pytest.approx(EXPECTED[:4])
        assert [len(passages) for _, passages in strange.asked] == [2, 2]


def test_a_refusal_for_the_moment_is_waited_for() -> None:
    with serve_strange(Strange()) as strange:
        found = teacher(strange.url)
        strange.failures = [(429, {"Retry-After": "1"}), (503, {})]
        started = time.monotonic()
        assert found.score(PAIRS[:1]) == pytest.approx(EXPECTED[:1])
        assert time.monotonic() - started > 1.0
        strange.failures = [(429, {"Retry-After": "3600"})]
        with pytest.raises(HttpTeacherError, match=r"status 429: .*not now.*gave up"):
            teacher(strange.url, timeout=5.0)


def test_a_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve_strange(Strange(key="secret")) as strange:
        with pytest.raises(HttpTeacherError, match=r"status 401.*environment variable"):
            teacher(strange.url)
        monkeypatch.delenv("RANKER_KEY", raising=False)
        with pytest.raises(UnknownScorerError, match="no API key in RANKER_KEY"):
            teacher(strange.url, key="RANKER_KEY")
        monkeypatch.setenv("RANKER_KEY", "secret")
        found = load_scorer(parse(f"far={strange.url}#key=RANKER_KEY"))
        assert found.score(PAIRS) == pytest.approx(EXPECTED)
        assert "secret" not in repr(found)


def test_the_model_is_sent_and_is_part_of_the_identity() -> None:
    with serve_strange(Strange()) as strange:
        identities = {teacher(strange.url, model=name).identity for name in ("a", "b")}
        assert len(identities | {teacher(strange.url).identity}) == 3


@pytest.mark.parametrize(
    "answer",
    [
        {"results": [{"index": 0, "relevance_score": 0.5}]},
        {"results": [{"index": 0, "relevance_score": 0.5}] * 2},
        {"results": [{"index": n, "relevance_score": float("nan")} for n in range(2)]},
        {"results": [{"index": n, "relevance_score": "high"} for n in range(2)]},
        {"scores": [0.5, 0.5]},
        [0.5, 0.5],
        "yes",
    ],
)
def test_an_answer_that_is_not_one_is_never_taken(answer: Any) -> None:
    with (
        serve_strange(Strange(answer=answer)) as strange,
        pytest.raises(HttpTeacherError, match="does not answer as a ranker: as cohere"),
    ):
        teacher(strange.url)


def test_a_place_that_is_no_route_is_told() -> None:
    with pytest.raises(UnknownScorerError, match="give the URL of a route"):
        teacher("http://127.0.0.1:1")
    with pytest.raises(HttpTeacherError, match="no answer"):
        teacher("http://127.0.0.1:1/score", timeout=0.5)
    with serve_strange(Strange("tei"), "/score") as strange:
        with pytest.raises(HttpTeacherError, match=r"as retort status 422.*as vllm status 422"):
            teacher(strange.url)
        assert teacher(strange.url, shape="tei").score(PAIRS) == pytest.approx(EXPECTED)


def test_labelling_goes_on_where_it_was_and_sees_that_the_model_changed(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path)
    with serve_strange(Strange()) as strange:
        label(teacher(strange.url), PAIRS[:10], store, quiet)
        label(teacher(strange.url), PAIRS, store, quiet)
        asked = [passage for _, passages in strange.asked for passage in passages]
        # Twice the probe, all pairs once, and the ten that were there to be checked.
        assert len(asked) == 2 * 2 + len(PAIRS) + 10
        kept = store.teacher("far", teacher(strange.url).identity)
        assert kept.lookup(pair_keys(PAIRS)) == pytest.approx(
            teacher(strange.url).logits(PAIRS), abs=1e-5
        )
        strange.add = -0.1
        with pytest.raises(StoreError, match="gives other scores than those that http left"):
            label(teacher(strange.url), PAIRS, store, quiet)
