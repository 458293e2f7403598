from __future__ import annotations

import time
from collections.abc import AsyncIterator

import httpx
import orjson
import pytest

from retort.models.bundle import Bundle
from retort.service.errors import InvalidRequest, TooLarge
from retort.service.http.aliases.routes import SCORE
from retort.service.http.bodies import check_count, decode_at_once
from retort.service.http.context import RequestContext
from retort.service.http.schemas import ScoreRequest
from retort.service.service import Service
from retort.service.settings import Settings
from tests.service.running import ask


def parsed(body: bytes, max_passages: int = 4_000) -> ScoreRequest:
    _, request = decode_at_once(SCORE, body, max_passages, RequestContext())
    assert isinstance(request, ScoreRequest)
    return request


def test_passages_are_texts_or_objects() -> None:
    body = b'{"query": "q", "passages": ["a", {"id": 7, "text": "b"}, {"text": "c"}]}'
    request = parsed(body)
    assert request.texts() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": " \n"}, "query"),
        ({"query": 3}, "query"),
        ({"query": None}, "query"),
        ({"passages": []}, "passages"),
        ({"passages": "a"}, "passages"),
        ({"passages": {"a": "b"}}, "passages"),
        ({"passages": ["a", 3]}, "passages.1"),
        ({"passages": ["a", None]}, "passages.1"),
        ({"passages": ["a", ["b"]]}, "passages.1"),
        ({"passages": ["a", {}]}, "passages.1.text"),
        ({"passages": [{"text": 3}]}, "passages.0.text"),
        ({"passages": [{"text": "a", "titel": "b"}]}, "passages.0.titel"),
        ({"passages": [{"text": "a", "id": 1.5}]}, "passages.0.id"),
        ({"top_n": 0}, "top_n"),
        ({"top_n": "3"}, "top_n"),
        ({"return_passages": "yes"}, "return_passages"),
        ({"raw_scores": 1}, "raw_scores"),
        ({"timeout_ms": 0}, "timeout_ms"),
        ({"topn": 3}, "topn"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, object], param: str) -> None:
    body = orjson.dumps({"query": "q", "passages": ["p"]} | change)
    with pytest.raises(InvalidRequest) as caught:
        parsed(body)
    told = caught.value.param
    assert told is not None
    assert told == param or told.startswith(f"{param}.")
    assert caught.value.message.startswith(told)
    assert "Value error" not in caught.value.message


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ('{"query":"q","passages":["ok","cut \\ud83d"]}', "passages.1"),
        ('{"query":"q","passages":["ok",{"id":1,"text":"\\ude00 cut"}]}', "passages.1.text"),
        ('{"query":"\\ud83d","passages":["ok"]}', "query"),
        ('{"query":"q","passages":["\\ud83d\\ude00","\\\\ud83d","\\uDBFF!"]}', "passages.2"),
        (
            '{"query":"q","passages":[' + f'"{"x" * 2_000}",' * 2_000 + '"\\ud83d"]}',
            "passages.2000",
        ),
    ],
)
def test_half_a_character_is_found(raw: str, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parsed(raw.encode())
    assert caught.value.param == param


def test_a_byte_order_mark_is_no_mistake() -> None:
    assert parsed(b'\xef\xbb\xbf{"query":"q","passages":["a"]}', 10).texts() == ["a"]


@pytest.mark.parametrize(
    "element", [b'"a"', b'""', b'"\\""', b'{"text":"a","id":1}', b'["a","a","a","a","a","a","a"]']
)
def test_elements_are_counted_before_they_are_made(element: bytes) -> None:
    many = b",".join([element] * 100_000)
    start = time.process_time()
    with pytest.raises((TooLarge, InvalidRequest)) as caught:
        parsed(b'{"query":"q","passages":[' + many + b"]}", 100)
    # To make them all takes longer.
    assert time.process_time() - start < 0.05
    assert caught.value.param is not None
    assert caught.value.param.startswith("passages")


def test_passages_with_many_words_in_quotes_are_no_reason_to_refuse() -> None:
    text = '"yes", he said. ' * 100
    body = orjson.dumps({"query": "q", "passages": [text] * 100})
    assert parsed(body, 100).texts() == [text] * 100


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense", b'{"query": "\xff", "passages": ["a"]}'])
def test_what_is_no_json_in_utf8(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="not JSON in UTF-8"):
        parsed(body)


@pytest.mark.parametrize("body", [b"[]", b"3", b"null"])
def test_what_is_no_object(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="the body"):
        parsed(body)


def test_too_many_passages() -> None:
    check_count(10, 10, "passages")
    with pytest.raises(TooLarge, match="11 passages, the limit is 10"):
        check_count(11, 10, "passages")


def test_the_body_is_counted_as_it_comes(fake_bundle: Bundle) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1000
            yield b"x" * 1000

    async def test(client: httpx.AsyncClient, _: Service) -> None:
        reply = await client.post("/score", content=endless())
        assert reply.status_code == 413
        assert reply.json()["error"]["type"] == "too_large"
        assert read <= 12_000

    ask(fake_bundle, test, settings=Settings(max_body_bytes=10_000))
