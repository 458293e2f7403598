"""The bounds of connections, on real sockets against a real server with short times."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import psutil
import pytest

from retort.models.bundle import Bundle
from tests.service.http.edge.sockets import (
    BODY,
    HALF_HEAD,
    answer,
    bytes_received,
    bytes_sent,
    connect,
    head,
    seconds_of_sending,
    seconds_until_closed,
)
from tests.service.running import ServerProcess, server

# A deadline of a second is seen within another half, and is no less than it says.
SOON = pytest.approx(1.3, abs=0.9)
FLAGS = {
    "max-connections": 30,
    "max-header-bytes": 4096,
    "max-headers": 20,
    "header-seconds": 1,
    "body-seconds": 1,
    "answer-seconds": 1,
    "min-bytes-per-second": 1_000_000,
    "max-held-bytes": 12_000_000,
    "max-body-bytes": 8_000_000,
}


@pytest.fixture(scope="module")
def running(tiny_bundle: Bundle) -> Iterator[ServerProcess]:
    flags = [part for name, value in FLAGS.items() for part in (f"--{name}", str(value))]
    with server("--bundle", str(tiny_bundle.folder), "--backend", "openvino", *flags) as process:
        yield process


@pytest.fixture
def client(running: ServerProcess) -> Iterator[socket.socket]:
    with connect(running) as client:
        yield client


def counted(running: ServerProcess, reason: str) -> float:
    """How many were rejected for a reason."""
    lines = httpx.get(f"{running.url}/metrics").text.splitlines()
    name = f'retort_rejected_total{{reason="{reason}"}} '
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


def test_requests_in_pieces_are_answered(client: socket.socket) -> None:
    whole = head() + BODY
    for size in (1, 7, len(whole) - 1):
        for start in range(0, len(whole), size):
            client.sendall(whole[start : start + size])
        assert answer(client).status == 200


def test_pipelined_requests_are_answered_in_order(client: socket.socket) -> None:
    client.sendall((head() + BODY) * 5 + head("/nowhere") + BODY)
    assert [answer(client).status for _ in range(6)] == [200] * 5 + [404]


def test_headers_that_follow_a_large_body_are_counted_alone(client: socket.socket) -> None:
    body = BODY[:-1] + b" " * 50_000 + b"}"
    client.sendall(head(length=len(body)) + body + HALF_HEAD)
    assert answer(client).status == 200
    client.sendall(b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
    assert answer(client).status == 200
    client.sendall((head() + BODY) * 30 + HALF_HEAD + b"X-Long: " + b"a" * 9000)
    assert [answer(client).status for _ in range(30)] == [200] * 30
    assert seconds_until_closed(client) < 3


def test_an_offer_of_http2_is_not_taken(client: socket.socket) -> None:
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARA")
    for _ in range(3):
        client.sendall(head("/score", len(BODY), *offer) + BODY)
        assert answer(client).status == 200
    for _ in range(2):
        client.sendall(b"GET /livez HTTP/1.1\r\n" + "\r\n".join(offer).encode() + b"\r\n\r\n")
        assert answer(client).status == 200
    chunked = "Transfer-Encoding: chunked", *offer
    lines = "".join(f"{line}\r\n" for line in chunked).encode()
    one = HALF_HEAD + lines + b"\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    client.sendall(one * 3 + head() + BODY)
    assert [answer(client).status for _ in range(4)] == [200] * 4
    client.sendall(one[:-20])
    assert answer(client).status == 408


def test_a_silent_connection_is_closed_without_a_word(client: socket.socket) -> None:
    assert seconds_until_closed(client) == SOON


def test_half_the_headers(running: ServerProcess, client: socket.socket) -> None:
    client.sendall(HALF_HEAD)
    told = answer(client)
    assert (told.status, told.error["type"]) == (408, "too_slow")
    assert told.headers["connection"] == "close"
    assert counted(running, "too_slow") > 0


def test_headers_one_byte_at_a_time_do_not_gain_time(client: socket.socket) -> None:
    assert seconds_of_sending(client, HALF_HEAD * 9, pause=0.05) < 5


def test_half_the_headers_of_a_second_request(client: socket.socket) -> None:
    client.sendall(head() + BODY)
    assert answer(client).status == 200
    client.sendall(HALF_HEAD)
    assert answer(client).status == 408


def test_half_a_body(client: socket.socket) -> None:
    client.sendall(head() + BODY[:10])
    told = answer(client)
    assert (told.status, told.error["type"]) == (408, "too_slow")
    assert seconds_until_closed(client) < 3


def test_a_body_that_comes_fast_enough_may_take_long(client: socket.socket) -> None:
    body = BODY[:-1] + b" " * 3_000_000 + b"}"
    client.sendall(head(length=len(body)))
    start = time.monotonic()
    for begin in range(0, len(body), 100_000):
        client.sendall(body[begin : begin + 100_000])
        time.sleep(0.07)
    assert time.monotonic() - start > 2
    assert answer(client).status == 200


def test_a_body_that_dribbles(client: socket.socket) -> None:
    client.sendall(head(length=100_000))
    assert seconds_of_sending(client, b" " * 400, pause=0.05) < 5


def test_too_many_header_bytes(running: ServerProcess, client: socket.socket) -> None:
    client.sendall(HALF_HEAD + b"X-Long: " + b"a" * 5000 + b"\r\n\r\n")
    told = answer(client)
    assert (told.status, told.error["type"]) == (431, "headers_too_large")
    assert counted(running, "headers_too_large") > 0
    assert 'status="431"' in httpx.get(f"{running.url}/metrics").text


def test_headers_without_end(client: socket.socket) -> None:
    client.sendall(HALF_HEAD + b"X-Long: " + b"a" * 100_000)
    assert answer(client).status == 431


def test_too_many_headers(client: socket.socket) -> None:
    client.sendall(HALF_HEAD + b"".join(b"X-%d: a\r\n" % n for n in range(30)) + b"\r\n")
    assert answer(client).status == 431


def test_headers_that_come_with_a_large_body_are_counted_alone(client: socket.socket) -> None:
    body = BODY[:-1] + b" " * 50_000 + b"}"
    client.sendall(head(length=len(body)) + body)
    assert answer(client).status == 200


def test_too_many_trailers(client: socket.socket) -> None:
    client.sendall(HALF_HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n")
    client.sendall(b"".join(b"X-%d: a\r\n" % n for n in range(30)))
    assert answer(client).status == 431


@pytest.mark.parametrize("part", [b"a" * 5000 + b" HTTP/1.1\r\n\r\n", b"a" * 9000])
def test_a_long_url(client: socket.socket, part: bytes) -> None:
    client.sendall(b"GET /" + part)
    told = answer(client)
    assert (told.status, told.error["type"]) == (414, "url_too_long")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"HELLO\r\n\r\n",
        b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: -4\r\n\r\n",
        b"POST /score HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET http:// HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_not_http(running: ServerProcess, client: socket.socket, sent: bytes) -> None:
    before = counted(running, "bad_http")
    client.sendall(sent)
    told = answer(client)
    assert (told.status, told.error["type"]) == (400, "bad_http")
    assert told.headers["content-type"] == "application/json"
    assert counted(running, "bad_http") == before + 1


def test_a_body_that_is_not_http(client: socket.socket) -> None:
    client.sendall(HALF_HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
    time.sleep(0.1)
    client.sendall(b"no number\r\n")
    told = answer(client)
    assert (told.status, told.error["type"]) == (400, "bad_http")


def test_an_announced_body_over_the_limit_is_refused_before_it_comes(
    client: socket.socket,
) -> None:
    client.sendall(head("/score", 10**11, "Expect: 100-continue"))
    assert answer(client).status == 413


def test_a_refused_body_is_not_read_to_its_end(client: socket.socket) -> None:
    client.sendall(head(length=10**9))
    told = answer(client)
    assert (told.status, told.headers["connection"]) == (413, "close")
    assert bytes_sent(client, most=50_000_000) < 50_000_000


def test_a_client_that_still_sends_can_read_why_it_is_refused(client: socket.socket) -> None:
    client.sendall(head(length=10**9))
    for _ in range(10):
        # To a closed socket, the second of these would be an error.
        client.sendall(b"a" * 10_000)
        time.sleep(0.02)
    assert answer(client).status == 413
    assert client.recv(1) == b""


def test_after_a_refusal_a_small_rest_is_dropped_and_the_connection_kept(
    client: socket.socket,
) -> None:
    client.sendall(head("/nowhere", 1000) + b"a" * 10)
    assert answer(client).status == 404
    client.sendall(b"a" * 990 + head() + BODY)
    assert answer(client).status == 200


def test_bodies_are_bounded_in_sum(running: ServerProcess) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(running)) for _ in range(3)]
        for client in clients[:2]:
            client.sendall(head(length=7_900_000) + b" " * 5_500_000)
        time.sleep(0.3)
        clients[2].sendall(head(length=7_900_000) + b" " * 2_000_000)
        told = answer(clients[2])
        assert (told.status, told.error["type"]) == (503, "busy")
        assert told.headers["retry-after"] == "1"
    # They have left, and what they held is free.
    with connect(running) as client:
        body = BODY[:-1] + b" " * 7_900_000 + b"}"
        client.sendall(head(length=len(body)) + body)
        assert answer(client).status == 200


def test_unpacked_bodies_count_too(running: ServerProcess) -> None:
    packed = gzip.compress(BODY[:-1] + b" " * 7_900_000 + b"}")
    with ExitStack() as stack:
        client = stack.enter_context(connect(running))
        client.sendall(head(length=7_900_000) + b" " * 7_000_000)
        time.sleep(0.3)
        other = stack.enter_context(connect(running))
        other.sendall(head("/score", len(packed), "Content-Encoding: gzip") + packed)
        assert answer(other).status == 503


def test_an_answer_that_is_not_read_is_dropped(running: ServerProcess) -> None:
    words = {"query": "tower", "passages": ["paris " * 1_200_000], "return_passages": True}
    body = json.dumps(words).encode()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, _, port = running.url.removeprefix("http://").rpartition(":")
        client.connect((host, int(port)))
        client.sendall(head(length=len(body)) + body)
        # The time of the answer itself, and a second, and what the rate allows for 7 MB.
        time.sleep(12)
        assert bytes_received(client) < 7_000_000


def test_silent_connections_make_room(running: ServerProcess) -> None:
    with ExitStack() as stack:
        kept = stack.enter_context(httpx.Client(base_url=running.url))
        for _ in range(100):
            stack.enter_context(connect(running))
            assert kept.get("/livez").status_code == 200
        assert httpx.get(f"{running.url}/livez").status_code == 200
        front_end = max(psutil.Process(running.process.pid).children(), key=lambda p: p.pid)
        assert len(front_end.net_connections("tcp")) <= 31


def test_after_all_that_it_is_well(running: ServerProcess) -> None:
    assert httpx.post(f"{running.url}/score", content=BODY).status_code == 200
    assert running.stop() == 0
    assert "Traceback" not in running.rest()
