from __future__ import annotations

from typing import Any

import pytest

from retort.models.bundle import Bundle
from retort.service.settings import Settings
from tests.service.http.aliases.telling import QUERY, TEXTS, reply_to, told

GOOD = {"query": QUERY, "documents": TEXTS}
# What clients send: a null for everything unset, text for numbers and booleans, and fields that
# their own servers take.
SENT: list[dict[str, Any]] = [
    {"max_chunks_per_doc": None, "top_n": None, "return_documents": None, "model": None},
    {"top_n": "2", "return_documents": "true", "max_chunks_per_doc": "10"},
    {"return_documents": "False", "score_threshold": "0.0", "top_n": 2.0},
    {"user": "me", "request_id": "7", "priority": 3, "encoding_format": "float"},
    {"mm_processor_kwargs": None, "padding": False, "return_embeddings": False},
    {"return_len": True, "kwargs": {"a": 1}, "instruction": ""},
]


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
@pytest.mark.parametrize("sent", SENT)
def test_what_clients_send_is_taken(fake_bundle: Bundle, path: str, sent: dict[str, Any]) -> None:
    reply = reply_to(fake_bundle, path, GOOD | sent)
    assert reply.status_code == 200, reply.text
    assert "Retort-Warnings" not in reply.headers
    results = reply.json()["results"]
    assert len(results) == (2 if sent.get("top_n") else 3)
    if isinstance(sent.get("return_documents"), str):
        assert ("document" in results[0]) == (sent["return_documents"] == "true")


@pytest.mark.parametrize(
    ("sent", "names"),
    [
        ({"colour": "red"}, ["colour"]),
        ({"instruction": "by height", "max_tokens_per_query": 5}, ["instruction", "max_tokens"]),
        ({'na"me\r\n\x7fü': 1}, ['na"me']),
    ],
)
def test_what_is_not_done_is_warned_of_or_refused(
    fake_bundle: Bundle, sent: dict[str, Any], names: list[str]
) -> None:
    reply = reply_to(fake_bundle, "/v1/rerank", GOOD | sent)
    warnings = reply.json()["warnings"]
    assert len(warnings) == len(names)
    for warning, name in zip(warnings, names, strict=True):
        assert warning.startswith(name)
    header = reply.headers["Retort-Warnings"]
    assert header.count('", "') == len(names) - 1
    assert header.isascii()
    assert header.isprintable()
    strict = Settings(strict_aliases=True)
    error = told(fake_bundle, "/v1/rerank", GOOD | sent, status=422, settings=strict)["error"]
    assert error["message"].startswith(names[0])
    assert "was ignored" not in error["message"]
    assert error["message"].startswith(f"{error['param']}: ")
    told(fake_bundle, "/v1/rerank", GOOD | {"user": "me"}, settings=strict)


def test_the_header_of_many_warnings_is_short(fake_bundle: Bundle) -> None:
    sent = {f"colour{number}": number for number in range(1, 501)}
    reply = reply_to(fake_bundle, "/v1/rerank", GOOD | sent)
    assert len(reply.json()["warnings"]) == 500
    header = reply.headers["Retort-Warnings"]
    assert len(header) < 2_100
    told_here = header.count("was ignored")
    assert header.endswith(f'"{500 - told_here} more"')


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"top_n": "two"}, "top_n"),
        ({"score_threshold": "nan"}, "score_threshold"),
        ({"score_threshold": "-Infinity"}, "score_threshold"),
        ({"return_documents": "maybe"}, "return_documents"),
        ({"truncation_side": "up"}, "truncation_side"),
        ({"query": None}, "query"),
        ({"documents": None, "texts": None}, "documents"),
    ],
)
def test_values_that_make_no_sense_are_refused(
    fake_bundle: Bundle, sent: dict[str, Any], param: str
) -> None:
    error = told(fake_bundle, "/v1/rerank", GOOD | sent, status=422)
    assert error["error"]["param"] == param
    assert error["detail"] == error["message"] == error["error"]["message"]
    assert error["error"]["code"] == 422


def test_keys_without_end_are_refused(fake_bundle: Bundle) -> None:
    keys = b",".join(b'"%d":1' % number for number in range(50_000))
    body = b'{"query":"q","documents":[{"text":"a",' + keys + b"}]}"
    assert told(fake_bundle, "/v1/rerank", body, status=413)["error"]["type"] == "too_large"
