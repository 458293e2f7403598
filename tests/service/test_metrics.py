from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from retort.service.metrics import Metrics
from tests.fake_bundle import FakeBackend, make_manifest

NAMES = (
    'retort_requests_total{route="/score",status="200"} 1.0',
    'retort_rejected_total{reason="overloaded"} 1.0',
    'retort_stage_seconds_bucket{le="0.001",stage="queue"}',
    "retort_batch_pairs_sum 10.0",
    "retort_batch_tokens_sum 160.0",
    "retort_padding_ratio_sum 0.25",
    "retort_queue_tokens 7.0",
    "retort_truncated_pairs_total 0.0",
    'retort_pair_seconds_count{batch="9-32",role="student"} 10.0',
    'retort_pair_seconds_sum{batch="9-32",role="student"} 0.5',
    'retort_pair_seconds_count{batch="1-8",role="student"} 0.0',
    "# TYPE retort_model_info gauge",
)


def test_the_names_and_what_they_count() -> None:
    metrics = Metrics()
    metrics.requests.labels("/score", "200").inc()
    metrics.rejected.labels("overloaded").inc()
    metrics.stages["queue"].observe(0.0005)
    metrics.batch(pairs=10, tokens=120, padded=160)
    metrics.add_pairs("student", 10, 0.5)
    metrics.watch_queue_tokens(lambda: 7)
    text = metrics.render().decode()
    for name in NAMES:
        assert name in text
    assert "_created" not in text


def counts(text: str) -> dict[tuple[str, str], float]:
    return {
        (sample.labels["role"], sample.labels["batch"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "retort_pair_seconds_count"
    }


def test_pairs_are_counted_by_role_and_size_of_batch() -> None:
    metrics = Metrics()
    assert metrics.mean_pair_seconds("teacher") is None
    metrics.begin_model("teacher", make_manifest(), FakeBackend.info)
    for pairs in (8, 9, 32, 33, 128, 129, 5000):
        metrics.add_pairs("teacher", pairs, pairs * 0.5)
    assert counts(metrics.render().decode()) == {
        ("student", "1-8"): 0,
        ("student", "9-32"): 0,
        ("student", "33-128"): 0,
        ("student", "129+"): 0,
        ("teacher", "1-8"): 8,
        ("teacher", "9-32"): 41,
        ("teacher", "33-128"): 161,
        ("teacher", "129+"): 5129,
    }
    assert metrics.mean_pair_seconds("teacher") == 0.5
    assert metrics.mean_pair_seconds("student") is None


PROCESS = """
import sys
from pathlib import Path
from retort.service.metrics import Metrics
metrics = Metrics(Path(sys.argv[1]), sys.argv[2])
metrics.count_request("/score", 200)
metrics.add_pairs("student", 10, 0.5)
metrics.set_queue_tokens(5)
metrics.shadow.agreement.labels("1").set(float(sys.argv[3]))
if len(sys.argv) > 4:
    metrics.forget(sys.argv[4])
    print(metrics.render().decode())
"""


def test_several_processes_are_added_up_and_those_that_ended_are_not_lost(tmp_path: Path) -> None:
    def run(*arguments: str) -> str:
        command = [sys.executable, "-c", PROCESS, str(tmp_path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    run("engine0", "0.1")
    run("engine0", "0.2")  # takes the place of the first, and goes on with its counts
    run("engine1", "0.3")
    text = run("front0", "0.4", "engine1")
    assert 'retort_requests_total{route="/score",status="200"} 4.0' in text
    assert 'retort_pair_seconds_sum{batch="9-32",role="student"} 2.0' in text
    # What an engine that has ended held is nobody's any more; the latest agreement counts.
    assert "retort_queue_tokens 10.0" in text
    assert 'retort_shadow_top1_agreement{version="1"} 0.4' in text
    assert "pid" not in text
    assert "engine0" not in text
    assert len(list(tmp_path.glob("*engine0*"))) == len(list(tmp_path.glob("*front0*")))


def test_two_servers_in_one_process_do_not_add_up() -> None:
    one, two = Metrics(), Metrics()
    one.truncated.inc(3)
    assert "retort_truncated_pairs_total 0.0" in two.render().decode()
