"""What an answer tells beside its scores, in every shape."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from retort.models.answerability import Answerability
from retort.models.arrays import LogitArray
from retort.models.bundle import Bundle
from retort.models.encoding import Batch
from retort.models.scores import log_odds
from retort.service.settings import Settings
from tests.fake_bundle import InferFunction, make_encoder, overlap
from tests.service.running import ask, fragile

QUERY = "how tall is the eiffel tower"
FILLER = "Hamlet was a play. "
ANSWER = "The eiffel tower is tall."
LONG = FILLER * 40 + ANSWER + " " + FILLER * 40
PASSAGES = ["paris is old.", LONG, " \n", "日本語"]
# Each shape's path, the field of its passages, and where its results are.
SHAPES = [
    ("/score", "query", "passages", "results"),
    ("/rerank", "query", "texts", None),
    ("/rerank", "query", "documents", "results"),
    ("/v1/rerank", "query", "documents", "results"),
    ("/v2/rerank", "query", "documents", "results"),
    ("/v1/score", "queries", "documents", "data"),
]


def post(
    bundle: Bundle,
    path: str,
    body: dict[str, Any],
    *,
    infer: InferFunction = overlap,
    settings: Settings | None = None,
    status: int = 200,
) -> httpx.Response:
    replies: list[httpx.Response] = []

    async def test(client: httpx.AsyncClient, _: object) -> None:
        replies.append(await client.post(path, json=body))

    ask(bundle, test, infer, settings)
    assert replies[0].status_code == status, replies[0].text
    return replies[0]


def score(bundle: Bundle, passages: list[str], **more: Any) -> dict[str, Any]:
    body = {"query": QUERY, "passages": passages, **more}
    answer: dict[str, Any] = post(bundle, "/score", body).json()
    return answer


def by_index(rows: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    return {row["index"]: row for row in rows}


@pytest.mark.parametrize(("path", "query", "field", "place"), SHAPES)
def test_every_shape_tells_windows_highlights_and_flags(
    fake_bundle: Bundle, path: str, query: str, field: str, place: str | None
) -> None:
    reply = post(fake_bundle, path, {query: QUERY, field: PASSAGES, "highlight": True})
    body = reply.json()
    rows = by_index(body if place is None else body[place])
    window, mark = rows[1]["window"], rows[1]["highlight"]
    assert ANSWER in LONG[window["start"] : window["end"]]
    assert LONG[mark["start"] : mark["end"]] == ANSWER
    assert window["count"] > 5
    assert rows[0]["highlight"] == {
        "start": 0,
        "end": len(PASSAGES[0]),
        "score": rows[0].get("score", rows[0].get("relevance_score")),
    }
    assert "window" not in rows[0]
    assert "flags" not in rows[0]
    for index, flag in ((2, "empty"), (3, "unfamiliar")):
        assert rows[index]["flags"] == [flag]
        assert "highlight" not in rows[index]
        assert rows[index].get("score", rows[index].get("relevance_score")) == 0
    warnings = body.get("meta", body).get("warnings") if isinstance(body, dict) else None
    assert place is None or (warnings is not None and len(warnings) == 2)
    if path != "/score":
        told = dict(part.split("=") for part in reply.headers["Retort-Usage"].split(", "))
        assert told["passages"] == "4"
        assert int(told["windows"]) == window["count"]
        assert int(told["pairs"]) == window["count"] + 1
        assert int(told["unknown-tokens"]) == 3


@pytest.mark.parametrize(("path", "query", "field", "place"), SHAPES)
def test_where_there_is_nothing_to_tell_nothing_is_told(
    fake_bundle: Bundle, path: str, query: str, field: str, place: str | None
) -> None:
    body = post(fake_bundle, path, {query: QUERY, field: ["paris", "the tower"]}).json()
    rows = body if place is None else body[place]
    assert not any({"window", "highlight", "flags"} & set(row) for row in rows)
    assert place is None or "warnings" not in body


@pytest.mark.parametrize("place", range(0, 81, 16))
def test_the_answer_is_found_wherever_it_is(fake_bundle: Bundle, place: int) -> None:
    passage = FILLER * place + ANSWER + " " + FILLER * (80 - place)
    body = score(fake_bundle, [FILLER * 80, passage])
    (best, *_) = body["results"]
    assert best["index"] == 1
    assert ANSWER in passage[best["window"]["start"] : best["window"]["end"]]
    assert body["usage"]["truncated"] == 0


def test_windows_make_no_difference_to_passages_that_fit(fake_bundle: Bundle) -> None:
    passages = ["paris is old", "the eiffel tower", "tall " * 40]
    one = score(fake_bundle, passages)["results"]
    for more in ({"max_windows": 1}, {"overlap_tokens": 0}, {"highlight": True}):
        other = score(fake_bundle, passages, **more)["results"]
        keys = ("index", "score", "spread")
        assert [[r[k] for k in keys] for r in other] == [[r[k] for k in keys] for r in one]


def test_a_request_may_have_fewer_windows_read(fake_bundle: Bundle) -> None:
    body = score(fake_bundle, [LONG], max_windows=3)
    (result,) = body["results"]
    assert (body["usage"]["pairs"], result["window"]["count"]) == (3, 3)
    assert result["flags"] == ["truncated"]
    assert body["usage"]["truncated"] == 1
    assert (
        score(fake_bundle, [LONG], overlap_tokens=0)["usage"]["pairs"]
        < (score(fake_bundle, [LONG], overlap_tokens=30)["usage"]["pairs"])
    )


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/v1/score"])
def test_max_tokens_per_doc_is_how_many_are_read(fake_bundle: Bundle, path: str) -> None:
    query = "queries" if path == "/v1/score" else "query"
    body = {query: QUERY, "documents": [f"paris is old. {ANSWER}"], "max_tokens_per_doc": 4}
    few = post(fake_bundle, path, body).json()
    all_of_it = post(fake_bundle, path, {**body, "max_tokens_per_doc": 4_000}).json()
    rows = [reply.get("results", reply.get("data"))[0] for reply in (few, all_of_it)]
    scores = [row.get("relevance_score", row.get("score")) for row in rows]
    assert scores[0] < scores[1]
    assert rows[0]["flags"] == ["truncated"]
    assert "flags" not in rows[1]


def test_truncation_side_and_chunks_of_a_document(fake_bundle: Bundle) -> None:
    body = {"query": QUERY, "documents": [f"{FILLER * 3}{ANSWER}"], "max_tokens_per_doc": 6}
    right, left = (
        post(fake_bundle, "/v1/rerank", {**body, "truncation_side": side}).json()["results"][0]
        for side in ("right", "left")
    )
    assert left["relevance_score"] > right["relevance_score"]
    chunks = {"query": QUERY, "documents": [LONG], "max_chunks_per_doc": 2, "overlap_tokens": 0}
    reply = post(fake_bundle, "/v1/rerank", chunks)
    assert reply.json()["results"][0]["window"]["count"] == 2
    assert "pairs=2" in reply.headers["Retort-Usage"]


def test_more_pairs_than_the_limit_are_refused(fake_bundle: Bundle) -> None:
    settings = Settings(max_pairs=30)
    body: dict[str, Any] = {"query": QUERY, "passages": [LONG] * 3}
    error = post(fake_bundle, "/score", body, settings=settings, status=413).json()["error"]
    assert error["type"] == "too_large"
    body["max_windows"] = 8
    assert post(fake_bundle, "/score", body, settings=settings).json()["usage"]["pairs"] == 24


@pytest.mark.parametrize("query", ["???", "\u200b", "\x00", "[ ] -"])
def test_a_query_without_words_is_refused_by_name(fake_bundle: Bundle, query: str) -> None:
    body = {"query": query, "passages": ["paris"]}
    assert post(fake_bundle, "/score", body, status=422).json()["error"]["param"] == "query"


def test_of_a_query_that_is_unknown_all_scores_are_nothing(fake_bundle: Bundle) -> None:
    body = post(fake_bundle, "/score", {"query": "日本", "passages": ["b", "paris", "a"]}).json()
    assert [(r["index"], r["score"]) for r in body["results"]] == [(0, 0.0), (1, 0.0), (2, 0.0)]
    assert len(body["warnings"]) == 1
    assert (body["usage"]["pairs"], body["usage"]["unknown_tokens"]) == (0, 2)


@pytest.mark.parametrize(
    ("query", "cut"),
    [
        (f"{'i saw paris. ' * 12} {QUERY}?", "head"),
        (f"{QUERY}? {'i saw paris. ' * 12}", "tail"),
        ("paris " * 40, "middle"),
        (QUERY, None),
    ],
)
def test_what_is_left_out_of_a_query_is_told(
    fake_bundle: Bundle, query: str, cut: str | None
) -> None:
    passages = ["paris is old", "the eiffel tower is tall"]
    body = post(fake_bundle, "/score", {"query": query, "passages": passages}).json()
    assert body["usage"]["query_cut"] == cut
    assert ("warnings" in body) == (cut is not None)
    if cut in ("head", "tail"):
        assert body["results"][0]["index"] == 1


def test_min_score_leaves_out_the_rest(fake_bundle: Bundle) -> None:
    passages = ["paris", "the eiffel tower", "the tower by the river", ""]
    every = score(fake_bundle, passages)["results"]
    limit = every[1]["score"]
    for raw in (False, True):
        some = score(fake_bundle, passages, min_score=limit, raw_scores=raw)["results"]
        assert [r["index"] for r in some] == [r["index"] for r in every[:2]]
    assert score(fake_bundle, passages, min_score=1.0)["results"] == []


def test_raw_scores_are_the_log_odds_of_the_scores(fake_bundle: Bundle) -> None:
    passages = ["paris", "the eiffel tower", "the tower by the river", ""]
    plain, raw = (score(fake_bundle, passages, raw_scores=raw) for raw in (False, True))
    assert (plain["score_kind"], raw["score_kind"]) == ("probability", "log_odds")
    assert [r["index"] for r in plain["results"]] == [r["index"] for r in raw["results"]]
    odds = log_odds([r["score"] for r in plain["results"]]).tolist()
    assert [r["score"] for r in raw["results"]] == pytest.approx(odds, abs=1e-12)


def test_highlights_that_fail_fail_nothing(fake_bundle: Bundle) -> None:
    passage = "paris is old. the tower by the river is tall."
    whole = len(make_encoder().encode(QUERY, [passage])[0])
    scored = False

    def infer(batch: Batch) -> LogitArray:
        nonlocal scored
        if scored:
            raise RuntimeError("out of memory")
        scored = batch.attention_mask.sum(axis=1).tolist() == [whole]
        return overlap(batch)

    body = {"query": QUERY, "passages": [passage], "highlight": True}
    answer = post(fake_bundle, "/score", body, infer=infer).json()
    assert answer["results"][0]["score"] > 0
    assert "highlight" not in answer["results"][0]
    assert len(answer["warnings"]) == 1


def test_a_passage_with_a_window_that_failed_has_no_score(fake_bundle: Bundle) -> None:
    passages = ["paris", FILLER * 40 + "50 % " + FILLER * 40]
    body = {"query": QUERY, "passages": passages}
    answer = post(fake_bundle, "/score", body, infer=fragile).json()
    assert [r["index"] for r in answer["results"]] == [0]
    assert [e["index"] for e in answer["errors"]] == [1]


def test_answerable_is_the_bundles_own(fake_bundle: Bundle) -> None:
    assert "answerable" not in score(fake_bundle, ["paris"])
    weights = Answerability(intercept=0.5, best=1.0, second=-0.5, count=-0.1)
    manifest = fake_bundle.manifest.model_copy(update={"answerability": weights})
    telling = replace(fake_bundle, manifest=manifest)
    answer = score(telling, ["paris", "the eiffel tower"])
    scores = [r["score"] for r in answer["results"]]
    assert 0 < answer["answerable"] < 1
    assert answer["answerable"] == pytest.approx(weights.probability(np.array(scores)))
    assert score(telling, ["", "日本"])["answerable"] == 0
    pairs = {"queries": [QUERY, QUERY], "documents": ["paris", "tower"]}
    assert "answerable" not in post(telling, "/v1/score", pairs).headers["Retort-Usage"]
    body = {"query": QUERY, "texts": ["paris", "the eiffel tower"]}
    told = post(telling, "/rerank", body).headers["Retort-Usage"]
    assert f"answerable={answer['answerable']:.3f}" in told
