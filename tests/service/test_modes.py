from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import httpx
import numpy as np
import pytest

from retort.models.arrays import LogitArray
from retort.models.bundle import Bundle
from retort.models.encoding import Batch
from retort.service.engine.link import LocalLink
from retort.service.service import Service
from retort.service.settings import Settings
from retort.service.shadow.engine_teacher import EngineTeacher
from tests.fake_bundle import overlap
from tests.service.running import PATIENCE_SECONDS, AppTest, ask

QUERY = "how tall is the eiffel tower"
# By overlap: 1, 0.5, 0.33, 0.25 and nothing; the first two are near, the rest is far away.
PASSAGES = ["the tower", "the tower old city", "the old city"] + [f"river {n}" for n in range(5)]


class Teacher:
    """A teacher that agrees until the golden pairs are through, and then likes rivers."""

    def __init__(self) -> None:
        self.awake = False
        self.pairs = 0
        self.go = threading.Event()
        self.go.set()
        self.broken = False

    def __call__(self, batch: Batch) -> LogitArray:
        if not self.awake:
            return overlap(batch)
        assert self.go.wait(60)
        if self.broken:
            raise RuntimeError("out of memory")
        self.pairs += len(batch.input_ids)
        logits: LogitArray = -overlap(batch)
        return logits


def settings(**given: Any) -> Settings:
    return Settings(teacher="fake", **given)


def counted(text: str, sample: str) -> float:
    (line,) = (line for line in text.splitlines() if line.startswith(f"{sample} "))
    return float(line.rpartition(" ")[2])


def patient(service: Service, seconds: float = PATIENCE_SECONDS) -> None:
    """Let the shadow wait so long for an idle moment."""
    assert service.shadow is not None
    teacher = service.shadow.teacher
    assert isinstance(teacher, EngineTeacher)
    teacher._patience = seconds


def by_mode(bundle: Bundle, test: AppTest, teacher: Teacher, settings: Settings) -> None:
    async def awake(client: httpx.AsyncClient, service: Service) -> None:
        teacher.awake = True
        if service.shadow is not None:
            # A machine that is busy with something else is not to drop what a test waits for.
            patient(service)
        await test(client, service)

    ask(bundle, awake, settings=settings, teacher_infer=teacher)


async def score(client: httpx.AsyncClient, **given: Any) -> dict[str, Any]:
    reply = await client.post("/score", json={"query": QUERY, "passages": PASSAGES, **given})
    assert reply.status_code == 200, reply.text
    body: dict[str, Any] = reply.json()
    return body


def scores(body: dict[str, Any]) -> dict[int, float]:
    return {result["index"]: result["score"] for result in body["results"]}


def test_a_request_says_who_scores_it(fake_bundle: Bundle) -> None:
    teacher = Teacher()

    async def test(client: httpx.AsyncClient, _: Service) -> None:
        student = await score(client)
        assert (student["mode"], student["usage"]["teacher_pairs"]) == ("student", 0)
        assert teacher.pairs == 0
        taught = await score(client, mode="teacher")
        assert (student["model"], taught["model"]) == ("fake", "fake-teacher")
        assert (taught["mode"], taught["usage"]["teacher_pairs"]) == ("teacher", len(PASSAGES))
        for index, value in scores(taught).items():
            assert value == pytest.approx(1 - scores(student)[index])
        assert all("by" not in result for result in student["results"] + taught["results"])

    by_mode(fake_bundle, test, teacher, settings())


