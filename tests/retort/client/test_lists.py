"""Large lists: split into requests, and put together again."""

from __future__ import annotations

import threading
import time as real_time
from typing import Any

import anyio
import httpx
import pytest

from retort.client import AsyncClient, Client, InvalidRequest, ServerError, TooLarge
from retort.client.questions import question, split
from tests.retort.client.wire import KINDS, Kind, Wire, answer, client, refusal

each_kind = pytest.mark.parametrize("kind", KINDS)
SCORES = [0.1, 0.9, 0.5, 0.9, 0.2, 0.7, 0.3]
TEXTS = [str(score) for score in SCORES]
BEST_FIRST = [1, 3, 5, 2, 6, 4, 0]


def indices(results: list[Any]) -> list[int]:
    return [result.index for result in results]


@each_kind
def test_a_split_list_is_one_ranking(kind: Kind) -> None:
    wire = Wire()
    passages = [{"id": f"p{index}", "text": text} for index, text in enumerate(TEXTS)]
    asking = client(kind, wire, max_passages=3)
    results = asking.rank("q", passages)
    assert indices(results) == BEST_FIRST
    assert [result.id for result in results] == [f"p{index}" for index in BEST_FIRST]
    assert [result.score for result in results] == [SCORES[index] for index in BEST_FIRST]
    assert sorted(len(body["passages"]) for body in wire.bodies) == [1, 3, 3]
    assert indices(asking.rank("q", passages, top_n=2)) == [1, 3]
    assert indices(asking.rank("q", passages, 5, min_score=0.5)) == [1, 3, 5, 2]
    # The limits were asked for once.
    assert sum(request.method == "GET" for request in wire.requests) == 1


@each_kind
def test_what_the_parts_say_is_added_up(kind: Kind) -> None:
    def reply(body: dict[str, Any]) -> httpx.Response:
        if body["passages"][0] == TEXTS[0]:
            return answer(body, warnings=["w"])
        usage = answer(body).json()["usage"] | {"tokens": 5, "query_cut": "head"}
        timings = {"tokenize": 2.0, "queue": 0.0, "infer": 1.0, "total": 9.0, "highlight": 4.0}
        others = {"usage": usage, "timings_ms": timings, "id": "r2", "version": "2"}
        return answer(body, warnings=["w", "w2"], **others)

    # Tasks may come in any order.
    wire = Wire([reply, reply])
    whole = client(kind, wire, max_passages=4, concurrency=1).ask("q", TEXTS)
    assert whole.usage.passages == len(TEXTS)
    assert (whole.usage.tokens, whole.usage.query_cut) == (15, "head")
    assert (whole.timings_ms.tokenize, whole.timings_ms.queue) == (2.0, 1.0)
    assert (whole.timings_ms.total, whole.timings_ms.highlight) == (9.0, 4.0)
    assert whole.request_ids == ("r1", "r2")
    assert whole.warnings[:2] == ("w", "w2")
    assert "m 1, m 2" in whole.warnings[2]
    # No part can tell of the whole list.
    assert whole.answerable is None
    assert client(kind, Wire()).ask("q", TEXTS).answerable == 0.5


@each_kind
def test_a_body_is_within_the_limit(kind: Kind) -> None:
    wire = Wire(limits={"max_body_bytes": 250})
    texts = [f"0.{index:030d}" for index in range(20)]
    results = client(kind, wire).rank("a query", texts, top_n=20, min_score=0.0)
    assert sorted(indices(results)) == list(range(20))
    posted = [request for request in wire.requests if request.method == "POST"]
    sizes = sorted(len(request.content) for request in posted)
    # All but the last are as full as they can be: one more passage would have 35 bytes.
    assert sizes[1] > 250 - 35
    assert sizes[-1] <= 250
    with pytest.raises(TooLarge) as caught:
        client(kind, wire).rank("a query", ["0.1", "0." + "1" * 250])
    assert caught.value.param == "passages.1"
    with pytest.raises(TooLarge) as caught:
        client(kind, wire).rank("a query" * 40, ["0.1"])
    assert caught.value.param == "query"


@each_kind
def test_what_the_server_finds_too_large_is_halved(kind: Kind) -> None:
    def at_most_two(body: dict[str, Any]) -> httpx.Response:
        return answer(body) if len(body["passages"]) <= 2 else refusal(413)

    wire = Wire([at_most_two] * 20)
    assert indices(client(kind, wire).rank("q", TEXTS)) == BEST_FIRST
    assert [len(body["passages"]) for body in wire.bodies] == [7, 3, 1, 2, 4, 2, 2]


@each_kind
def test_the_first_error_ends_the_call(kind: Kind) -> None:
    def slowly(body: dict[str, Any]) -> httpx.Response:
        real_time.sleep(0.3)
        return answer(body)

    wire = Wire([answer, refusal(422), slowly])
    with pytest.raises(InvalidRequest):
        client(kind, wire, max_passages=1, concurrency=1).rank("q", TEXTS)
    real_time.sleep(0.5)
    # A thread may have begun with the next one.
    assert len(wire.bodies) <= 3


