"""How a ranker is asked and what its responses mean, without a server."""

from __future__ import annotations

import asyncio
import json
from typing import Any, get_args

import pytest

from retort.client.errors import ConnectionFailed, NotReady, Overloaded
from retort.client.rankers.asking import (
    Route,
    answered,
    answered_async,
    model_told,
    read_response,
)
from retort.client.rankers.errors import KeyRefused, NoRanker, RankerError, Refused
from retort.client.rankers.shapes import SHAPES, Body
from retort.service.settings import RankerShape
from retort.training.recipes.parts.teacher import HttpPart
from tests.retort.client.rankers.strange import Strange, length_score

URL = "https://ranker.example/v1/rerank"
QUERY = "how tall"
PASSAGES = ["tall", "taller", "tallest", "not so tall", "flat"]


def post(strange: Strange, body: Body) -> Any:
    (status, headers), content = strange.reply(body, None)
    return read_response(status, headers, json.dumps(content).encode(), 0.0)


def test_who_waits_and_who_awaits_ask_the_same() -> None:
    async def send(body: Body) -> Any:
        return post(Strange(most=2), body)

    route = Route(URL, passages=3)
    shape, _ = answered(route.find(), lambda body: post(Strange(), body))
    strange = Strange(most=2)
    scores = answered(route.score(shape, QUERY, PASSAGES), lambda body: post(strange, body))
    assert scores == pytest.approx([length_score(QUERY, passage) for passage in PASSAGES])
    assert [len(passages) for _, passages in strange.asked] == [1, 2, 2]
    assert asyncio.run(answered_async(route.score(shape, QUERY, PASSAGES), send)) == scores


def test_what_is_too_large_alone_is_told() -> None:
    with pytest.raises(Refused) as caught:
        answered(
            Route(URL).score(SHAPES["cohere"], QUERY, PASSAGES),
            lambda body: post(Strange(most=0), body),
        )
    assert caught.value.status == 413


def test_a_route_of_no_shape_says_what_was_tried_and_apart_from_it_what_was_said() -> None:
    with pytest.raises(NoRanker) as caught:
        answered(Route("http://r/rerank").find(), lambda body: post(Strange("vllm"), body))
    assert "as tei status 422: " in str(caught.value)
    assert "as cohere status 422: " in str(caught.value)
    tried = "does not answer as a ranker: as tei status 422; as cohere status 422"
    assert caught.value.what == tried


@pytest.mark.parametrize(("raw", "asked"), [(None, True), (True, True), (False, False)])
def test_one_that_can_choose_is_asked_for_the_scale_that_is_wanted(
    raw: bool | None, asked: bool
) -> None:
    body = next(Route(URL, raw=raw).score(SHAPES["tei"], QUERY, PASSAGES))
    assert body["raw_scores"] is asked


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, Overloaded), (503, NotReady), (502, ConnectionFailed), (500, NotReady),
        (401, KeyRefused), (403, KeyRefused), (404, Refused), (422, Refused),
        (307, RankerError), (204, Refused),
    ],
)  # fmt: skip
def test_what_a_status_means(status: int, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        read_response(status, {"Retry-After": "7"}, b"no", 0.0)
    assert type(caught.value) is kind
    if isinstance(caught.value, Overloaded):
        assert caught.value.retry_after == 7


def test_one_that_fails_at_a_probe_may_know_another_shape() -> None:
    with pytest.raises(Refused):
        read_response(500, {}, b"no", 0.0, probing=True)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[" * 100_000, b"\xff\xfe"])
def test_what_is_no_json_is_told(content: bytes) -> None:
    with pytest.raises(RankerError, match="no JSON"):
        read_response(200, {}, content, 0.0)


@pytest.mark.parametrize(
    "score", [None, True, "0.5", float("nan"), float("inf"), 10**400, [0.5], {"a": 1}]
)
def test_what_is_no_score_is_never_taken(score: Any) -> None:
    answer = {"results": [{"index": 0, "relevance_score": score}]}
    with pytest.raises(RankerError, match="no index with a finite relevance_score"):
        SHAPES["cohere"].read(answer, 1)


def test_what_the_text_of_an_error_may_repeat_is_apart() -> None:
    with pytest.raises(RankerError) as caught:
        SHAPES["cohere"].read({"results": [{"document": "secret"}]}, 1)
    assert "secret" in str(caught.value)
    assert "secret" not in caught.value.what


def test_a_model_is_named_by_an_answer_or_by_info() -> None:
    assert model_told({"model": "large", "version": "2", "results": []}) == ("large", "2")
    told = {"model": {"name": "x"}, "model_id": "org/large", "model_sha": "ab", "version": "1.8"}
    assert model_told(told) == ("org/large", "ab")
    assert model_told([{"index": 0, "score": 0.5}]) is None


def test_settings_and_recipes_name_the_same_shapes() -> None:
    recipe = get_args(get_args(HttpPart.model_fields["shape"].annotation)[0])
    assert set(get_args(RankerShape)) == set(recipe) == SHAPES.keys()
