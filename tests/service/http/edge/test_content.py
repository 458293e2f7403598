from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable

import httpx
import pytest

from retort.models.bundle import Bundle
from retort.service.errors import InvalidRequest, TooLarge
from retort.service.http.edge.content import unpack
from retort.service.service import Service
from retort.service.settings import Settings
from tests.service.running import ask

BODY = json.dumps({"query": "how tall is the tower", "passages": ["the tower", "paris"]}).encode()
PACKED = gzip.compress(BODY)
LIMIT = 100_000


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),
        ("identity", bytes),
        ("", bytes),
    ],
)
def test_packed_bodies_are_scored_like_plain_ones(
    fake_bundle: Bundle, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        plain = await client.post("/score", content=BODY)
        for body in (BODY, BODY[:-1] + b" " * 90_000 + b"}"):
            packed = await client.post(
                "/score", content=pack(body), headers={"Content-Encoding": encoding}
            )
            assert packed.json()["results"] == plain.json()["results"]

    ask(fake_bundle, test, settings=Settings(max_body_bytes=LIMIT))


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("br", BODY, 415),
        ("gzip, deflate", PACKED, 415),
        ("gzip", BODY, 422),
        ("gzip", PACKED[:-9], 422),
        ("gzip", PACKED + PACKED, 422),
        ("deflate", b"", 422),
        ("gzip", gzip.compress(b" " * (LIMIT + 1)), 413),
        ("gzip", gzip.compress(b" " * 1_000_000_000, 1), 413),
    ],
    ids=("unknown", "two", "plain", "short", "twice", "empty", "large", "bomb"),
)
def test_what_cannot_be_unpacked(
    fake_bundle: Bundle, encoding: str, body: bytes, status: int
) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        reply = await client.post("/score", content=body, headers={"Content-Encoding": encoding})
        assert reply.status_code == status
        if status == 415:
            assert reply.headers["accept-encoding"] == "gzip, deflate"

    ask(fake_bundle, test, settings=Settings(max_body_bytes=2 * LIMIT if status != 413 else LIMIT))


def test_a_bomb_is_unpacked_to_its_limit_and_no_further() -> None:
    bomb = gzip.compress(b"a" * 1000)
    assert unpack(bomb, b"gzip", 1000) == b"a" * 1000
    with pytest.raises(TooLarge):
        unpack(bomb, b"gzip", 999)
    with pytest.raises(InvalidRequest):
        unpack(bomb[:-1], b"gzip", 1000)


FORM, TEXT = "application/x-www-form-urlencoded", "text/plain;charset=UTF-8"
HOST = "127.0.0.1:8080"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        # No browser.
        ({}, 200),
        ({"Content-Type": FORM}, 200),
        ({"Content-Type": "text/plain"}, 200),
        # A page of this server.
        ({"Content-Type": TEXT, "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Content-Type": TEXT, "Origin": f"http://{HOST}"}, 200),
        ({"Content-Type": FORM, "Sec-Fetch-Site": "none"}, 200),
        # A page of another site, and a browser that has asked for leave.
        ({"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}, 200),
        ({"Content-Type": "application/json", "Origin": "https://evil.example"}, 200),
        # A page of another site, unasked.
        ({"Content-Type": TEXT, "Sec-Fetch-Site": "cross-site"}, 415),
        ({"Content-Type": TEXT, "Sec-Fetch-Site": "same-site"}, 415),
        ({"Content-Type": FORM, "Origin": "https://evil.example"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=a", "Origin": "null"}, 415),
        ({"Content-Type": TEXT, "Origin": "http://127.0.0.1:3000"}, 415),
        ({"Origin": "https://evil.example"}, 415),
    ],
)
def test_pages_of_other_sites(fake_bundle: Bundle, headers: dict[str, str], status: int) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        for path, field in (("/score", "passages"), ("/rerank", "texts")):
            body = json.dumps({"query": "how tall", field: ["the tower"]})
            sent = {"Host": HOST, **headers}
            assert (await client.post(path, content=body, headers=sent)).status_code == status

    ask(fake_bundle, test)
