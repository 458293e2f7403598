"""The teachers' server as a process: its answers have the shape of `retort serve`'s."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from retort.loadtest.servers import HOST, Server
from retort.loadtest.targets import Target
from tests.loadtest.tiny_teacher import save_tiny_teacher

pytestmark = pytest.mark.slow  # it starts processes that load torch

COMMAND = (sys.executable, "-m", "retort", "teacher-server")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two tiny teachers behind FastAPI."""
    folder = save_tiny_teacher(tmp_path_factory.mktemp("teacher") / "tiny")
    spec = f"cross-encoder:{folder}"
    target = Target("teacher", "teacher", (*COMMAND, spec, spec, "--max-length", "64"))
    with Server(target, ready_timeout_s=600.0) as server:
        yield server


def post(server: Server, **body: Any) -> tuple[int, Any]:
    """Status and JSON of a `POST /score`."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=30)
    connection.request("POST", "/score", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    found = json.loads(answer.read())
    connection.close()
    return answer.status, found


def test_results_come_best_first_with_their_ids(server: Server) -> None:
    texts = ["The tower is tall.", {"id": "b7", "text": "Paris is old."}, "old old old"]
    status, found = post(server, query="how tall is the tower", passages=texts)
    assert status == 200
    scores = [result["score"] for result in found["results"]]
    assert scores == sorted(scores, reverse=True)
    assert sorted(result["index"] for result in found["results"]) == [0, 1, 2]
    (named,) = [result for result in found["results"] if result["id"] == "b7"]
    assert named["index"] == 1
    assert found["usage"]["pairs"] == 3
    assert found["mode"] == "teacher"
    assert found["timings_ms"]["total"] >= found["timings_ms"]["infer"] > 0
    _, first = post(server, query="how tall is the tower", passages=texts, top_n=1)
    assert first["results"] == found["results"][:1]


def test_a_request_that_it_cannot_read_is_refused(server: Server) -> None:
    assert post(server, query="q", passages=[])[0] == 422
    assert post(server, query="q", passages=["a"], top_m=1)[0] == 422


def test_info_names_engine_and_members(server: Server) -> None:
    info = server.get_json("/info")
    assert len(info["members"]) == 2
    assert info["shape_only"] is False
    assert "PyTorch" in info["engine"]
    assert "64 tokens" in info["engine"]


def test_a_teacher_that_is_not_there_ends_it_with_a_sentence() -> None:
    done = subprocess.run(
        [*COMMAND, "cross-encoder:no/such"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "no/such: no folder with a config.json" in done.stderr
    assert "Traceback" not in done.stderr
