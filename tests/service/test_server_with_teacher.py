"""Student and teacher in the real server process, over HTTP, with the real graphs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from retort.models.bundle import Bundle
from tests.service.running import PATIENCE_SECONDS, ServerProcess, ended_at_start, server
from tests.tiny_teacher import make_contrary
from tests.tiny_texts import PASSAGES, QUERIES

pytestmark = pytest.mark.slow

BODY = {"query": QUERIES[0], "passages": list(PASSAGES)}
FAMILIES = {
    "retort_pair_seconds",
    "retort_shadow_requests",
    "retort_shadow_top1_agreed",
    "retort_shadow_compared",
    "retort_shadow_top1_agreement",
    "retort_shadow_kendall_tau",
    "retort_shadow_score_difference",
    "retort_cascade_passages",
    "retort_cascade_requests",
    "retort_passage_cache",
    "retort_model_info",
}


@pytest.fixture(scope="module")
def contrary(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A teacher that ranks the other way round."""
    return make_contrary(tiny_bundle, tmp_path_factory.mktemp("contrary") / "contrary")


@pytest.fixture(scope="module")
def disagreements(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("found") / "disagreements.jsonl"


@pytest.fixture(scope="module")
def running(tiny_bundle: Bundle, contrary: Bundle, disagreements: Path) -> Iterator[ServerProcess]:
    """Student and contrary teacher, each on a backend of its own."""
    flags = (
        *("--bundle", str(tiny_bundle.folder), "--threads", "1", "--precision", "fp32"),
        *("--teacher", str(contrary.folder), "--teacher-backend", "onnxruntime"),
        *("--backend", "openvino", "--teacher-precision", "fp32"),
        *("--shadow", "1", "--cascade-share", "0.5"),
        *("--disagreements", str(disagreements), "--disagreement-texts"),
    )
    with server(*flags) as process:
        yield process


@pytest.fixture
def client(running: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=PATIENCE_SECONDS) as client:
        yield client


def score(client: httpx.Client, **given: Any) -> dict[int, float]:
    results = client.post("/score", json={**BODY, **given}).json()["results"]
    return {result["index"]: result["score"] for result in results}


def samples(client: httpx.Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
    }


def until_compared(client: httpx.Client, number: int) -> dict[str, Any]:
    end = time.monotonic() + PATIENCE_SECONDS
    while (told := client.get("/comparison").json())["compared"] < number:
        assert time.monotonic() < end
        # On a machine that is never quiet a sample may be dropped: offer another.
        time.sleep(0.2)
        score(client)
    found: dict[str, Any] = told
    return found


def test_both_are_described(client: httpx.Client) -> None:
    info = client.get("/info").json()
    assert (info["model"]["name"], info["backend"]["backend"]) == ("tiny", "openvino")
    teacher = info["teacher"]
    assert (teacher["model"]["name"], teacher["backend"]["backend"]) == ("contrary", "onnxruntime")
    assert teacher["healthy"] is True
    assert info["modes"] == ["student", "teacher", "cascade"]


def test_each_mode_has_the_scores_of_its_models(client: httpx.Client) -> None:
    student, teacher = score(client), score(client, mode="teacher")
    for index, value in student.items():
        assert teacher[index] == pytest.approx(1 - value, abs=1e-3)
    reply = client.post("/score", json={**BODY, "mode": "cascade"}).json()
    by = {result["index"]: result["by"] for result in reply["results"]}
    assert sum(who == "teacher" for who in by.values()) == reply["usage"]["teacher_pairs"] <= 2
    for result in reply["results"]:
        expected = 0.5 if result["by"] == "teacher" else student[result["index"]]
        assert result["score"] == pytest.approx(expected, abs=1e-3)


def test_the_shadow_finds_what_is_known_to_be_there(
    client: httpx.Client, disagreements: Path
) -> None:
    before = client.get("/comparison").json()["compared"]
    student = score(client)
    told = until_compared(client, before + 1)
    assert told["top1_agreement"] == 0
    assert told["kendall_tau"] == pytest.approx(-1)
    assert (told["student"]["name"], told["teacher"]["name"]) == ("tiny", "contrary")
    assert told["speedup"] > 0
    assert told["agreement_at_export"] is None
    row = json.loads(disagreements.read_text().splitlines()[-1])
    assert (row["query"], row["passages"], row["hashed"]) == (
        BODY["query"],
        BODY["passages"],
        False,
    )
    assert row["student_scores"] == pytest.approx([student[n] for n in range(4)], abs=1e-5)


def test_the_metrics_are_there_and_add_up(client: httpx.Client) -> None:
    families = {
        family.name for family in text_string_to_metric_families(client.get("/metrics").text)
    }
    assert families >= FAMILIES
    until_compared(client, 1)
    before = samples(client)
    score(client, mode="teacher")
    score(client, mode="teacher")
    after = samples(client)
    key = ("retort_pair_seconds_count", (("batch", "1-8"), ("role", "teacher")))
    assert after[key] >= before[key] + 8
    hits = ("retort_passage_cache_total", (("result", "hit"),))
    assert after[hits] >= before[hits] + 8


def test_openapi_describes_it(client: httpx.Client) -> None:
    api = client.get("/openapi.json").json()
    schemas = api["components"]["schemas"]
    assert "cascade" in json.dumps(schemas["ScoreRequest"]["properties"]["mode"])
    assert "/comparison" in api["paths"]
    told = schemas["ComparisonResponse"]["properties"]
    assert set(told) == set(client.get("/comparison").json())
    answer = schemas["ScoreResponse"]["properties"]
    sometimes = {"errors", "answerable", "warnings"}
    assert set(client.post("/score", json=BODY).json()) | sometimes == set(answer)


@pytest.mark.slow
def test_a_teacher_that_cannot_run_stops_the_start(tiny_bundle: Bundle) -> None:
    folder = str(tiny_bundle.folder)
    ended = ended_at_start(
        *("--bundle", folder, "--teacher", folder, "--teacher-provider", "tensorrt")
    )
    assert ended.returncode == 1
    assert "no backend can run as asked" in ended.stderr
    assert "Traceback" not in ended.stderr
