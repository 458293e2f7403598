"""A RoBERTa as the teacher of a BERT student: each reads with its own tokenizer and layout."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import numpy as np
import pytest

from retort.models.arrays import FloatArray
from retort.models.bundle import Bundle
from retort.models.runtime.options import RuntimeOptions
from retort.ranker import Ranker
from retort.service.engines import LocalEngines
from retort.service.http.app import create_app
from retort.service.metrics import Metrics
from retort.service.service import Service
from retort.service.settings import Settings
from tests.service.running import PATIENCE_SECONDS
from tests.service.test_modes import counted
from tests.tiny_texts import PASSAGES, QUERIES

OPTIONS = RuntimeOptions(backend="onnxruntime", provider="cpu", precision="fp32", threads=1)
# One of them is read in windows by both.
TEXTS = [*PASSAGES, "the old city and the river. " * 20]


def serve(
    student: Bundle,
    teacher: Bundle,
    test: Callable[[httpx.AsyncClient], Awaitable[None]],
    shadow: float = 0.0,
) -> None:
    settings = Settings(
        teacher=str(teacher.folder), backend="onnxruntime", precision="fp32", provider="cpu",
        teacher_backend="onnxruntime", teacher_precision="fp32", threads=1, streams=1,
        shadow=shadow,
    )  # fmt: skip

    async def main() -> None:
        service = Service(settings, LocalEngines(settings, Metrics(), [student], teacher))
        app = create_app(service)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://retort"
            ) as client,
        ):
            end = time.monotonic() + PATIENCE_SECONDS
            while (await client.get("/readyz")).json()["status"] == "loading":
                assert time.monotonic() < end
                await asyncio.sleep(0.01)
            await test(client)

    asyncio.run(main())


def alone(bundle: Bundle) -> FloatArray:
    """The scores of a bundle that is served by nobody."""
    return Ranker(bundle, OPTIONS).score([(QUERIES[0], text) for text in TEXTS])


async def answer(client: httpx.AsyncClient, mode: str) -> dict[str, Any]:
    body = {"query": QUERIES[0], "passages": TEXTS, "mode": mode}
    found: dict[str, Any] = (await client.post("/score", json=body)).json()
    return found


def test_each_role_scores_as_its_bundle_does_alone(
    tiny_bundle: Bundle, roberta_bundle: Bundle
) -> None:
    own = {"student": alone(tiny_bundle), "teacher": alone(roberta_bundle)}

    async def test(client: httpx.AsyncClient) -> None:
        # In turn and twice, so that the second time finds its tokens kept.
        for mode in ("student", "teacher") * 2:
            found = await answer(client, mode)
            scores = {row["index"]: row["score"] for row in found["results"]}
            assert [scores[row] for row in range(len(TEXTS))] == pytest.approx(own[mode], abs=1e-5)
            assert found["usage"]["windows"] > 2

    serve(tiny_bundle, roberta_bundle, test)


def test_a_cascade_averages_what_the_two_say(tiny_bundle: Bundle, roberta_bundle: Bundle) -> None:
    student, teacher = alone(tiny_bundle), alone(roberta_bundle)

    async def test(client: httpx.AsyncClient) -> None:
        found = await answer(client, "cascade")
        by = [row["by"] for row in found["results"]]
        assert {"student", "teacher"} == set(by)
        for row in found["results"]:
            own = student[row["index"]]
            expected = own if row["by"] == "student" else (own + teacher[row["index"]]) / 2
            assert row["score"] == pytest.approx(expected, abs=1e-5)

    serve(tiny_bundle, roberta_bundle, test)


def test_a_shadow_measures_how_far_they_are_apart(
    tiny_bundle: Bundle, roberta_bundle: Bundle
) -> None:
    apart = float(np.abs(alone(tiny_bundle) - alone(roberta_bundle)).mean())

    async def test(client: httpx.AsyncClient) -> None:
        await answer(client, "student")
        name = f'{{version="{tiny_bundle.manifest.version}"}}'
        compared = f"retort_shadow_compared_total{name}"
        end = time.monotonic() + PATIENCE_SECONDS
        while counted(text := (await client.get("/metrics")).text, compared) < 1:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        found = counted(text, f"retort_shadow_score_difference_sum{name}")
        assert found == pytest.approx(apart, abs=1e-5)

    serve(tiny_bundle, roberta_bundle, test, shadow=1.0)
