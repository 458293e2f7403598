from __future__ import annotations

from service.metrics import Metrics

NAMES = (
    'retort_requests_total{route="/score",status="200"} 1.0',
    'retort_rejected_total{reason="overloaded"} 1.0',
    'retort_stage_seconds_bucket{le="0.001",stage="queue"}',
    "retort_batch_pairs_sum 10.0",
    "retort_batch_tokens_sum 160.0",
    "retort_padding_ratio_sum 0.25",
    "retort_queue_tokens 7.0",
    "retort_truncated_pairs_total 0.0",
    'retort_pair_seconds_count{role="student"} 10.0',
    'retort_pair_seconds_sum{role="student"} 0.5',
    "# TYPE retort_model_info gauge",
)


def test_the_names_and_what_they_count() -> None:
    metrics = Metrics()
    metrics.requests.labels("/score", "200").inc()
    metrics.rejected.labels("overloaded").inc()
    metrics.stages["queue"].observe(0.0005)
    metrics.batch(pairs=10, tokens=120, padded=160, seconds=0.5)
    metrics.watch_queue(lambda: 7)
    text = metrics.render().decode()
    for name in NAMES:
        assert name in text
    assert "_created" not in text


def test_two_servers_in_one_process_do_not_add_up() -> None:
    one, two = Metrics(), Metrics()
    one.truncated.inc(3)
    assert "retort_truncated_pairs_total 0.0" in two.render().decode()