def test_a_cascade_asks_about_the_doubtful_and_averages(fake_bundle: Bundle) -> None:
    teacher = Teacher()

    async def test(client: httpx.AsyncClient, service: Service) -> None:
        alone = scores(await score(client, mode="student"))
        body = await score(client, mode="cascade")
        asked = [r["index"] for r in body["results"] if r["by"] == "teacher"]
        assert body["usage"]["teacher_pairs"] == len(asked) == teacher.pairs
        assert 1 <= len(asked) <= 2
        for result in body["results"]:
            before = alone[result["index"]]
            # The teacher's own score is 1 - before.
            after = 0.5 if result["index"] in asked else before
            assert result["score"] == pytest.approx(after)
        ranked = [result["score"] for result in body["results"]]
        assert ranked == sorted(ranked, reverse=True)
        text = (await client.get("/metrics")).text
        assert counted(text, 'retort_cascade_requests_total{outcome="asked"}') == 1
        told = {
            role: counted(text, f'retort_cascade_passages_total{{by="{role}"}}')
            for role in ("student", "teacher")
        }
        assert told == {"teacher": len(asked), "student": len(PASSAGES) - len(asked)}
        raw = await score(client, mode="cascade", raw_scores=True)
        assert {r["index"] for r in raw["results"] if r["by"] == "teacher"} == set(asked)
        assert all(r["score"] == 0 for r in raw["results"] if r["by"] == "teacher")

    by_mode(fake_bundle, test, teacher, settings(cascade_share=0.25))


@pytest.mark.parametrize(
    ("share", "passages"), [(0.25, PASSAGES[:3]), (0.0, PASSAGES), (1.0, ["the tower", "river"])]
)
def test_a_cascade_that_the_student_settles(
    fake_bundle: Bundle, share: float, passages: list[str]
) -> None:
    def sure(batch: Batch) -> LogitArray:
        # Both heads the same: no spread.
        return np.repeat(overlap(batch)[:, :1], 2, axis=1) if teacher.awake else overlap(batch)

    teacher = Teacher()

    async def test(client: httpx.AsyncClient, _: Service) -> None:
        teacher.awake = True
        body = await score(client, passages=passages)
        assert body["mode"] == "cascade"
        assert {result["by"] for result in body["results"]} == {"student"}
        text = (await client.get("/metrics")).text
        assert counted(text, 'retort_cascade_requests_total{outcome="settled"}') == 1
        assert teacher.pairs == 0

    ask(
        fake_bundle,
        test,
        sure,
        settings(mode="cascade", cascade_share=share),
        teacher_infer=teacher,
    )


def late(bundle: Bundle, teacher: Teacher, prepare: AppTest, **given: Any) -> None:
    """In every such case the student's scores stand."""

    async def test(client: httpx.AsyncClient, service: Service) -> None:
        alone = await score(client)
        await prepare(client, service)
        body = await score(client, mode="cascade", **given)
        assert scores(body) == scores(alone)
        assert body["usage"]["teacher_pairs"] == 0
        text = (await client.get("/metrics")).text
        assert counted(text, 'retort_cascade_requests_total{outcome="late"}') == 1
        teacher.go.set()

    by_mode(bundle, test, teacher, settings())


def test_a_teacher_that_is_too_slow_does_not_make_the_answer_late(fake_bundle: Bundle) -> None:
    teacher = Teacher()

    async def hold(client: httpx.AsyncClient, service: Service) -> None:
        teacher.go.clear()

    late(fake_bundle, teacher, hold, timeout_ms=2_000)


def test_a_teacher_that_would_be_too_slow_is_not_asked(fake_bundle: Bundle) -> None:
    teacher = Teacher()

    async def slow(client: httpx.AsyncClient, service: Service) -> None:
        assert service.teacher is not None
        link = service.teacher.now().scorer.link
        assert isinstance(link, LocalLink)
        link.engine.queue.pace.observed(1, 1e6)
        await asyncio.sleep(0.2)

    late(fake_bundle, teacher, slow)
    assert teacher.pairs == 0


def test_a_teacher_that_fails_leaves_the_students_scores(fake_bundle: Bundle) -> None:
    teacher = Teacher()

    async def fail(client: httpx.AsyncClient, service: Service) -> None:
        teacher.broken = True

    late(fake_bundle, teacher, fail)


