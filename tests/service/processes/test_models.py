"""Several models, other versions of them while the server runs, and how it stops."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from retort.models.bundle import Bundle, sign_bundle
from tests.models.test_signature import make_keys
from tests.service.processes.test_faults import Asking, children, ready, until
from tests.service.running import ServerProcess, ended_at_start, server
from tests.tiny_texts import PASSAGES, QUERIES

pytestmark = pytest.mark.slow

BODY = {"query": QUERIES[0], "passages": list(PASSAGES)}
ADMIN = {"Authorization": "Bearer root"}
FLAGS = ("--threads", "1", "--backend", "onnxruntime")


def renamed(bundle: Bundle, folder: Path, **changes: str) -> Path:
    """A copy of the bundle with other words in its manifest."""
    shutil.copytree(bundle.folder, folder, dirs_exist_ok=True)
    manifest = json.loads((folder / "manifest.json").read_text()) | changes
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def score(running: ServerProcess, **changes: Any) -> httpx.Response:
    return httpx.post(f"{running.url}/score", json=BODY | changes, timeout=60)


def load(running: ServerProcess, name: str, bundle: Path | None = None) -> httpx.Response:
    body = {} if bundle is None else {"bundle": str(bundle)}
    url = f"{running.url}/admin/models/{name}"
    return httpx.post(url, json=body, headers=ADMIN, timeout=60)


@pytest.fixture(scope="module")
def two(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of `tiny` and `other`, with an admin's key."""
    other = renamed(tiny_bundle, tmp_path_factory.mktemp("two") / "b", name="other", version="7")
    bundles = ("--bundle", str(tiny_bundle.folder), "--bundle", str(other))
    with server(*bundles, *FLAGS, RETORT_ADMIN_API_KEY="root") as running:
        yield running


def test_a_request_chooses_its_model(two: ServerProcess) -> None:
    assert score(two).json()["model"] == "tiny"
    other = score(two, model="other").json()
    assert (other["model"], other["version"]) == ("other", "7")
    jina = {"query": "q", "documents": ["a"], "model": "other"}
    assert httpx.post(f"{two.url}/v1/rerank", json=jina).json()["model"] == "other"
    tei = {"query": "q", "texts": ["a"], "model": "other"}
    assert httpx.post(f"{two.url}/rerank", json=tei).status_code == 200
    vllm = {"text_1": "q", "text_2": ["a"], "model": "other"}
    assert httpx.post(f"{two.url}/v1/score", json=vllm).json()["model"] == "other"
    for path, body in (("/score", BODY), ("/v2/rerank", jina)):
        reply = httpx.post(f"{two.url}{path}", json=body | {"model": "nobody"})
        assert reply.status_code == 404
        error = reply.json()["error"]
        assert (error["type"], error["param"]) == ("model_not_found", "model")
        assert "tiny, other" in error["message"]


def test_models_are_listed(two: ServerProcess) -> None:
    score(two, model="other")
    listed = httpx.get(f"{two.url}/v1/models").json()
    assert listed["object"] == "list"
    rows = [(m["id"], m["version"], m["role"], m["object"]) for m in listed["data"]]
    assert rows[:2] == [("tiny", "0.0.1", "student", "model"), ("other", "7", "student", "model")]
    assert all(isinstance(model["created"], int) for model in listed["data"])
    text = httpx.get(f"{two.url}/metrics").text
    assert 'retort_answers_total{model="other",version="7"}' in text


def test_only_the_admins_key_opens_admin(two: ServerProcess) -> None:
    url = f"{two.url}/admin/models/tiny"
    assert httpx.post(url).status_code == 401
    assert httpx.post(url, headers={"X-API-Key": "toor"}).status_code == 401


