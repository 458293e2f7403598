from __future__ import annotations

import httpx

from retort.models.bundle import Bundle
from retort.service.service import Service
from retort.service.settings import Settings
from tests.service.running import ask

QUERY = "how tall is the eiffel tower"


def test_too_many_passages(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        reply = await client.post("/score", json={"query": "q", "passages": ["p"] * 11})
        assert reply.status_code == 413
        assert reply.json()["error"]["param"] == "passages"

    ask(fake_bundle, test, settings=Settings(max_passages=10))


def test_an_unexpected_error_keeps_the_shape_and_its_secrets(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, service: Service) -> None:
        def broken(*_: object) -> None:
            raise RuntimeError("/etc/secret")

        service.score = broken  # type: ignore[method-assign, assignment]
        reply = await client.post("/score", json={"query": QUERY, "passages": ["paris"]})
        assert reply.status_code == 500
        assert reply.json()["error"]["type"] == "internal"
        assert "secret" not in reply.text

    ask(fake_bundle, test)


def test_info_docs_and_unknown_routes(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        info = (await client.get("/info")).json()
        assert info["model"]["name"] == "fake"
        assert info["backend"]["backend"] == "fake"
        assert info["backend"]["threads"] == 0  # one per core
        assert info["backend"]["golden"]["swapped"] == 0
        assert info["limits"]["max_passages"] == 4000
        page = (await client.get("/docs")).text
        assert "openapi.json" in page
        assert "http://" not in page
        assert "https://" not in page
        api = (await client.get("/openapi.json")).json()
        schemas = api["components"]["schemas"]
        assert schemas["ScoreRequest"]["required"] == ["query", "passages"]
        for method, path, status in (("GET", "/nope", 404), ("GET", "/score", 405)):
            reply = await client.request(method, path)
            assert reply.status_code == status
            assert {"type", "message", "param"} <= set(reply.json()["error"])

    ask(fake_bundle, test)
