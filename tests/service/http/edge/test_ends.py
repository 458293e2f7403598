"""What a server does at its ends: out of files, and asked to stop with clients that dawdle."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from retort.loadtest.experiments.chaos.connections import connections
from retort.loadtest.experiments.chaos.setting import Setting
from retort.loadtest.options import ChaosOptions
from retort.models.bundle import Bundle
from tests.service.http.edge.sockets import BODY, HALF_HEAD, answer, connect, head
from tests.service.running import PATIENCE_SECONDS, server

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("workers", ["0", "1"])
def test_more_idle_connections_than_files(tiny_bundle: Bundle, workers: str) -> None:
    flags = ("--bundle", str(tiny_bundle.folder), "--backend", "openvino", "--workers", workers)
    module = "tests.service.http.edge.few_files"
    with server(*flags, module=module, FILES="128") as running, ExitStack() as stack:
        for _ in range(140):
            stack.enter_context(connect(running))
        for _ in range(20):
            assert httpx.post(f"{running.url}/score", content=BODY).status_code == 200
        time.sleep(1.2)
        stack.close()
        assert running.stop() == 0
        said = running.rest()
        assert "this process may open 128 files" in said
        assert "closed to make room: silent" in said
        assert said.count("closed to make room") < 10
        assert "Traceback" not in said


def test_a_server_asked_to_stop_with_clients_that_dawdle(tiny_bundle: Bundle) -> None:
    with server("--bundle", str(tiny_bundle.folder)) as running, ExitStack() as stack:
        silent, idle, half_head, half_body = (
            stack.enter_context(connect(running)) for _ in range(4)
        )
        idle.sendall(head() + BODY)
        assert answer(idle).status == 200
        half_head.sendall(HALF_HEAD)
        half_body.sendall(head() + BODY[:9])
        time.sleep(0.2)
        start = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - start < 5
        assert answer(half_body).status == 503
        assert silent.recv(1) == b""
        assert "Traceback" not in running.rest()


def test_a_pass_that_never_ends_leaves_no_traceback(tiny_bundle: Bundle, tmp_path: Path) -> None:
    fault = tmp_path / "fault"
    module = "tests.service.processes.faults"
    times = ("--drain-seconds", "1", "--hang-seconds", "60", "--recheck-seconds", "0")
    flags = ("--bundle", str(tiny_bundle.folder), *times)
    with (
        server(*flags, module=module, FAULT_FILE=str(fault)) as running,
        connect(running) as asking,
    ):
        fault.write_text("hang")
        asking.sendall(head() + BODY)
        time.sleep(0.5)
        assert running.stop() == 0
        told = answer(asking)
        assert (told.status, told.error["type"]) == (503, "not_ready")
        assert "Traceback" not in running.rest()


def test_while_it_delays_its_end_it_accepts_and_says_so(tiny_bundle: Bundle) -> None:
    flags = ("--bundle", str(tiny_bundle.folder), "--drain-delay-seconds", "2")
    with server(*flags) as running:
        running.process.terminate()
        time.sleep(0.3)
        start = time.monotonic()
        asked = 0
        while time.monotonic() - start < 1.2:
            assert httpx.get(f"{running.url}/readyz").status_code == 503
            assert httpx.post(f"{running.url}/score", content=BODY).status_code == 200
            asked += 1
        assert asked > 1
        assert running.process.wait(PATIENCE_SECONDS) == 0
        with pytest.raises(ConnectionRefusedError):
            connect(running)


def test_connections_that_take_their_time_harm_nobody(tiny_bundle: Bundle) -> None:
    setting = Setting(tiny_bundle, ChaosOptions(flood_s=2, users=2), lambda _: None)
    rows = asyncio.run(connections(setting)).table.rows
    assert len(rows) == 3
    for _, requests, _, _, lost, *_ in rows:
        assert isinstance(requests, int)
        assert requests > 0
        assert lost == 0
    assert rows[1][-1] == rows[2][-1] == 0
