"""Prometheus for tests: its programs, the board's and the rules' queries, a server with answers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import yaml

from retort.loadtest.servers import free_port
from tests.docker.dockerfile import DOCKER

CONFIG = DOCKER / "prometheus" / "prometheus.yml"
RULES = DOCKER / "prometheus" / "rules.yml"
BOARD = DOCKER / "grafana" / "boards" / "retort.json"
# A machine that is busy with something else is slow, not wrong.
PATIENCE_SECONDS = 180

installed = pytest.mark.skipif(
    shutil.which("promtool") is None or shutil.which("prometheus") is None,
    reason="promtool and prometheus are not installed (Debian: apt install prometheus)",
)


@dataclass(frozen=True, slots=True)
class Query:
    """A query in PromQL, and where it stands."""

    place: str
    text: str


def board() -> dict[str, Any]:
    """The Grafana board."""
    found: dict[str, Any] = json.loads(BOARD.read_text(encoding="utf-8"))
    return found


def panels() -> list[dict[str, Any]]:
    """The board's panels, rows aside."""
    return [panel for panel in board()["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    """Every rule, recorded or alert."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def board_queries() -> list[Query]:
    """The queries of every panel, with what Grafana puts in place of its variables."""
    return [
        Query(f"panel {panel['title']!r}, {target['legendFormat'] or target['refId']}",
              target["expr"].replace("$job", "retort").replace("$__rate_interval", "30s"))
        for panel in panels()
        for target in panel["targets"]
    ]  # fmt: skip


def rule_queries() -> list[Query]:
    """The queries of every rule."""
    return [Query(rule.get("record") or rule["alert"], rule["expr"]) for rule in rules()]


def metric_names(query: str) -> set[str]:
    """The metrics that a query reads, the service's and the recorded ones."""
    bare = re.sub(r'"[^"]*"', '""', query)
    return set(re.findall(r"\bretort_\w+|\b[a-z_]+:retort_\w+:\w+", bare))


class Prometheus:
    """Prometheus on `target`, with the stack's own configuration, but with short intervals."""

    def __init__(self, folder: Path, target: str) -> None:
        config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
        config["global"] = {
            "scrape_interval": "500ms",
            "scrape_timeout": "500ms",
            "evaluation_interval": "500ms",
        }
        config["rule_files"] = [str(RULES)]
        (job,) = [job for job in config["scrape_configs"] if job["job_name"] == "retort"]
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [target]}]
        config["scrape_configs"] = [job]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
        self.url = f"http://127.0.0.1:{free_port()}"
        self._log = (folder / "log").open("w+", encoding="utf-8")
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Self:
        """Wait until it is ready."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > end:
                self._log.seek(0)
                raise AssertionError(f"Prometheus is not ready: {self._log.read()}")
            time.sleep(0.1)
        return self

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The vector that answers `query` now. Raises `AssertionError` if it is refused."""
        reply = httpx.post(f"{self.url}/api/v1/query", data={"query": query}, timeout=30).json()
        assert reply["status"] == "success", f"{query}: {reply.get('error')}"
        found: list[dict[str, Any]] = reply["data"]["result"]
        return found

    def numbers(self, query: str) -> list[float]:
        """Those values of the answer to `query` that are numbers."""
        values = (float(sample["value"][1]) for sample in self.ask(query))
        return [value for value in values if value == value and abs(value) != float("inf")]

    def rules(self) -> list[dict[str, Any]]:
        """Every rule with its state."""
        groups = httpx.get(f"{self.url}/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]
