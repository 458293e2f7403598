"""A teacher at a URL that is slow, refuses, is away or answers nonsense; clients notice nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from retort.client.retry import Clock
from retort.models.bundle import Bundle
from retort.models.errors import StartError
from retort.service.service import Service
from retort.service.settings import Settings, load_settings
from retort.service.shadow.shadow import WAITING_PASSAGES, url_teacher
from retort.service.shadow.teacher import Sample, TeacherScores
from retort.service.shadow.url_teacher import ANSWER_BYTES, LOG_SECONDS, UrlTeacher
from tests.fake_bundle import make_manifest
from tests.retort.client.rankers.strange import Strange, length_score, serve_strange
from tests.service.running import ask
from tests.service.shadow.test_shadow import BODY, compared, outcomes, until

URL = "https://ranker.example/v1/rerank"
SECRET = "what only the client may know"
SAMPLE = Sample(SECRET, ["long and wrong", "short"], np.array([0.2, 0.7]), make_manifest("s"))
EXPECTED = [length_score(SECRET, passage) for passage in SAMPLE.passages]

Handler = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]
TeacherTest = Callable[[UrlTeacher], Awaitable[None]]


class Watch:
    """A clock that stands still until it is set forward."""

    def __init__(self) -> None:
        self.now = 0.0

    @property
    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.now, wall=lambda: self.now)


def settings(url: str = URL, **given: Any) -> Settings:
    return Settings(teacher=url, **{"shadow": 1.0, **given})


def answering(strange: Strange) -> Callable[[httpx.Request], httpx.Response]:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(404)
        reply = strange.reply(json.loads(request.content), request.headers.get("Authorization"))
        (status, headers), content = reply
        return httpx.Response(status, headers=headers, json=content)

    return handle


def teach(handle: Handler, test: TeacherTest, watch: Watch | None = None, **given: Any) -> None:
    """Run a test with a teacher over a function."""

    async def main() -> None:
        transport = httpx.MockTransport(handle)  # type: ignore[arg-type]
        clock = (watch or Watch()).clock
        teacher = UrlTeacher(settings(**given), transport=transport, clock=clock)
        teacher.start()
        try:
            await test(teacher)
        finally:
            await teacher.stop()

    asyncio.run(main())


async def scored(teacher: UrlTeacher) -> TeacherScores:
    found = await teacher.score(SAMPLE)
    assert isinstance(found, TeacherScores), (found, teacher.distant)
    return found


def test_it_is_asked_in_its_shape_and_named_by_its_answer() -> None:
    strange = Strange(key="hush", most=1)

    async def test(teacher: UrlTeacher) -> None:
        assert teacher.distant.name == "large"
        strange.most = 2
        found = await scored(teacher)
        assert found.scores == pytest.approx(EXPECTED)
        assert (found.name, found.raw) == ("large", False)
        assert found.seconds is not None
        assert (teacher.distant.shape, teacher.distant.healthy) == ("cohere", True)
        strange.most, strange.asked[:] = 1, []
        assert (await scored(teacher)).scores == pytest.approx(EXPECTED)
        assert len(strange.asked) == 2

    teach(answering(strange), test, teacher_model="large", teacher_api_key="hush")


@pytest.mark.parametrize("url", ["http://[1]/rerank", "http://x/" + "a" * 70_000])
def test_what_is_no_url_ends_the_start(url: str) -> None:
    with pytest.raises(StartError, match=r"teacher: .*URL"):
        url_teacher(load_settings(teacher=url, shadow=0.1))


def test_the_url_is_shown_without_its_query() -> None:
    async def test(teacher: UrlTeacher) -> None:
        assert teacher.distant.url == URL
        assert teacher.distant.name == "ranker.example"
        await scored(teacher)
        assert teacher.distant.name == "m"

    teach(answering(Strange()), test, url=f"{URL}?token=hush")


def test_a_refusal_is_dropped_and_rested_from_as_long_as_it_says() -> None:
    strange, watch = Strange(), Watch()

    async def test(teacher: UrlTeacher) -> None:
        await scored(teacher)
        strange.asked.clear()
        strange.failures = [(429, {"Retry-After": "30"})]
        assert await teacher.score(SAMPLE) == "dropped"
        watch.now += 29
        assert await teacher.score(SAMPLE) == "dropped"
        assert strange.asked == []
        assert not teacher.distant.healthy
        watch.now += 2
        await scored(teacher)
        assert teacher.distant.healthy

    teach(answering(strange), test, watch)


def test_an_answer_that_comes_late_does_not_end_a_rest() -> None:
    strange, watch = Strange(), Watch()
    waits, go = False, asyncio.Event()

    async def handle(request: httpx.Request) -> httpx.Response:
        nonlocal waits
        response = answering(strange)(request)
        if waits:
            waits = False
            await go.wait()
        return response

    async def test(teacher: UrlTeacher) -> None:
        nonlocal waits
        await scored(teacher)
        waits = True
        late = asyncio.create_task(teacher.score(SAMPLE))
        await until(lambda: not waits)
        strange.failures = [(429, {"Retry-After": "30"})]
        assert await teacher.score(SAMPLE) == "dropped"
        go.set()
        assert isinstance(await late, TeacherScores)
        strange.asked.clear()
        assert await teacher.score(SAMPLE) == "dropped"
        assert strange.asked == []

    teach(handle, test, watch)


def test_one_that_is_away_rests_longer_each_time_and_is_found_when_it_is_back() -> None:
    strange, watch, asked = Strange(), Watch(), 0
    away = True

    def handle(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        if away:
            raise httpx.ConnectError("refused")
        return answering(strange)(request)

    async def test(teacher: UrlTeacher) -> None:
        nonlocal away
        await until(lambda: bool(teacher.distant.problem))
        for _ in range(100):
            assert await teacher.score(SAMPLE) == "failed"
            watch.now += 1
        assert 5 <= asked <= 8  # after 1, 2, 4, 8, 16, 32 seconds
        before = teacher.distant
        assert (before.healthy, before.shape) == (False, None)
        assert "refused" in before.problem
        away = False
        watch.now += 60
        await scored(teacher)
        assert (teacher.distant.healthy, teacher.distant.shape) == (True, "cohere")

    teach(handle, test, watch)


def test_those_that_wait_for_a_probe_do_not_probe_again() -> None:
    asked = 0

    async def handle(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.05)
        return httpx.Response(503)

    async def test(teacher: UrlTeacher) -> None:
        found = await asyncio.gather(*[teacher.score(SAMPLE) for _ in range(5)])
        assert found == ["failed"] * 5
        assert asked == 1

    teach(handle, test)


def test_one_that_takes_too_long_has_failed() -> None:
    strange, slow = Strange(), False

    async def handle(request: httpx.Request) -> httpx.Response:
        if slow:
            await asyncio.sleep(3600)
        return answering(strange)(request)

    async def test(teacher: UrlTeacher) -> None:
        nonlocal slow
        await scored(teacher)
        slow = True
        teacher._seconds = 0.05
        assert await teacher.score(SAMPLE) == "failed"
        assert "no answer within 0.05 s" in teacher.distant.problem

    teach(handle, test, teacher_timeout_ms=60_000)


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(200, content=b"<html>it works</html>"),
        httpx.Response(200, json={"results": [{"index": 0, "relevance_score": 0.5}]}),
        httpx.Response(200, json={"results": [{"index": n, "relevance_score": 3} for n in (0, 1)]}),
        httpx.Response(200, json={"results": [{"index": 0, "relevance_score": 10**400}] * 2}),
        httpx.Response(200, content=b"[" * (ANSWER_BYTES + 1)),
        httpx.Response(400, json={"error": "no"}),
        httpx.Response(404),
    ],
)
def test_nonsense_fails_alone(response: httpx.Response) -> None:
    strange, odd = Strange(), False

    def handle(request: httpx.Request) -> httpx.Response:
        if odd:
            return httpx.Response(response.status_code, content=response.content)
        return answering(strange)(request)

    async def test(teacher: UrlTeacher) -> None:
        nonlocal odd
        await scored(teacher)
        odd = True
        assert await teacher.score(SAMPLE) == "failed"
        odd = False
        await scored(teacher)

    teach(handle, test)


def test_a_redirection_is_not_followed() -> None:
    hosts = []

    def handle(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return httpx.Response(307, headers={"Location": "https://other.example/v1/rerank"})

    async def test(teacher: UrlTeacher) -> None:
        assert await teacher.score(SAMPLE) == "failed"
        assert "give the URL that it leads to" in teacher.distant.problem

    teach(handle, test, teacher_api_key="hush")
    assert set(hosts) == {"ranker.example"}


def test_the_log_has_a_line_per_minute_and_neither_texts_nor_the_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    strange, watch, repeating = Strange(), Watch(), False

    def handle(request: httpx.Request) -> httpx.Response:
        if repeating:
            said = request.content.decode() + request.headers["Authorization"]
            return httpx.Response(422, text=said)
        return answering(strange)(request)

    async def test(teacher: UrlTeacher) -> None:
        nonlocal repeating
        await scored(teacher)
        repeating = True
        for _ in range(10):
            assert await teacher.score(SAMPLE) == "failed"
        assert len(warnings()) == 1
        watch.now += LOG_SECONDS
        assert await teacher.score(SAMPLE) == "failed"
        assert len(warnings()) == 2
        assert "status 422" in warnings()[1]
        assert "9 more" in warnings()[1]
        assert teacher.distant.problem == "status 422"

    def warnings() -> list[str]:
        return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]

    with caplog.at_level(logging.INFO, "retort"):
        teach(handle, test, watch, teacher_api_key="hush")
    assert SECRET not in caplog.text
    assert "hush" not in caplog.text


def test_what_it_says_of_the_probe_is_logged_without_the_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(401, text=f"no such key: {request.headers['Authorization']}")

    async def test(teacher: UrlTeacher) -> None:
        assert await teacher.score(SAMPLE) == "failed"
        assert "set teacher_api_key" in teacher.distant.problem

    with caplog.at_level(logging.INFO, "retort"):
        teach(handle, test, teacher_api_key="hush")
    assert "no such key" in caplog.text
    assert "hush" not in caplog.text


def test_a_server_compares_with_it(fake_bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"

    async def test(client: httpx.AsyncClient, service: Service) -> None:
        for _ in range(3):
            assert (await client.post("/score", json=BODY)).status_code == 200
        await compared(service, 3)
        told = (await client.get("/comparison")).json()
        assert (told["compared"], told["modes"]) == (3, ["student"])
        assert told["teacher"]["name"] == "m"
        assert told["teacher"]["pair_ms"] is None
        ratio = told["teacher"]["request_ms"] / told["student"]["request_ms"]
        assert told["speedup"] == pytest.approx(ratio)
        assert 0 <= told["score_difference"] <= 1
        teacher = (await client.get("/info")).json()["teacher"]
        assert teacher["healthy"] is True
        assert (teacher["model"]["name"], teacher["shape"]) == ("m", "cohere")
        text = (await client.get("/metrics")).text
        for line in (
            'retort_shadow_request_seconds_count{role="student"} 3.0',
            'retort_shadow_request_seconds_count{role="teacher"} 3.0',
            'retort_shadow_score_difference_count{version="0.0.1"} 3.0',
        ):
            assert line in text
        # Its time is not that of a backend.
        assert 'retort_pair_seconds_count{batch="1-8",role="teacher"}' not in text
        for mode in ("teacher", "cascade"):
            reply = await client.post("/score", json={**BODY, "mode": mode})
            assert reply.status_code == 422
        # The shortest passage is the best to the one, and not to the other.
        row = json.loads(path.read_text().splitlines()[0])
        assert (row["teacher"], row["teacher_raw"]) == ("m", False)

    with serve_strange(Strange()) as strange:
        ask(fake_bundle, test, settings=settings(strange.url, disagreements=path))


def test_raw_scores_are_compared_by_order_alone(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, service: Service) -> None:
        await client.post("/score", json=BODY)
        await compared(service, 1)
        told = (await client.get("/comparison")).json()
        assert told["score_difference"] is None
        assert told["kendall_tau"] is not None
        text = (await client.get("/metrics")).text
        assert 'retort_shadow_kendall_tau_count{version="0.0.1"} 1.0' in text
        assert "retort_shadow_score_difference_count{" not in text

    with serve_strange(Strange(add=7.0)) as strange:
        ask(fake_bundle, test, settings=settings(strange.url, teacher_scores="raw"))


def test_clients_do_not_wait_and_what_waits_is_bounded(fake_bundle: Bundle) -> None:
    held = threading.Event()
    strange = Strange()

    async def test(client: httpx.AsyncClient, service: Service) -> None:
        await client.post("/score", json=BODY)
        await compared(service, 1)
        strange.held = held
        body = {**BODY, "passages": [f"passage {n}" for n in range(100)]}
        for _ in range(20):
            assert (await client.post("/score", json=body)).status_code == 200
        assert outcomes(service)["dropped"] == 20 - WAITING_PASSAGES // 100
        # As many at a time as it may be asked about, and no more.
        assert service.shadow is not None
        assert len(service.shadow._waiting) == WAITING_PASSAGES // 100 - 2
        held.set()
        await compared(service, 1 + WAITING_PASSAGES // 100)

    with serve_strange(strange) as found:
        given = settings(found.url, teacher_concurrency=2, teacher_timeout_ms=100_000)
        ask(fake_bundle, test, settings=given)


def test_a_server_is_ready_without_it_and_stops_while_it_is_slow(fake_bundle: Bundle) -> None:
    async def test(client: httpx.AsyncClient, service: Service) -> None:
        assert (await client.post("/score", json=BODY)).status_code == 200
        assert (await client.get("/readyz")).status_code == 200
        teacher = (await client.get("/info")).json()["teacher"]
        assert (teacher["healthy"], teacher["shape"]) == (False, None)

    held = threading.Event()
    with serve_strange(Strange(held=held)) as strange:
        ask(fake_bundle, test, settings=settings(strange.url, teacher_timeout_ms=100_000))
        held.set()
