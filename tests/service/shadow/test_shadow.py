from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from retort.models.arrays import LogitArray
from retort.models.bundle import Bundle
from retort.models.encoding import Batch
from retort.models.reading.windows import Reading
from retort.service.service import Service
from retort.service.settings import Settings
from retort.service.shadow.engine_teacher import CPU_PART
from retort.service.shadow.shadow import WAITING_CHARACTERS
from tests.fake_bundle import overlap
from tests.service.running import PATIENCE_SECONDS, ask
from tests.service.test_modes import Teacher, by_mode, patient

QUERY = "how tall is the eiffel tower"
PASSAGES = ["the tower", "the tower old city", "river"]
BODY = {"query": QUERY, "passages": PASSAGES}


def settings(**given: Any) -> Settings:
    return Settings(teacher="fake", **{"shadow": 1.0, **given})


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def outcomes(service: Service) -> dict[str, float]:
    return {
        sample.labels["outcome"]: sample.value
        for family in service.metrics.shadow.requests.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }


async def compared(service: Service, number: int) -> None:
    await until(lambda: outcomes(service)["compared"] == number)


def test_requests_are_compared_after_they_were_answered(
    fake_bundle: Bundle, tmp_path: Path
) -> None:
    teacher = Teacher()
    path = tmp_path / "d.jsonl"

    async def test(client: httpx.AsyncClient, service: Service) -> None:
        teacher.go.clear()
        first = (await client.post("/score", json=BODY)).json()
        assert first["usage"]["teacher_pairs"] == 0
        assert outcomes(service) == {"compared": 0, "dropped": 0, "failed": 0}
        teacher.go.set()
        await compared(service, 1)
        # Neither is a ranking by the student.
        await client.post("/score", json={**BODY, "passages": ["paris"]})
        await client.post("/score", json={**BODY, "mode": "teacher"})
        cascade = await client.post("/score", json={**BODY, "mode": "cascade"})
        assert cascade.json()["usage"]["teacher_pairs"] == 1
        await compared(service, 2)
        assert outcomes(service) == {"compared": 2, "dropped": 0, "failed": 0}
        told = (await client.get("/comparison")).json()
        assert told["compared"] == 2
        assert told["top1_agreement"] == 0
        assert told["kendall_tau"] == -1
        scores = [result["score"] for result in first["results"]]
        difference = sum(abs(2 * score - 1) for score in scores) / 3
        assert abs(told["score_difference"] - difference) < 1e-9
        assert told["student"]["pair_ms"] > 0
        ratio = told["teacher"]["pair_ms"] / told["student"]["pair_ms"]
        assert abs(told["speedup"] - ratio) < 1e-9
        text = (await client.get("/metrics")).text
        for line in (
            'retort_shadow_compared_total{version="0.0.1"} 2.0',
            'retort_shadow_top1_agreed_total{version="0.0.1"} 0.0',
            'retort_shadow_top1_agreement{version="0.0.1"} 0.0',
            'retort_shadow_kendall_tau_count{version="0.0.1"} 2.0',
            'retort_shadow_score_difference_count{version="0.0.1"} 2.0',
        ):
            assert line in text
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert [row["query"] for row in rows] == [QUERY, QUERY]
        assert rows[0]["passages"] == PASSAGES
        # What the student said, not what the cascade made of it.
        assert rows[0]["student_scores"] == rows[1]["student_scores"]
        for one, other in zip(rows[0]["student_scores"], rows[0]["teacher_scores"], strict=True):
            assert abs(one + other - 1) < 1e-5

    given = settings(disagreements=path, disagreement_texts=True, cascade_share=0.5)
    by_mode(fake_bundle, test, teacher, given)