def test_threads_send_so_many_requests_at_once() -> None:
    busy, most, lock = 0, 0, threading.Lock()
    wire = Wire()

    def slowly(request: httpx.Request) -> httpx.Response:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
            reply = wire(request)
        real_time.sleep(0.05)
        with lock:
            busy -= 1
        return reply

    transport = httpx.MockTransport(slowly)
    with Client(transport=transport, max_passages=1, concurrency=3) as asking:
        assert indices(asking.rank("q", TEXTS)) == BEST_FIRST
    assert most == 3


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks_send_so_many_requests_at_once(backend: str) -> None:
    busy, most = 0, 0
    wire = Wire()

    async def slowly(request: httpx.Request) -> httpx.Response:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await anyio.sleep(0.05)
        busy -= 1
        return wire(request)

    async def main() -> list[int]:
        transport = httpx.MockTransport(slowly)
        async with AsyncClient(transport=transport, max_passages=1, concurrency=3) as asking:
            return indices(await asking.rank("q", TEXTS))

    assert anyio.run(main, backend=backend) == BEST_FIRST
    assert most == 3


@each_kind
def test_options_are_sent_as_fields(kind: Kind) -> None:
    wire = Wire()
    fields = {"min_score": 0.1, "highlight": True, "max_windows": 2, "mode": "student"}
    client(kind, wire).rank("q", ["0.5"], 3, timeout=2, model=None, overlap_tokens=0, **fields)
    sent = {"query": "q", "passages": ["0.5"], "top_n": 3, "overlap_tokens": 0, "timeout_ms": 2000}
    assert wire.bodies == [sent | fields]


@each_kind
def test_pairs_with_one_query_share_a_request(kind: Kind) -> None:
    wire = Wire()
    asking = client(kind, wire)
    pairs = [("a", "0.1"), ("b", "0.2"), ("a", "0.3"), ("c", "0.4"), ("b", "0.2")]
    assert asking.score(pairs, model="m") == [0.1, 0.2, 0.3, 0.4, 0.2]
    sent = {body["query"]: (body["passages"], body["model"]) for body in wire.bodies}
    assert sent == {"a": (["0.1", "0.3"], "m"), "b": (["0.2", "0.2"], "m"), "c": (["0.4"], "m")}
    assert asking.score([]) == []
    assert len(wire.bodies) == 3


@each_kind
def test_a_passage_without_a_score_is_not_left_out_in_silence(kind: Kind) -> None:
    def partly(body: dict[str, Any]) -> httpx.Response:
        whole = answer(body).json()
        if body["passages"][0] == "0.3":
            return answer(body)
        lost = [{"index": 1, "type": "inference_failed", "message": "why"}]
        rest = [result for result in whole["results"] if result["index"] != 1]
        return answer(body, results=rest, errors=lost)

    passages = ["0.1", {"id": "b", "text": "0.9"}]
    with pytest.raises(ServerError, match="1 of 2 passages have no score"):
        client(kind, Wire([partly])).rank("q", passages)
    with pytest.raises(ServerError):
        client(kind, Wire([partly])).score([("q", "0.1"), ("q", "0.2")])
    whole = client(kind, Wire([partly, partly]), max_passages=2, concurrency=1).ask(
        "q", ["0.3", "0.2", *passages]
    )
    (lost,) = whole.unscored
    assert (lost.index, lost.id, lost.type) == (3, "b", "inference_failed")
    assert indices(list(whole.results)) == [0, 1, 2]


@each_kind
def test_what_cannot_be_is_not_sent(kind: Kind) -> None:
    wire = Wire()
    asking = client(kind, wire)
    assert asking.rank("q", []) == []
    with pytest.raises(ValueError, match="top_n is 0"):
        asking.rank("q", TEXTS, top_n=0)
    with pytest.raises(ValueError, match="passage 1: expected a string"):
        asking.rank("q", ["0.1", {"id": "b"}])
    with pytest.raises(TypeError, match="min_scor"):
        asking.rank("q", TEXTS, min_scor=0.5)
    with pytest.raises(TypeError, match="min_score"):
        asking.score([("q", "0.1")], min_score=0.5)
    with pytest.raises(ValueError, match="timeout is 0"):
        asking.rank("q", TEXTS, timeout=0)
    for query, passages, param in (
        ("q\ud800", TEXTS, "query"),
        ("q", ["0.1", "\udc00"], "passages.1"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            asking.rank(query, passages)
        assert caught.value.param == param
    assert wire.requests == []


def test_parts_are_as_even_as_can_be() -> None:
    assert list(split([1] * 11, most=4, room=100)) == [(0, 4), (4, 8), (8, 11)]
    assert list(split([1] * 9, most=8, room=100)) == [(0, 5), (5, 9)]
    assert list(split([], most=4, room=100)) == [(0, 0)]
    (whole,) = question("q", TEXTS, None, {}).parts(7, 10_000)
    assert whole.start == 0
    assert len(whole.passages) == 7
