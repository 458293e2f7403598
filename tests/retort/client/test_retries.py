"""What is tried again, when, and how often; the three ways to wait do the same."""

from __future__ import annotations

import httpx
import pytest

from retort.client import (
    ConnectionFailed,
    DeadlinePassed,
    InvalidRequest,
    NotFound,
    NotReady,
    Overloaded,
    RetortError,
    ServerError,
    TooLarge,
    Unauthorized,
)
from retort.client.retry import Deadline, retry_after
from tests.retort.client.wire import KINDS, Kind, Time, Wire, client, refusal

each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
def test_pauses_double_with_full_jitter(kind: Kind) -> None:
    time = Time(chance=0.5)
    wire = Wire([refusal(503), refusal(429), httpx.ConnectError("no")])
    assert client(kind, wire, time).rank("q", ["0.5"])[0].score == 0.5
    assert time.pauses == pytest.approx([0.1, 0.2, 0.4])
    # With the time that is left of ten seconds.
    assert [body["timeout_ms"] for body in wire.bodies] == [10_000, 9_900, 9_700, 9_300]


@each_kind
def test_retry_after_is_honoured(kind: Kind) -> None:
    time = Time(chance=0.5)
    date = "Thu, 01 Jan 1970 12:00:06 GMT"
    wire = Wire([refusal(429, **{"Retry-After": "3"}), refusal(503, **{"Retry-After": date})])
    client(kind, wire, time).rank("q", ["0.5"])
    # The date is 2.9 seconds after the second refusal.
    assert time.pauses == pytest.approx([3.1, 3.1])


@each_kind
def test_a_pause_past_the_deadline_is_not_made(kind: Kind) -> None:
    time = Time()
    wire = Wire([refusal(429, **{"Retry-After": "5"})])
    with pytest.raises(Overloaded) as caught:
        client(kind, wire, time).rank("q", ["0.5"], timeout=5)
    assert (caught.value.retry_after, caught.value.status) == (5.0, 429)
    assert time.pauses == []
    assert len(wire.bodies) == 1


@each_kind
def test_attempts_are_counted(kind: Kind) -> None:
    time = Time()
    wire = Wire([refusal(503)] * 9)
    with pytest.raises(NotReady):
        client(kind, wire, time, timeout=100, attempts=3).rank("q", ["0.5"])
    assert len(wire.bodies) == 3
    assert len(time.pauses) == 2


@each_kind
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, InvalidRequest),
        (401, Unauthorized),
        (403, Unauthorized),
        (404, NotFound),
        (413, TooLarge),
        (418, ServerError),
        (422, InvalidRequest),
        (500, ServerError),
        (504, DeadlinePassed),
    ],
)
def test_what_will_not_pass_is_raised_at_once(
    kind: Kind, status: int, expected: type[RetortError]
) -> None:
    time = Time()
    wire = Wire([refusal(status, **{"X-Request-Id": "r9"})])
    with pytest.raises(RetortError) as caught:
        client(kind, wire, time).rank("q", ["0.5"])
    error = caught.value
    assert type(error) is expected
    assert (error.status, error.type, error.message, error.param, error.request_id) == (
        status, "t", "why", "query", "r9",
    )  # fmt: skip
    assert time.pauses == []
    assert len(wire.bodies) == 1


@each_kind
def test_a_lost_connection_is_named(kind: Kind) -> None:
    time = Time()
    lost = [httpx.ConnectError("refused"), httpx.ReadError("reset"), httpx.WriteError("reset")]
    with pytest.raises(ConnectionFailed) as caught:
        client(kind, Wire([*lost, httpx.RemoteProtocolError("closed")]), time).rank("q", ["0.5"])
    assert "POST http://retort/score: closed" in str(caught.value)
    assert isinstance(caught.value.__cause__, httpx.RemoteProtocolError)
    assert len(time.pauses) == 3


@each_kind
def test_a_timeout_is_a_deadline_that_passed(kind: Kind) -> None:
    time = Time()
    with pytest.raises(DeadlinePassed) as caught:
        client(kind, Wire([httpx.ReadTimeout("late")]), time).rank("q", ["0.5"])
    assert isinstance(caught.value, TimeoutError)
    assert time.pauses == []


@each_kind
def test_readiness_is_asked_about_once(kind: Kind) -> None:
    time = Time()
    for reply, expected in ((httpx.Response(503, text="no"), False), (None, True)):
        asked: list[httpx.Request] = []

        def answering(
            request: httpx.Request,
            reply: httpx.Response | None = reply,
            asked: list[httpx.Request] = asked,
        ) -> httpx.Response:
            asked.append(request)
            return reply or httpx.Response(200, json={"status": "ready"})

        transport = httpx.MockTransport(answering)
        assert client(kind, Wire(), time, transport=transport).ready() is expected
        assert [request.url.path for request in asked] == ["/readyz"]
    assert time.pauses == []


def test_each_phase_of_a_request_gets_what_is_left() -> None:
    time = Time()
    deadline = Deadline(10.0, time.clock)
    assert deadline["connect"] == deadline.get("pool") == 10.0
    time.now = 7.0
    assert deadline["read"] == deadline["write"] == 3.0
    time.now = 12.0
    assert 0 < deadline["read"] < 0.01
    assert deadline.get("other") is None


@pytest.mark.parametrize("header", [None, "", "soon", "-3", "1.5", "Thu, 99 Jan 1970 00:00:00 GMT"])
def test_a_retry_after_that_says_nothing(header: str | None) -> None:
    assert retry_after(header, 0.0) is None


def test_a_date_that_is_over_asks_for_no_pause() -> None:
    assert retry_after("Thu, 01 Jan 1970 00:00:10 GMT", 20.0) == 0.0