def test_agreement_writes_nothing(fake_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"

    async def test(client: httpx.AsyncClient, service: Service) -> None:
        await client.post("/score", json=BODY)
        await compared(service, 1)
        assert (await client.get("/comparison")).json()["top1_agreement"] == 1
        assert path.read_bytes() == b""

    ask(fake_bundle, test, overlap, settings(disagreements=path), overlap)


def test_a_long_request_is_compared_whole_and_in_parts(fake_bundle: Bundle) -> None:
    shapes: list[int] = []

    def infer(batch: Batch) -> LogitArray:
        shapes.append(len(batch.input_ids))
        return overlap(batch)

    async def test(client: httpx.AsyncClient, service: Service) -> None:
        shapes.clear()
        await client.post("/score", json={**BODY, "passages": PASSAGES * 7})
        await compared(service, 1)
        assert sum(shapes) == 21
        assert max(shapes) <= CPU_PART
        assert (await client.get("/comparison")).json()["kendall_tau"] == 1

    ask(fake_bundle, test, overlap, settings(), infer)


def test_while_the_student_is_busy_the_teacher_is_not_asked(fake_bundle: Bundle) -> None:
    teacher = Teacher()
    go = threading.Event()

    def student(batch: Batch) -> LogitArray:
        assert not teacher.awake or go.wait(60)
        return overlap(batch)

    async def test(client: httpx.AsyncClient, service: Service) -> None:
        teacher.awake = True
        patient(service, 0.2)
        go.set()
        served, outcome = await service.student.score([QUERY], PASSAGES, 60, reading=Reading())
        go.clear()
        waiting = asyncio.create_task(client.post("/score", json=BODY))
        await until(lambda: service.student.queue_tokens > 0)
        assert service.shadow is not None
        service.shadow.offer(QUERY, PASSAGES, outcome, served.manifest)
        await until(lambda: outcomes(service)["dropped"] == 1)
        assert teacher.pairs == 0
        patient(service)
        go.set()
        await waiting
        await compared(service, 1)

    ask(fake_bundle, test, student, settings(), teacher)


def test_what_waits_is_bounded(fake_bundle: Bundle) -> None:
    teacher = Teacher()

    async def test(client: httpx.AsyncClient, service: Service) -> None:
        teacher.go.clear()
        body = {**BODY, "passages": PASSAGES * 100}
        for _ in range(5):
            assert (await client.post("/score", json=body)).status_code == 200
        assert outcomes(service)["dropped"] == 2
        long = {**BODY, "passages": ["a", "b" * WAITING_CHARACTERS]}
        assert (await client.post("/score", json=long)).status_code == 200
        assert outcomes(service)["dropped"] == 3
        teacher.go.set()
        await compared(service, 3)
        assert service.shadow is not None
        assert (service.shadow._passages, service.shadow._characters) == (0, 0)

    by_mode(fake_bundle, test, teacher, settings())


def test_a_teacher_that_fails_is_counted_and_nothing_else(fake_bundle: Bundle) -> None:
    teacher = Teacher()

    async def test(client: httpx.AsyncClient, service: Service) -> None:
        teacher.broken = True
        assert (await client.post("/score", json=BODY)).status_code == 200
        await until(lambda: outcomes(service)["failed"] == 1)
        teacher.broken = False
        await client.post("/score", json=BODY)
        await compared(service, 1)

    by_mode(fake_bundle, test, teacher, settings())


def test_a_share_is_a_share(fake_bundle: Bundle) -> None:
    chances = iter([0.2, 0.31, 0.29, 0.9])

    async def test(client: httpx.AsyncClient, service: Service) -> None:
        assert service.shadow is not None
        service.shadow._chance = lambda: next(chances)
        for _ in range(4):
            await client.post("/score", json=BODY)
        await compared(service, 2)
        assert outcomes(service)["dropped"] == 0

    ask(fake_bundle, test, overlap, settings(shadow=0.3), overlap)


def test_stopping_drops_what_waits(fake_bundle: Bundle) -> None:
    teacher = Teacher()

    async def test(client: httpx.AsyncClient, service: Service) -> None:
        teacher.go.clear()
        await client.post("/score", json=BODY)
        teacher.go.set()

    by_mode(fake_bundle, test, teacher, settings())
