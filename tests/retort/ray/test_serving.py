"""Ray Serve: the shipped config, deployed for real, answers as `retort serve` does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import yaml

from retort.models.errors import StartError
from retort.ray import QueuedTokens, app
from retort.ray.policy import QUEUE
from tests.service.running import ROOT, server

ray = pytest.importorskip("ray", reason="the extra ray is not installed")

BUNDLE = ROOT / "tests" / "tiny-bundle"
SETTINGS = {"backend": "onnxruntime", "precision": "fp32", "threads": 1}
QUERY, PASSAGES = "what is the river", ["the river is long", "a house", "what is it"]
CHANGING = {"timings_ms", "request_id", "id", "created"}
PATIENCE = 60

Config = dict[str, Any]
BODIES: list[tuple[str, Config]] = [
    ("/score", {"query": QUERY, "passages": PASSAGES}),
    ("/v1/rerank", {"model": "tiny", "query": QUERY, "documents": PASSAGES}),
    ("/rerank", {"query": QUERY, "texts": PASSAGES}),
    ("/score", {"text_1": QUERY, "text_2": PASSAGES}),
    ("/score", {"query": QUERY, "passages": []}),
    ("/score", {"query": 3}),
    ("/rerank", {"query": QUERY}),
]


def shipped(port: int, bundle: Path, **autoscaling: object) -> Config:
    """docker/ray/serve.yaml with a tiny bundle and small numbers."""
    config: Config = yaml.safe_load((ROOT / "docker" / "ray" / "serve.yaml").read_text())
    config["http_options"] = {"host": "127.0.0.1", "port": port}
    application = config["applications"][0]
    application["args"] = {**application["args"], **SETTINGS, "bundle": str(bundle)}
    deployment = application["deployments"][0]
    deployment["ray_actor_options"] = {"num_cpus": 1}
    deployment["health_check_period_s"] = 1
    deployment["autoscaling_config"] |= autoscaling
    return config


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number: int = free.getsockname()[1]
        return number


def without_times(answer: Any) -> Any:
    """An answer without what differs from one request to the next."""
    if not isinstance(answer, dict):
        return answer
    return {name: value for name, value in answer.items() if name not in CHANGING}


def deploy(config: Config) -> None:
    """Deploy as the dashboard's agent does for `serve deploy`, and wait until it runs."""
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    client = _get_global_client()
    assert client is not None
    client.deploy_apps(ServeDeploySchema.model_validate(config))
    stop = time.monotonic() + PATIENCE
    while True:
        found = serve.status().applications["retort"]
        if found.status == "RUNNING":
            return
        assert found.status != "DEPLOY_FAILED", found.message
        assert time.monotonic() < stop, found
        time.sleep(0.2)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a Serve proxy on a Ray of this machine with two cores."""
    from ray import serve

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT), prepend=":")
        ray.init(
            address="local",  # not one that other tests have started
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=100 * 1024 * 1024,
            log_to_driver=False,
        )
        number = free_port()
        serve.start(http_options={"host": "127.0.0.1", "port": number})
        yield number
        serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


@pytest.fixture(scope="module")
def url(port: int) -> str:
    deploy(shipped(port, BUNDLE))
    return f"http://127.0.0.1:{port}"


def test_answers_are_those_of_a_plain_server(url: str) -> None:
    check_answers(url)


def check_answers(url: str) -> None:
    """A plain server of the same bundle answers likewise."""
    flags = [word for name, value in SETTINGS.items() for word in (f"--{name}", str(value))]
    with server("--bundle", str(BUNDLE), *flags) as plain:
        for path, body in BODIES:
            theirs, ours = (httpx.post(base + path, json=body) for base in (plain.url, url))
            assert ours.status_code == theirs.status_code
            assert without_times(ours.json()) == without_times(theirs.json()), path
        assert httpx.get(f"{url}/readyz").json() == {"status": "ready"}
        assert httpx.get(f"{url}/nothing").status_code == 404
        assert "retort_requests_total" in httpx.get(f"{url}/metrics").text


def test_with_haproxy_for_a_proxy_answers_are_the_same(tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "serve.yaml"
    config.write_text(yaml.safe_dump(shipped(port, BUNDLE)))
    # As docs/ray.md says, on a Ray and with ports of its own.
    haproxy = {
        "ENABLE_HA_PROXY": "1",
        "HAPROXY_CONFIG_FILE_LOC": str(tmp_path / "haproxy.cfg"),
        "HAPROXY_METRICS_ENABLED": "0",
        "HAPROXY_STATS_PORT": str(free_port()),
    }
    own = {"PYTHONPATH": str(ROOT), "RAY_ADDRESS": "local", "RAY_USAGE_STATS_ENABLED": "0"}
    environment = {**os.environ, **own, **{f"RAY_SERVE_{k}": v for k, v in haproxy.items()}}
    command = [str(Path(sys.executable).parent / "serve"), "run", str(config)]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path) as running,
    ):
        try:
            stop = time.monotonic() + 2 * PATIENCE
            while not answers(f"http://127.0.0.1:{port}/readyz"):
                assert running.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < stop, (tmp_path / "log").read_text()
                time.sleep(0.5)
            # Ray's own proxy would answer likewise: this one is HAProxy.
            assert list(tmp_path.rglob("haproxy.cfg"))
            check_answers(f"http://127.0.0.1:{port}")
        finally:
            running.send_signal(signal.SIGINT)
            running.wait(PATIENCE)


def answers(url: str) -> bool:
    """Whether something at `url` says that all is well."""
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_newer_bundle_comes_by_deploying_again(port: int, url: str, tmp_path: Path) -> None:
    newer = shutil.copytree(BUNDLE, tmp_path / "newer")
    manifest = json.loads((newer / "manifest.json").read_text())
    (newer / "manifest.json").write_text(json.dumps({**manifest, "version": "9.9.9"}))
    seen: Counter[tuple[int, str]] = Counter()
    done = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=30) as client:
            while not done.is_set():
                answer = client.post(f"{url}/score", json={"query": QUERY, "passages": PASSAGES})
                seen[answer.status_code, answer.json().get("version", "")] += 1

    client = threading.Thread(target=ask)
    client.start()
    try:
        deploy(shipped(port, newer))
        stop = time.monotonic() + PATIENCE
        while not seen[200, "9.9.9"]:
            assert time.monotonic() < stop, seen
            time.sleep(0.1)
    finally:
        done.set()
        client.join()
    assert {status for status, _ in seen} == {200}
    assert seen[200, manifest["version"]] > 0


@pytest.mark.filterwarnings("ignore:The `metrics_interval_s`:DeprecationWarning")
def test_replicas_follow_the_tokens_that_wait(port: int, url: str) -> None:
    from ray import serve

    # Quicker than in service.
    times = {"upscale_delay_s": 0.5, "metrics_interval_s": 0.5, "look_back_period_s": 1}
    config = shipped(port, BUNDLE, **{"max_replicas": 2, **times})
    policy = config["applications"][0]["deployments"][0]["autoscaling_config"]["policy"]
    policy["policy_kwargs"]["tokens"] = 200
    deploy(config)
    done = threading.Event()
    body = {"query": QUERY, "passages": [f"{text} {n}" for n in range(300) for text in PASSAGES]}

    def load() -> None:
        with httpx.Client(timeout=60) as client:
            while not done.is_set():
                client.post(f"{url}/score", json=body)

    clients = [threading.Thread(target=load) for _ in range(6)]
    for one in clients:
        one.start()
    try:
        stop = time.monotonic() + PATIENCE
        while True:
            states = serve.status().applications["retort"].deployments["retort"].replica_states
            if sum(count for state, count in states.items() if state == "RUNNING") == 2:
                break
            assert time.monotonic() < stop, states
            time.sleep(0.2)
    finally:
        done.set()
        for one in clients:
            one.join()


@pytest.mark.parametrize(
    ("told", "replicas"),
    [({}, 1), ({"a": 0}, 1), ({"a": 1_000}, 1), ({"a": 1_001}, 2), ({"a": 900, "b": 2_200}, 4)],
)
def test_a_policy_asks_for_a_replica_per_so_many_tokens(
    told: dict[str, float], replicas: int
) -> None:
    context = SimpleNamespace(aggregated_metrics={QUEUE: told})
    assert QueuedTokens(1_000)(context) == (replicas, {})


def test_a_policy_that_nothing_was_told_keeps_one_replica() -> None:
    assert QueuedTokens()(SimpleNamespace(aggregated_metrics=None)) == (1, {})
    with pytest.raises(ValueError, match="tokens is 0"):
        QueuedTokens(0)


@pytest.mark.parametrize("args", [{"port": 80}, {"workers": 2}, {"bundel": "x"}, {"threads": -1}])
def test_wrong_settings_end_the_deployment(args: Config) -> None:
    with pytest.raises(StartError, match=next(iter(args))):
        app(args)
