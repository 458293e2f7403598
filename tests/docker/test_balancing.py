"""HAProxy with the shipped file: what clients see when servers fail, refuse, hang or leave."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from retort.loadtest.servers import free_port
from retort.models.bundle import Bundle
from retort.service.http.edge.connections import KEEP_ALIVE_SECONDS
from retort.service.settings import Settings, variable
from tests.docker.balancing import CONFIG, Balancer, installed, stubs, until
from tests.docker.dockerfile import DOCKER, ROOT
from tests.service.running import PATIENCE_SECONDS, ServerProcess, ended
from tests.tiny_texts import PASSAGES, QUERIES

STACK = yaml.safe_load((DOCKER / "balancing" / "compose.yaml").read_text(encoding="utf-8"))
BODY = {"query": "q", "passages": ["p"]}
# Of the requests to real servers: more than a busy machine needs.
DEADLINE_MS = 5000
# When HAProxy gives up on a server that is silent.
GIVES_UP_SECONDS = DEADLINE_MS / 1000 + 0.5


def seconds(name: str) -> float:
    """A timeout or interval of the file, the first of that name."""
    found = re.search(rf"\b{name} (\d+)(ms|s)\b", CONFIG.read_text(encoding="utf-8"))
    assert found is not None, name
    return int(found[1]) / (1000 if found[2] == "ms" else 1)


@installed
def test_haproxy_accepts_the_file() -> None:
    command = ["haproxy", "-c", "-dW", "-f", str(CONFIG)]
    places = os.environ | {f"RETORT_{n}": f"127.0.0.1:{n}" for n in (1, 2, 3)}
    done = subprocess.run(command, env=places, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_times_fit_those_of_the_servers() -> None:
    own = dict(line.split("=") for line in STACK["x-retort"]["environment"] if "=" in line)
    assert own.keys() <= {variable(name) for name in Settings.model_fields}
    # The server's own 504 comes first.
    assert seconds("timeout server") > int(own["RETORT_TIMEOUT_MS"]) / 1000
    # A server that drains accepts until it is known to be out.
    noticed = int(re.findall(r"fall (\d+)", CONFIG.read_text())[0]) * seconds("inter")
    assert int(own["RETORT_DRAIN_DELAY_SECONDS"]) > noticed
    assert seconds("timeout http-keep-alive") < KEEP_ALIVE_SECONDS


def test_the_stack_runs_the_file_before_three_servers() -> None:
    services = STACK["services"]
    assert [name for name in services if name.startswith("retort-")] == [
        "retort-1", "retort-2", "retort-3",
    ]  # fmt: skip
    defaults = dict(re.findall(r"\$\{(RETORT_\d)-([^}]+)\}", CONFIG.read_text()))
    assert defaults == {f"RETORT_{n}": f"retort-{n}:8080" for n in (1, 2, 3)}
    (mount,) = services["haproxy"]["volumes"]
    source, target, mode = mount.split(":")
    assert (DOCKER / "balancing" / source).resolve() == CONFIG
    assert target == "/usr/local/etc/haproxy/haproxy.cfg"
    assert mode == "ro"
    for name, container in services.items():
        assert container["read_only"] is True, name
        assert container["cap_drop"] == ["ALL"], name
        assert container["security_opt"] == ["no-new-privileges:true"], name
        assert all(str(port).startswith("127.0.0.1:") for port in container.get("ports", [])), name
    image = services["retort-1"]["build"]
    assert (DOCKER / "balancing" / image["context"]).resolve() == ROOT
    assert (ROOT / image["dockerfile"]).is_file()
    assert re.search(r":\d+\.\d+\.\d+$", services["haproxy"]["image"])


@installed
def test_a_429_and_a_500_are_passed_on_and_not_tried_again(tmp_path: Path) -> None:
    with stubs(tmp_path) as (balancer, servers):
        for status in (429, 500, 504):
            for stub in servers:
                stub.status, stub.asked = status, 0
            reply = httpx.post(f"{balancer.url}/score", json=BODY)
            assert reply.status_code == status
            assert sum(stub.asked for stub in servers) == 1
            assert reply.headers.get("retry-after") == ("7" if status == 429 else None)


@installed
def test_a_503_is_tried_on_the_others_and_the_last_one_is_passed_on(tmp_path: Path) -> None:
    with stubs(tmp_path) as (balancer, servers):
        for stub in servers[1:]:
            stub.status = 503
        for _ in range(5):
            reply = httpx.post(f"{balancer.url}/score", json=BODY)
            assert (reply.status_code, reply.json()) == (200, {"by": servers[0].port})
        servers[0].status = 503
        retried = balancer.retried
        for stub in servers:
            stub.asked = 0
        reply = httpx.post(f"{balancer.url}/score", json=BODY)
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "7")
        assert [stub.asked for stub in servers] == [1, 1, 1]
        assert balancer.retried - retried == 2


@installed
def test_once_many_fail_all_the_same_nothing_is_tried_again(tmp_path: Path) -> None:
    with stubs(tmp_path) as (balancer, servers), httpx.Client(base_url=balancer.url) as client:

        def tries(status: int) -> int:
            before = sum(stub.asked for stub in servers)
            for stub in servers:
                stub.status = status
            assert client.post("/score", json=BODY).status_code == status
            return sum(stub.asked for stub in servers) - before

        tried = []
        for _ in range(24):
            tried.append(tries(503))
            # So that no server fails ten times in a row, which would put it out.
            assert [tries(200) for _ in servers] == [1, 1, 1]
        assert tried[0] == 3
        assert tried[-1] == 1
        assert " is DOWN" not in balancer.log()


@installed
def test_a_large_request_is_tried_again_too(tmp_path: Path) -> None:
    with stubs(tmp_path) as (balancer, servers):
        for stub in servers[1:]:
            stub.status = 503
        for _ in range(3):
            body = {"query": "q", "passages": ["p" * 1000] * 100}
            assert httpx.post(f"{balancer.url}/score", json=body).status_code == 200


@installed
def test_a_request_waits_as_long_as_its_own_deadline(tmp_path: Path) -> None:
    with stubs(tmp_path) as (balancer, servers):
        slow = seconds("timeout server") + 0.5
        for stub in servers:
            stub.seconds = slow
        patient = {**BODY, "timeout_ms": 20_000}
        reply = httpx.post(f"{balancer.url}/score", json=patient, timeout=PATIENCE_SECONDS)
        assert reply.status_code == 200
        assert sum(stub.asked for stub in servers) == 1
        # It gives up on one that is silent after the deadline, and asks another.
        reply = httpx.post(
            f"{balancer.url}/score", json={**BODY, "timeout_ms": 100}, timeout=PATIENCE_SECONDS
        )
        assert reply.status_code == 504
        assert sum(stub.asked for stub in servers) == 4


@installed
def test_a_server_that_says_it_is_ready_and_fails_is_left_alone(tmp_path: Path) -> None:
    with stubs(tmp_path) as (balancer, servers):
        servers[0].status = 500

        def ask(_: int) -> None:
            with httpx.Client(base_url=balancer.url) as client:
                end = time.monotonic() + PATIENCE_SECONDS
                while "retort-1 is DOWN" not in balancer.log() and time.monotonic() < end:
                    client.post("/score", json=BODY)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(ask, range(4)))
        assert "retort-1 is DOWN" in balancer.log()
        assert "retort-2 is DOWN" not in balancer.log()


@installed
def test_what_is_of_one_server_is_not_shown(tmp_path: Path) -> None:
    with stubs(tmp_path) as (balancer, servers):
        for path in ("/metrics", "/admin/models", "/admin"):
            assert httpx.get(f"{balancer.url}{path}").status_code == 404
        assert httpx.get(f"{balancer.url}/readyz").status_code == 200
        assert httpx.post(f"{balancer.url}/admin/load", json=BODY).status_code == 404
        assert sum(stub.asked for stub in servers) == 0


@installed
def test_without_any_server_clients_are_told_when_to_come_back(tmp_path: Path) -> None:
    with Balancer(tmp_path, [free_port() for _ in range(3)]) as balancer:
        until(lambda: not any(balancer.is_up(n) for n in (1, 2, 3)), "all are out")
        reply = httpx.post(f"{balancer.url}/score", json=BODY)
        assert reply.status_code == 503
        assert reply.json()["error"]["type"] == "not_ready"
        assert int(reply.headers["retry-after"]) >= 1


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client got: `right` is whether every score was the expected one."""

    at: float
    seconds: float
    status: int
    right: bool


