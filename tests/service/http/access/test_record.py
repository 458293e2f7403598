from __future__ import annotations

import asyncio
import json
import logging

import httpx
import pytest

from retort.models.arrays import LogitArray
from retort.models.bundle import Bundle
from retort.models.encoding import Batch
from retort.service.http.app import create_app
from retort.service.log import JsonFormatter
from retort.service.service import Service
from retort.service.settings import Settings
from tests.fake_bundle import overlap
from tests.service.running import ask, fake_service, server

QUERY = "how tall is the eiffel tower"
BODY = {"query": QUERY, "documents": ["the eiffel tower", "paris " * 300]}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [
        json.loads(JsonFormatter("front0").format(record))
        for record in caplog.records
        if record.name == "retort.access"
    ]


def test_a_request_leaves_one_line_without_its_texts(
    fake_bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        headers = {"X-Request-Id": "abc-1", "traceparent": TRACE, "X-API-Key": "hush"}
        with caplog.at_level(logging.INFO, "retort.access"):
            reply = await client.post("/v2/rerank", json=BODY, headers=headers)
            await client.get("/livez")
            await client.get("/readyz")
        assert reply.headers["X-Request-Id"] == "abc-1"
        assert reply.headers["traceparent"] == TRACE

    ask(fake_bundle, test, settings=Settings(api_key="hush"))
    (line,) = lines(caplog)
    assert isinstance(line["ms"], float)
    assert isinstance(line["pairs"], int)
    assert line["passages"] == 2
    assert line["pairs"] > 2
    known = {name: line[name] for name in ("key", "method", "route", "status", "model")}
    assert known == {
        "key": "default",
        "method": "POST",
        "route": "/v2/rerank",
        "status": 200,
        "model": "fake",
    }
    assert (line["request_id"], line["trace_id"]) == ("abc-1", TRACE[3:35])
    assert "eiffel" not in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/score", {"query": "", "passages": ["a"]}, 422),
        ("/rerank", {"query": QUERY, "texts": []}, 422),
        ("/v2/rerank", {"query": QUERY, "documents": []}, 422),
        ("/v4/rerank", {}, 404),
        ("/score", None, 401),
    ],
)
def test_a_refusal_has_the_request_id_and_a_line(
    fake_bundle: Bundle,
    caplog: pytest.LogCaptureFixture,
    path: str,
    body: dict[str, object] | None,
    status: int,
) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        key = {} if body is None else {"X-API-Key": "hush"}
        with caplog.at_level(logging.INFO, "retort.access"):
            reply = await client.post(path, json=body or {}, headers=key)
        assert reply.status_code == status
        made = reply.headers["X-Request-Id"]
        assert len(made) == 32
        assert reply.json()["request_id"] == made
        (line,) = lines(caplog)
        assert (line["status"], line["request_id"]) == (status, made)

    ask(fake_bundle, test, settings=Settings(api_key="hush"))


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "caf\u00e9"])
def test_a_bad_request_id_is_replaced(fake_bundle: Bundle, given: str) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        headers = {b"X-Request-Id": given.encode()}
        reply = await client.get("/livez", headers=headers)
        assert reply.headers["X-Request-Id"] != given
        assert len(reply.headers["X-Request-Id"]) == 32

    ask(fake_bundle, test)


def test_what_went_wrong_inside_stays_inside(
    fake_bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    ready = False

    def infer(batch: Batch) -> LogitArray:
        if ready:
            raise RuntimeError("injected secret text")
        return overlap(batch)

    async def test(client: httpx.AsyncClient, _: Service) -> None:
        nonlocal ready
        ready = True
        for path, field in (("/score", "passages"), ("/v2/rerank", "documents")):
            reply = await client.post(path, json={"query": QUERY, field: ["paris"]})
            assert reply.status_code == 500
            assert "secret" not in reply.text

    ask(fake_bundle, test, infer)
    assert "injected secret text" in caplog.text


def test_a_model_that_cannot_be_loaded_is_no_secret_told(fake_bundle: Bundle) -> None:
    def infer(batch: Batch) -> LogitArray:
        raise ValueError("injected secret text")

    async def main() -> None:
        service = fake_service(fake_bundle, infer, Settings())
        app = create_app(service)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://retort") as client,
        ):
            while (await client.get("/readyz")).json()["status"] == "loading":
                await asyncio.sleep(0.01)
            for path in ("/readyz", "/livez"):
                reply = await client.get(path)
                assert reply.status_code == 503
                assert "secret" not in reply.text
            body = {"query": QUERY, "passages": ["paris"]}
            assert "secret" not in (await client.post("/score", json=body)).text

    asyncio.run(main())


def test_the_request_id_is_the_id_of_the_answer(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        headers = {"X-Request-Id": "abc"}
        body = {"query": QUERY, "passages": ["paris"]}
        own = await client.post("/score", json=body, headers=headers)
        other = await client.post("/v2/rerank", json=BODY, headers=headers)
        assert own.json()["id"] == other.json()["id"] == "abc"

    ask(fake_bundle, test)


@pytest.mark.slow
def test_a_server_logs_json(tiny_bundle: Bundle) -> None:
    flags = ("--bundle", str(tiny_bundle.folder), "--log-format", "json", "--access-log")
    with server(*flags) as running:
        for _ in range(3):
            httpx.post(f"{running.url}/v1/rerank", json=BODY)
        assert running.stop() == 0
        # Python itself warns of files that are open at the end.
        logged = [line for line in running.rest().splitlines() if line.startswith("{")]
    written = [json.loads(line) for line in logged]
    asked = [line for line in written if line["logger"] == "retort.access"]
    assert [line["route"] for line in asked if line["route"] == "/v1/rerank"] == ["/v1/rerank"] * 3
    assert all({"time", "level", "process"} <= line.keys() for line in written)


@pytest.mark.slow
def test_the_access_log_is_off_unless_asked_for(tiny_bundle: Bundle) -> None:
    with server("--bundle", str(tiny_bundle.folder)) as running:
        httpx.post(f"{running.url}/v1/rerank", json=BODY)
        assert running.stop() == 0
        assert "retort.access" not in running.rest()