def test_a_version_takes_over_without_a_lost_request(
    two: ServerProcess, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    newer = renamed(tiny_bundle, tmp_path / "newer", version="0.0.2")
    with Asking(two.url) as asking:
        for bundle, version in ((newer, "0.0.2"), (tiny_bundle.folder, "0.0.1"), (newer, "0.0.2")):
            reply = load(two, "tiny", bundle)
            assert reply.status_code == 200, reply.text
            assert reply.json()["version"] == version
            assert score(two).json()["version"] == version
    assert set(asking.statuses) == {200}
    assert len(asking.rankings) == 1
    until(lambda: len(children(two, "engine")) == 2)
    # Without another place it comes from where it came from.
    assert load(two, "tiny").json()["previous_version"] == "0.0.2"


def test_what_cannot_be_loaded_leaves_what_there_is(two: ServerProcess, tmp_path: Path) -> None:
    before = score(two).json()["version"]
    for place, said in ((tmp_path / "nothing", "no bundle"), (None, "no bundle")):
        name = "tiny" if place else "nobody"
        reply = load(two, name, place)
        assert reply.status_code == 409
        assert reply.json()["error"]["type"] == "load_failed"
        assert said in reply.json()["error"]["message"]
    assert score(two).json()["version"] == before
    assert len(httpx.get(f"{two.url}/v1/models").json()["data"]) == 2


def test_a_bundle_of_another_name_is_not_taken_for_this_one(
    two: ServerProcess, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    third = renamed(tiny_bundle, tmp_path / "third", name="third")
    reply = load(two, "tiny", third)
    assert reply.status_code == 409
    assert "third" in reply.json()["error"]["message"]
    # Under its own name it is one more model.
    assert load(two, "third", third).status_code == 200
    assert score(two, model="third").json()["model"] == "third"


def test_sighup_reloads(tiny_bundle: Bundle, tmp_path: Path) -> None:
    folder = renamed(tiny_bundle, tmp_path / "mine", version="1")
    with server("--bundle", str(folder), *FLAGS) as running, Asking(running.url) as asking:
        renamed(tiny_bundle, folder, version="2")
        running.process.send_signal(signal.SIGHUP)
        until(lambda: score(running).json()["version"] == "2")
        # A bundle that is damaged meanwhile leaves the old one.
        (folder / "golden.jsonl").write_text("damaged")
        running.process.send_signal(signal.SIGHUP)
        time.sleep(2)
        assert score(running).json()["version"] == "2"
        text = httpx.get(f"{running.url}/metrics").text
        assert 'retort_reloads_total{model="tiny",result="failed"} 1.0' in text
    assert set(asking.statuses) == {200}


def test_one_process_reloads_too(tiny_bundle: Bundle, tmp_path: Path) -> None:
    newer = renamed(tiny_bundle, tmp_path / "newer", version="2")
    flags = ("--bundle", str(tiny_bundle.folder), *FLAGS, "--workers", "0")
    with server(*flags, RETORT_ADMIN_API_KEY="root") as running:
        with Asking(running.url) as asking:
            assert load(running, "tiny", newer).json()["version"] == "2"
            assert load(running, "tiny", tmp_path / "nothing").status_code == 409
            running.process.send_signal(signal.SIGHUP)
            time.sleep(1)
            assert score(running).json()["version"] == "2"
        assert set(asking.statuses) == {200}
        assert not children(running, "engine")
        assert running.stop() == 0


@pytest.mark.parametrize("workers", ["1", "0"])
def test_with_a_trusted_key_only_signed_versions_are_served(
    tiny_bundle: Bundle, tmp_path: Path, workers: str
) -> None:
    folder = renamed(tiny_bundle, tmp_path / "b", version="1")
    private, public = make_keys(tmp_path)
    flags = ("--bundle", str(folder), "--trusted-key", str(public), "--workers", workers, *FLAGS)
    ended = ended_at_start(*flags)
    assert ended.returncode == 1
    assert "only bundles signed with" in ended.stderr
    sign_bundle(folder, private)
    newer = renamed(tiny_bundle, tmp_path / "newer", version="2")
    with server(*flags, RETORT_ADMIN_API_KEY="root") as running:
        refused = load(running, "tiny", newer)
        assert refused.status_code == 409
        assert "only bundles signed with" in refused.json()["error"]["message"]
        assert score(running).json()["version"] == "1"
        sign_bundle(newer, private)
        assert load(running, "tiny", newer).status_code == 200
        assert score(running).json()["version"] == "2"


def test_two_bundles_of_one_name_are_refused(tiny_bundle: Bundle) -> None:
    folder = str(tiny_bundle.folder)
    ended = ended_at_start("--bundle", f"{folder},{folder}")
    assert ended.returncode == 1
    assert "two bundles are named tiny" in ended.stderr


@pytest.mark.parametrize("workers", ["1", "0"])
def test_while_it_delays_its_drain_it_is_not_ready_and_answers(
    tiny_bundle: Bundle, workers: str
) -> None:
    flags = ("--bundle", str(tiny_bundle.folder), *FLAGS, "--workers", workers)
    with server(*flags, "--drain-delay-seconds", "2") as running:
        with Asking(running.url) as asking:
            running.process.send_signal(signal.SIGTERM)
            assert until(lambda: not ready(running)) < 1.0
            start, before = time.monotonic(), len(asking.statuses)
            while time.monotonic() < start + 1.0:
                assert httpx.get(f"{running.url}/readyz").json()["status"] == "draining"
                assert score(running).status_code == 200
            assert len(asking.statuses) > before + 3
            assert running.process.wait(30) == 0
        # Once it has ended nobody listens; until then everything was answered.
        answered = [status for status in asking.statuses if status]
        assert set(answered) == {200}


def test_half_a_body_does_not_hold_up_the_end(tiny_bundle: Bundle) -> None:
    with server("--bundle", str(tiny_bundle.folder), *FLAGS) as running:
        port = int(running.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as half:
            half.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            time.sleep(0.2)
            start = time.monotonic()
            assert running.stop() == 0
            assert time.monotonic() - start < 8
            assert b"503" in half.recv(1000)


def test_a_second_signal_ends_it_at_once(tiny_bundle: Bundle) -> None:
    flags = ("--bundle", str(tiny_bundle.folder), *FLAGS, "--drain-delay-seconds", "60")
    with server(*flags) as running:
        running.process.send_signal(signal.SIGTERM)
        until(lambda: not ready(running))
        os.kill(running.process.pid, signal.SIGTERM)
        start = time.monotonic()
        running.process.wait(30)
        assert time.monotonic() - start < 5


def test_one_client_does_not_hold_up_another(tiny_bundle: Bundle) -> None:
    large = BODY | {"passages": [f"{PASSAGES[n % 4]} {n}" for n in range(4000)]}
    with server("--bundle", str(tiny_bundle.folder), *FLAGS) as running:

        def ask() -> None:
            httpx.post(f"{running.url}/score", json=large, timeout=60)

        flood = [threading.Thread(target=ask) for _ in range(4)]
        for thread in flood:
            thread.start()
        time.sleep(0.3)
        # Another address, so another client.
        transport = httpx.HTTPTransport(local_address="127.0.0.2")
        with httpx.Client(transport=transport, base_url=running.url, timeout=60) as client:
            start = time.monotonic()
            assert client.post("/score", json=BODY).status_code == 200
            assert time.monotonic() - start < 2.0
        for thread in flood:
            thread.join()
