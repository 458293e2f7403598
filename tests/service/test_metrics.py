from __future__ import annotations

from retort.service.metrics import Metrics

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
    metrics.pair_seconds.add("student", 10, 0.5)
    metrics.queue_tokens.set_function(lambda: 7)
    text = metrics.render().decode()
    for name in NAMES:
        assert name in text
    assert "_created" not in text


def test_pairs_are_counted_by_role_and_size_of_batch() -> None:
    seconds = Metrics().pair_seconds
    assert seconds.mean("teacher") is None
    for pairs in (8, 9, 32, 33, 128, 129, 5000):
        seconds.add("teacher", pairs, pairs * 0.5)
    (family,) = seconds.collect()
    counts = {
        (sample.labels["role"], sample.labels["batch"]): sample.value
        for sample in family.samples
        if sample.name.endswith("_count")
    }
    assert counts == {
        ("student", "1-8"): 0,
        ("student", "9-32"): 0,
        ("student", "33-128"): 0,
        ("student", "129+"): 0,
        ("teacher", "1-8"): 8,
        ("teacher", "9-32"): 41,
        ("teacher", "33-128"): 161,
        ("teacher", "129+"): 5129,
    }
    assert seconds.mean("teacher") == 0.5
    assert seconds.mean("student") is None


def test_two_servers_in_one_process_do_not_add_up() -> None:
    one, two = Metrics(), Metrics()
    one.truncated.inc(3)
    assert "retort_truncated_pairs_total 0.0" in two.render().decode()
