"""Every panel and every rule, asked of a real Prometheus that reads a real server under load."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from retort.models.bundle import Bundle, write_bundle
from retort.models.manifest import Agreement
from retort.service.http.access.keys import new_key
from tests.docker.prometheus import (
    PATIENCE_SECONDS,
    Prometheus,
    Query,
    board_queries,
    installed,
    rule_queries,
    rules,
)
from tests.service.running import server
from tests.tiny_teacher import make_contrary
from tests.tiny_texts import PASSAGES, QUERIES

pytestmark = [installed, pytest.mark.slow]
AT_EXPORT = 0.9
ALERTS = {rule["alert"] for rule in rules() if "alert" in rule}
# They have no answer here, where the teacher is a bundle.
AT_A_URL = ("retort_shadow_request_seconds", "retort_shadow_speedup")
ASKED = [
    query
    for query in board_queries() + rule_queries()
    if query.place not in ALERTS and not any(name in query.text for name in AT_A_URL)
]


def alert_series() -> list[str]:
    """What alerts read, its labels asked for by name alone: `up{job="a"}` as `up{job!=""}`."""
    text = " ".join(query.text for query in rule_queries() if query.place in ALERTS)
    series = re.findall(r"\b(up|[a-z_]*:?retort_\w+(?::\w+)?)(?:{([^}]*)})?", text)
    found = set()
    for metric, matchers in series:
        labels = re.findall(r"(\w+)\s*[=!]", matchers)
        there = ", ".join(f'{label}!=""' for label in labels)
        found.add(f"{metric}{{{there}}}")
    return sorted(found)


@dataclass(frozen=True, slots=True)
class Traffic:
    """A little of everything, over and over, until it is stopped."""

    url: str
    key: str
    stopped: threading.Event

    def send(self) -> None:
        """Send until stopped."""
        key = {"X-API-Key": self.key}
        with httpx.Client(base_url=self.url, timeout=60, headers=key) as client:
            for number in range(10**6):
                # The shadow waits for a quiet moment.
                if self.stopped.wait(0.25):
                    return
                self._round(client, number)

    def _round(self, client: httpx.Client, number: int) -> None:
        query, texts = QUERIES[number % 4], [f"{p} {number % 7}" for p in PASSAGES]
        # Through the routes of other rerankers alone: rules and board must see those too.
        asked: list[tuple[str, dict[str, object]]] = [
            ("/rerank", {"query": query, "texts": texts}),
            ("/v1/rerank", {"query": query, "documents": texts, "top_n": 3}),
            # A large batch, a text that is cut, and a mistake.
            ("/v2/rerank", {"query": query, "documents": [*PASSAGES] * 5}),
            ("/v1/score", {"queries": query, "documents": ["so " * 500]}),
            ("/v2/rerank", {"query": "no documents"}),
        ]
        for path, body in asked:
            expected = 422 if body == asked[-1][1] else 200
            assert client.post(path, json=body).status_code == expected
        assert client.get("/readyz").status_code == 200


@pytest.fixture(scope="module")
def prometheus(
    tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("live")
    student = with_agreement(tiny_bundle, folder / "student")
    teacher = make_contrary(tiny_bundle, folder / "teacher")
    flags = ("--bundle", str(student.folder), "--threads", "1")
    asked = {
        "RETORT_TEACHER": str(teacher.folder),
        "RETORT_SHADOW": "0.5",
        "RETORT_CASCADE_SHARE": "1",
        "RETORT_MODE": "cascade",
        "RETORT_KEYS_FILE": str(folder / "keys.yaml"),
    }
    secret, entry = new_key("search")
    (folder / "keys.yaml").write_text(entry)
    (folder / "prometheus").mkdir()
    with server(*flags, **asked) as running:
        traffic = Traffic(running.url, secret, threading.Event())
        thread = threading.Thread(target=traffic.send)
        with Prometheus(folder / "prometheus", running.url.removeprefix("http://")) as started:
            thread.start()
            try:
                wait_for_answers(started)
                yield started
            finally:
                traffic.stopped.set()
                thread.join()


def with_agreement(tiny: Bundle, folder: Path) -> Bundle:
    """The tiny bundle, with a level that live agreement is held against."""
    agreement = Agreement(teacher="contrary", top1=AT_EXPORT, queries=500)
    return write_bundle(
        folder,
        manifest=tiny.manifest.model_copy(update={"agreement": agreement, "files": {}}),
        graph=tiny.graph_path,
        tokenizer=tiny.tokenizer_path,
        golden=tiny.golden,
    )


def wait_for_answers(prometheus: Prometheus) -> None:
    """Until every query has an answer, or patience ends: the tests then say which have none."""
    end = time.monotonic() + PATIENCE_SECONDS
    waiting = ASKED
    while waiting and time.monotonic() < end:
        waiting = [query for query in waiting if not prometheus.numbers(query.text)]
        time.sleep(0.5)


@pytest.mark.parametrize("query", ASKED, ids=lambda query: query.place)
def test_every_query_has_an_answer(prometheus: Prometheus, query: Query) -> None:
    assert prometheus.numbers(query.text), query.text


@pytest.mark.parametrize("series", alert_series())
def test_alerts_rest_on_series_that_there_are(prometheus: Prometheus, series: str) -> None:
    # An alert has no answer while nothing is wrong. What it looks at must be there all the same.
    assert prometheus.numbers(series), series


def test_rules_are_evaluated_without_an_error(prometheus: Prometheus) -> None:
    states = {rule["name"]: (rule["health"], rule.get("lastError")) for rule in prometheus.rules()}
    assert set(states.values()) == {("ok", None)}


def test_nothing_is_alarming_about_a_server_that_is_well(prometheus: Prometheus) -> None:
    firing = prometheus.ask('ALERTS{severity="page", alertstate="firing"}')
    assert firing == []


def test_figures_are_those_of_the_server(prometheus: Prometheus) -> None:
    # The teacher thinks the opposite.
    (agreement,) = prometheus.numbers("version:retort_shadow_top1_agreement:ratio1h")
    assert agreement == 0
    assert prometheus.numbers("version:retort_export_top1_agreement:max") == [AT_EXPORT]
    (speedup,) = prometheus.numbers("job:retort_speedup:ratio5m")
    assert 0.05 < speedup < 20
    parts = prometheus.numbers("batch:retort_speedup:ratio5m")
    assert parts
    assert all(math.isfinite(part) for part in parts)
