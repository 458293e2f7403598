from __future__ import annotations

import re

import httpx
import pytest

from retort.models.bundle import Bundle
from retort.service.http.aliases.routes import ALIASES, SCORE
from retort.service.service import Service
from retort.service.settings import Settings
from tests.service.running import ask

QUERY = "how tall is the eiffel tower"
PASSAGES = ["who wrote hamlet", {"id": "b7", "text": "the eiffel tower"}, "paris", "the city"]


def test_every_route_is_counted_by_its_own_name(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        for route in (SCORE, *ALIASES):
            await client.post(route.path, json={})
        text = (await client.get("/metrics")).text
        for route in (SCORE, *ALIASES):
            assert f'retort_requests_total{{route="{route.path}",status="422"}} 1.0' in text
        assert 'route="other"' not in text

    ask(fake_bundle, test)


def test_metrics_count_by_known_routes_only(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        await client.post("/score", json={"query": QUERY, "passages": PASSAGES})
        await client.post("/score", json={"query": QUERY, "passages": ["tower " * 500, "", "日"]})
        for number in range(3):
            await client.get(f"/scan/{number}")
        text = (await client.get("/metrics")).text
        assert 'retort_requests_total{route="/score",status="200"} 2.0' in text
        assert 'retort_requests_total{route="other",status="404"} 3.0' in text
        assert "retort_passages_total 7.0" in text
        windows = re.findall(r"retort_windows_total (\d+)\.0", text)
        assert int(windows[0]) > 10
        assert "retort_truncated_pairs_total 0.0" in text
        assert "retort_unknown_tokens_total 1.0" in text
        assert 'retort_flagged_passages_total{flag="empty"} 1.0' in text
        assert 'retort_flagged_passages_total{flag="unfamiliar"} 1.0' in text
        pairs = re.findall(r"retort_pair_seconds_count\{.*student.* (\d+)\.0", text)
        assert sum(map(int, pairs)) == 4 + int(windows[0])
        assert 'retort_model_info{backend="fake"' in text
        assert 'retort_stage_seconds_count{stage="total"} 2.0' in text

    ask(fake_bundle, test)


def test_traffic_makes_no_series_of_its_own(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        async def series() -> set[str]:
            lines = (await client.get("/metrics")).text.splitlines()
            return {line.rpartition(" ")[0] for line in lines if not line.startswith("#")}

        async def send(number: int) -> None:
            passages = [{"id": f"p{number}-{k}", "text": "old " * (number + k)} for k in range(5)]
            told = {"X-Request-Id": f"r{number}", "User-Agent": f"client/{number}"}
            body = {"query": f"{QUERY} {number}", "passages": passages * (1 + number)}
            await client.post("/score", json=body, headers=told)
            await client.post("/score", json=body | {"model": f"model-{number}"})
            documents = {"query": QUERY, "documents": ["paris"], f"colour{number}": number}
            await client.post("/v1/rerank", json=documents, headers=told)
            await client.get(f"/scan/{number}?page={number}")
            await series()

        await send(1)
        first = await series()
        for number in range(2, 30):
            await send(number)
        assert await series() == first
        assert len(first) < 1_000

    ask(fake_bundle, test)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic hush"}, 401),
        ({"X-API-Key": "wröng".encode().decode("latin-1")}, 401),
        ({"Authorization": "Bearer hush"}, 200),
        ({"X-API-Key": "hush"}, 200),
    ],
)
def test_the_api_key(fake_bundle: Bundle, headers: dict[str, str], status: int) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        sent = httpx.Headers(headers, encoding="latin-1")
        body = {"query": QUERY, "passages": ["paris"]}
        reply = await client.post("/score", json=body, headers=sent)
        assert reply.status_code == status
        if status == 401:
            assert reply.json()["error"]["type"] == "unauthorized"
            assert reply.headers["www-authenticate"] == "Bearer"
        assert (await client.get("/info", headers=sent)).status_code == status
        for path in ("/livez", "/readyz", "/health", "/metrics", "/docs"):
            assert (await client.get(path)).status_code == 200
        text = (await client.get("/metrics")).text
        rejected = 'retort_rejected_total{reason="unauthorized"} 2.0' in text
        assert rejected == (status == 401)

    ask(fake_bundle, test, settings=Settings(api_key="hush"))