class Crowd:
    """Clients that ask all the time, with a pause, and keep what they got."""

    def __init__(self, url: str, expected: dict[str, list[float]], clients: int = 4) -> None:
        self.answers: list[Answer] = []
        self._url = url
        self._expected = expected
        self._over = threading.Event()
        self._turn = count()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        queries = list(self._expected)
        with httpx.Client(base_url=self._url, timeout=PATIENCE_SECONDS) as client:
            while not self._over.is_set():
                query = queries[next(self._turn) % len(queries)]
                start = time.monotonic()
                try:
                    reply = client.post("/score", json=question(query))
                except httpx.TransportError:
                    status, right = 0, False
                else:
                    status = reply.status_code
                    right = status == 200 and scores(reply) == pytest.approx(
                        self._expected[query], abs=1e-4
                    )
                self.answers.append(Answer(start, time.monotonic() - start, status, right))
                time.sleep(0.03)

    def goes_on(self, more: int = 20) -> None:
        """Wait for so many further answers."""
        before = len(self.answers)
        until(lambda: len(self.answers) >= before + more, "answers come")


def question(query: str) -> dict[str, object]:
    """A request of the crowd."""
    return {"query": query, "passages": list(PASSAGES), "timeout_ms": DEADLINE_MS}


def scores(reply: httpx.Response) -> list[float]:
    """The scores in the passages' order."""
    results = sorted(reply.json()["results"], key=lambda result: int(result["index"]))
    return [result["score"] for result in results]


