from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from prometheus_client import CollectorRegistry

from retort.service.errors import Busy, ServiceError
from retort.service.http.edge.connections import (
    KEEP_ALIVE_SECONDS,
    LAST_BODY_SECONDS,
    Connections,
    Place,
)
from retort.service.metrics import Metrics
from retort.service.settings import Settings


class Transport(asyncio.Transport):
    """A transport with so many bytes to write still."""

    waiting = 0
    aborted = False

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def abort(self) -> None:
        self.aborted = True


class Client:
    """A connection that notes what is done to it."""

    def __init__(self, among: Connections, address: str = "") -> None:
        self.among = among
        self.transport: asyncio.Transport = Transport()
        self.address = address
        self.place: Place | None = None
        self.body_bytes = 0
        self.errors: list[str] = []
        self.closed = False

    def late(self, error: ServiceError) -> None:
        self.errors.append(error.type)
        self.cut()

    def cut(self) -> None:
        self.closed = True
        self.among.leave(self)


def among(**settings: object) -> Connections:
    made = Settings.model_validate(settings)
    return Connections(made, Metrics(), asyncio.Event())


def entered(connections: Connections, now: float = 0.0, address: str = "") -> Client:
    client = Client(connections, address)
    connections.enter(client, now)
    return client


def test_each_place_has_its_time() -> None:
    connections = among(header_seconds=10, body_seconds=20, min_bytes_per_second=100)
    silent, head, idle, body, working = (entered(connections) for _ in range(5))
    connections.heads.add(head, 0.0)
    connections.idle.add(idle, 0.0)
    connections.bodies.add(body, 0.0)
    connections.fresh.remove(working)
    clients = (silent, head, idle, body, working)
    body.body_bytes = 500
    closed = []
    for now in (9.9, 10.1, 20.1, 24.9, 25.1, KEEP_ALIVE_SECONDS - 0.1, KEEP_ALIVE_SECONDS + 0.1):
        connections.sweep(now)
        closed.append([client.closed for client in clients].count(True))
    assert closed == [0, 2, 2, 2, 3, 3, 4]
    assert not working.closed


def test_the_one_that_is_missed_least_makes_room() -> None:
    connections = among(max_connections=4)
    first, second, idle, body = (entered(connections, float(n)) for n in range(4))
    connections.idle.add(idle, 0.5)
    connections.bodies.add(body, 0.1)
    gone = []
    for _ in range(4):
        connections.fresh.remove(entered(connections, 9.0))
        gone.append([client.closed for client in (first, second, idle, body)])
    assert gone == [
        [True, False, False, False],
        [True, True, False, False],
        [True, True, True, False],
        [True, True, True, True],
    ]
    with pytest.raises(Busy):
        entered(connections, 10.0)


def test_an_address_has_a_share() -> None:
    connections = among(max_connections_per_address=2, trusted_proxies=("10.0.0.0/8",))
    held = [entered(connections, address="192.0.2.1") for _ in range(2)]
    with pytest.raises(Busy):
        entered(connections, address="192.0.2.1")
    entered(connections, address="192.0.2.2")
    # A proxy has as many as there are; those that it forwards for count for themselves.
    for _ in range(5):
        entered(connections, address="10.1.2.3")
    for _ in range(2):
        connections.begin("198.51.100.7")
    with pytest.raises(Busy):
        connections.begin("198.51.100.7")
    held[0].cut()


def test_clients_that_do_not_read_are_cut() -> None:
    connections = among(answer_seconds=10, min_bytes_per_second=1000)
    stuck, slow, quick = (entered(connections) for _ in range(3))
    for client in (stuck, slow, quick):
        connections.fresh.remove(client)
    transports = []
    for client, waiting in ((stuck, 5_000), (slow, 50_000), (quick, 5_000)):
        assert isinstance(client.transport, Transport)
        client.transport.waiting = waiting
        transports.append(client.transport)
    for now in range(0, 14):
        connections.sweep(float(now))
    transports[2].waiting = 0
    connections.sweep(16.0)
    assert [transport.aborted for transport in transports] == [True, False, False]
    for now in range(17, 62):
        connections.sweep(float(now))
    assert transports[1].aborted


def test_bodies_end_soon_once_the_server_stops() -> None:
    draining = asyncio.Event()
    connections = Connections(Settings(), Metrics(), draining)
    body = entered(connections)
    connections.bodies.add(body, 0.0)
    draining.set()
    connections.sweep(1.0)
    assert not body.closed
    # Its body may be in the next packet.
    fresh = entered(connections)
    connections.bodies.add(fresh, 1.0 + LAST_BODY_SECONDS)
    connections.sweep(1.0 + LAST_BODY_SECONDS + 0.1)
    assert body.errors == ["not_ready"]
    assert not fresh.closed


@pytest.fixture
def few_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("few_files")
def test_without_files_those_that_wait_make_room(caplog: pytest.LogCaptureFixture) -> None:
    connections = among(max_connections=4_000)
    assert connections.most < 80
    assert "at most" in caplog.text
    clients = [entered(connections) for _ in range(20)]
    connections.sweep(1.0)
    assert not any(client.closed for client in clients)
    with ExitStack() as stack:
        try:
            while True:
                stack.enter_context(open(os.devnull))
        except OSError:
            pass
        connections.sweep(3.0)
    assert [client.closed for client in clients].count(True) == 16
    assert "no file can be opened" in caplog.text


def test_what_is_closed_is_logged_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    connections = among(header_seconds=1)
    for _ in range(10):
        entered(connections)
    connections.sweep(10.0)
    for number in range(20):
        entered(connections, 0.0)
        connections.sweep(10.05 + number * 0.04)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1
    connections.sweep(12.0)
    lines = [record.getMessage() for record in caplog.records]
    assert "10 too slow: silent" in lines[0]
    assert "20 too slow: silent" in lines[1]


def test_a_refusal_has_the_shape_of_its_route_under_a_prefix() -> None:
    connections = among(root_path="/models/a")
    for path in ("/predict", "/models/a/predict"):
        assert b'"error":"full"' in connections.refuse(path, Busy("full", retry_after=1))


def test_refusals_are_counted() -> None:
    connections = among()
    assert isinstance(connections._metrics.registry, CollectorRegistry)
    body = connections.refuse("/score", Busy("full", retry_after=1))
    assert b'"type":"busy"' in body
    said = connections._metrics.render().decode()
    assert 'retort_requests_total{route="other",status="503"} 1.0' in said
    assert 'retort_rejected_total{reason="busy"} 1.0' in said