def test_readiness_asks_who_answers(fake_bundle: Bundle) -> None:
    for mode, status in (("student", 200), ("cascade", 200), ("teacher", 503)):
        teacher = Teacher()

        async def test(
            client: httpx.AsyncClient, _: Service, teacher: Teacher = teacher, status: int = status
        ) -> None:
            teacher.broken = True
            await client.post(
                "/score", json={"query": QUERY, "passages": PASSAGES, "mode": "teacher"}
            )
            assert (await client.get("/info")).json()["teacher"]["healthy"] is False
            assert (await client.get("/readyz")).status_code == status
            teacher.broken = False
            # Its engine tries by itself.
            end = time.monotonic() + PATIENCE_SECONDS
            while (await client.get("/readyz")).status_code != 200:
                assert time.monotonic() < end
                await asyncio.sleep(0.02)

        by_mode(fake_bundle, test, teacher, settings(mode=mode))


def test_a_teacher_that_does_not_reproduce_its_golden_scores_stops_the_start(
    fake_bundle: Bundle,
) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        reply = await client.get("/readyz")
        assert reply.status_code == 503
        assert "does not reproduce the golden scores" in reply.json()["reason"]

    ask(fake_bundle, test, settings=settings(), teacher_infer=lambda batch: -overlap(batch))


def test_without_a_teacher(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, _: Service) -> None:
        body = {"query": QUERY, "passages": PASSAGES}
        for mode in ("teacher", "cascade"):
            reply = await client.post("/score", json={**body, "mode": mode})
            assert reply.status_code == 422
            error = reply.json()["error"]
            assert error["param"] == "mode"
            assert "the setting teacher" in error["message"]
        assert (await score(client, mode="student"))["mode"] == "student"
        reply = await client.post("/score", json={**body, "mode": "both"})
        assert (reply.status_code, reply.json()["error"]["param"]) == (422, "mode")
        info = (await client.get("/info")).json()
        assert (info["teacher"], info["modes"]) == (None, ["student"])
        comparison = (await client.get("/comparison")).json()
        assert comparison["teacher"] is None
        assert comparison["speedup"] is None
        assert "retort_shadow_top1_agreement{" not in (await client.get("/metrics")).text

    ask(fake_bundle, test)


def test_aliases_use_the_servers_mode(fake_bundle: Bundle) -> None:
    teacher = Teacher()

    async def test(client: httpx.AsyncClient, _: Service) -> None:
        expected = scores(await score(client, mode="teacher"))
        body = {"query": QUERY, "documents": PASSAGES}
        for path in ("/v1/rerank", "/v2/rerank"):
            results = (await client.post(path, json=body)).json()["results"]
            assert {r["index"]: r["relevance_score"] for r in results} == expected
        tei = await client.post("/rerank", json={"query": QUERY, "texts": PASSAGES})
        assert {r["index"]: r["score"] for r in tei.json()} == expected
        jina = await client.post("/v1/rerank", json=body)
        assert jina.json()["model"] == "fake-teacher"
        vllm = await client.post("/v1/score", json={"queries": QUERY, "documents": PASSAGES})
        assert {r["index"]: r["score"] for r in vllm.json()["data"]} == expected
        assert vllm.json()["model"] == "fake-teacher"

    by_mode(fake_bundle, test, teacher, settings(mode="teacher"))


def test_the_teachers_requests_wait_in_a_queue_of_their_own(fake_bundle: Bundle) -> None:
    teacher = Teacher()

    async def test(client: httpx.AsyncClient, service: Service) -> None:
        teacher.go.clear()
        slow = asyncio.create_task(score(client, mode="teacher"))
        assert service.teacher is not None
        while not service.teacher.queue_tokens:
            await asyncio.sleep(0.01)
        # The student answers as if there were no teacher.
        assert (await score(client))["mode"] == "student"
        assert not slow.done()
        teacher.go.set()
        assert (await slow)["mode"] == "teacher"

    by_mode(fake_bundle, test, teacher, settings())