def whole(running: ServerProcess) -> list[psutil.Process]:
    """Every process of a server."""
    root = psutil.Process(running.process.pid)
    return [root, *root.children(recursive=True)]


@pytest.fixture
def ports() -> list[int]:
    return [free_port() for _ in range(3)]


@installed
@pytest.mark.slow
def test_no_client_notices_servers_that_are_killed_stopped_and_drained(
    tiny_bundle: Bundle, tmp_path: Path, ports: list[int]
) -> None:
    flags = [f"--bundle={tiny_bundle.folder}", "--backend=onnxruntime", "--precision=fp32",
             "--threads=1", "--drain-delay-seconds=4"]  # fmt: skip

    def start(number: int) -> ServerProcess:
        running = ServerProcess(f"--port={ports[number - 1]}", *flags)
        stack.enter_context(ended(running))
        return running

    with ExitStack() as stack:
        servers = {number: start(number) for number in (1, 2, 3)}
        for running in servers.values():
            running.wait_until_ready()
        expected = {
            query: scores(httpx.post(f"{servers[1].url}/score", json=question(query), timeout=60))
            for query in QUERIES
        }
        balancer = stack.enter_context(Balancer(tmp_path, ports))
        until(lambda: all(balancer.is_up(number) for number in (1, 2, 3)), "all are in")
        crowd = stack.enter_context(Crowd(balancer.url, expected))
        crowd.goes_on()
        figures = {}

        for name in ("killed", "stopped", "drained"):
            first, retried = len(crowd.answers), balancer.retried
            if name == "killed":
                for process in reversed(whole(servers[1])):
                    process.kill()
                until(lambda: not balancer.is_up(1), "the killed one is out")
                crowd.goes_on()
                servers[1] = start(1)
                until(lambda: balancer.is_up(1), "the killed one is back")
            elif name == "stopped":
                stopped = whole(servers[2])
                for process in stopped:
                    process.send_signal(signal.SIGSTOP)
                until(lambda: not balancer.is_up(2), "the stopped one is out")
                # Until what was in flight on it is answered by another.
                time.sleep(GIVES_UP_SECONDS)
                crowd.goes_on()
                for process in reversed(stopped):
                    process.send_signal(signal.SIGCONT)
                until(lambda: balancer.is_up(2), "the stopped one is back")
            else:
                assert servers[3].stop() == 0
                until(lambda: not balancer.is_up(3), "the drained one is out")
            crowd.goes_on()
            got = crowd.answers[first:]
            longest = max(answer.seconds for answer in got)
            figures[name] = (len(got), balancer.retried - retried, longest)

        # Each has answered some, so each had something to lose.
        assert all(balancer.answers_of(number) > 5 for number in (1, 2, 3))
    # Shown by `pytest -s`; docs/balancing.md has those of one run.
    print(figures)
    assert {answer.status for answer in crowd.answers} == {200}, balancer.log()
    assert all(answer.right for answer in crowd.answers)
    # What hung on the stopped one waited for its deadline, and was asked again elsewhere.
    assert figures["stopped"][1] > 0
    assert figures["stopped"][2] > GIVES_UP_SECONDS
