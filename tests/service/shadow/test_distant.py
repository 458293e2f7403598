"""A real server whose teacher is the URL of another: every shape, and one that comes later."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from retort.models.bundle import Bundle
from tests.service.running import PATIENCE_SECONDS, ServerProcess, ended, ended_at_start, server
from tests.tiny_teacher import make_contrary
from tests.tiny_texts import PASSAGES, QUERIES

pytestmark = pytest.mark.slow

BODY = {"query": QUERIES[0], "passages": list(PASSAGES)}
ONE = ("--threads", "1", "--backend", "openvino", "--precision", "fp32")


@pytest.fixture(scope="module")
def contrary(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A teacher that ranks the other way round."""
    return make_contrary(tiny_bundle, tmp_path_factory.mktemp("contrary") / "contrary")


@pytest.fixture(scope="module")
def teacher(contrary: Bundle) -> Iterator[ServerProcess]:
    flags = ("--bundle", str(contrary.folder), *ONE, "--workers", "0")
    with server(*flags, RETORT_API_KEY="hush") as running:
        yield running


def until_compared(client: httpx.Client, number: int) -> dict[str, Any]:
    """What `/comparison` says once so many requests were compared; one more is sent per look."""
    end = time.monotonic() + PATIENCE_SECONDS
    while (told := client.get("/comparison").json())["compared"] < number:
        assert time.monotonic() < end, client.get("/info").json()["teacher"]
        assert client.post("/score", json=BODY).status_code == 200
        time.sleep(0.1)
    found: dict[str, Any] = told
    return found


def metric(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@pytest.mark.parametrize(
    ("path", "shape"), [("/score", "retort"), ("/rerank", "tei"), ("/v1/rerank", "cohere")]
)
def test_the_teacher_is_another_server(
    tiny_bundle: Bundle, teacher: ServerProcess, path: str, shape: str
) -> None:
    flags = ("--bundle", str(tiny_bundle.folder), *ONE, "--workers", "0", "--shadow", "1")
    url = f"{teacher.url}{path}"
    with (
        server(*flags, "--teacher", url, RETORT_TEACHER_API_KEY="hush") as running,
        httpx.Client(base_url=running.url, timeout=PATIENCE_SECONDS) as client,
    ):
        told = until_compared(client, 2)
        assert told["top1_agreement"] == 0
        assert told["kendall_tau"] == pytest.approx(-1)
        student = client.post("/score", json=BODY).json()["results"]
        # The teacher gives 1 - p.
        expected = sum(abs(2 * result["score"] - 1) for result in student) / len(student)
        assert told["score_difference"] == pytest.approx(expected, abs=1e-3)
        assert told["teacher"]["name"] == "contrary"
        assert told["speedup"] > 0
        info = client.get("/info")
        assert "hush" not in info.text
        known = info.json()["teacher"]
        assert (known["healthy"], known["url"], known["shape"]) == (True, url, shape)
        assert metric(client, 'retort_shadow_requests_total{outcome="compared"}') >= 2
        assert metric(client, 'retort_shadow_request_seconds_count{role="teacher"}') >= 2
        assert metric(client, "retort_shadow_compared_total") >= 2
        assert running.stop() == 0
        assert "hush" not in running.rest()


def test_a_teacher_that_comes_later_and_front_ends_that_share_what_it_says(
    tiny_bundle: Bundle, contrary: Bundle
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
    url = f"http://127.0.0.1:{port}/score"
    flags = ("--bundle", str(tiny_bundle.folder), *ONE, "--workers", "2", "--shadow", "1")
    with (
        server(*flags, "--teacher", url) as running,
        httpx.Client(base_url=running.url, timeout=PATIENCE_SECONDS) as client,
    ):
        for _ in range(5):
            assert client.post("/score", json=BODY).status_code == 200
        known = client.get("/info").json()["teacher"]
        assert (known["healthy"], known["shape"]) == (False, None)
        assert client.get("/comparison").json()["compared"] == 0
        later = ServerProcess(
            "--bundle", str(contrary.folder), *ONE, "--workers", "0", "--port", port
        )
        with ended(later):
            later.wait_until_ready()
            until_compared(client, 3)
            # Each connection is of one front end or the other, and all say the same.
            end = time.monotonic() + PATIENCE_SECONDS
            while True:
                asked = [httpx.get(f"{running.url}/comparison").json() for _ in range(12)]
                if len({told["compared"] for told in asked}) == 1:
                    break
                assert time.monotonic() < end
            assert asked[0]["compared"] == metric(client, "retort_shadow_compared_total")
            assert all(told["top1_agreement"] == 0 for told in asked)
        assert running.stop() == 0
        assert f"the teacher at {url} gave no scores" in running.rest()


def test_mistakes_end_the_start_in_a_sentence(tiny_bundle: Bundle, tmp_path: Path) -> None:
    found = ended_at_start(
        *("--bundle", str(tiny_bundle.folder), "--mode", "cascade"),
        *("--teacher", "https://user:hush@ranker.example/rerank"),
    )
    assert found.returncode == 1
    for part in ("mode is cascade", "shadow is 0", "holds a user or a password"):
        assert part in found.stderr
    assert "Traceback" not in found.stderr
    assert "hush" not in found.stderr
