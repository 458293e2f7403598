"""A trial: what a step comes to, and once a real server with a candidate's settings."""

from __future__ import annotations

import pytest

from retort.loadtest.step import Answer, Step, Taken
from retort.loadtest.texts import Request
from retort.loadtest.tune.candidate import Candidate
from retort.loadtest.tune.trace import Trace
from retort.loadtest.tune.trial import Trial, to_probe
from retort.models.bundle import Bundle
from retort.models.runtime.base import BackendInfo

ENGINE = BackendInfo("onnxruntime", "cpu", "fp32")


def taken(good: int, bad: int) -> Taken:
    """A step with answers after 1, 2, 3 … ms, and refusals."""
    answers = [Answer(0.0, 0.0, 1e-3 * (number + 1), 200, 3) for number in range(good)]
    answers += [Answer(0.0, 0.0, 0.0, 429, 3)] * bad
    return Taken("open", 2.0, tuple(answers), 0.1)


def test_a_step_is_summed_up() -> None:
    found = to_probe(7.0, taken(good=100, bad=0))
    assert (found.rate, found.seconds, found.requests, found.failed) == (7.0, 2.0, 100, 0)
    assert found.p50_ms == pytest.approx(50)
    assert found.p99_ms == pytest.approx(99)
    assert found.pairs_per_second == 150


def test_what_was_not_answered_took_for_ever() -> None:
    assert to_probe(7.0, taken(good=99, bad=1)).p99_ms == pytest.approx(99)
    found = to_probe(7.0, taken(good=98, bad=2))
    assert found.p99_ms is None
    assert found.p50_ms == pytest.approx(50)
    assert found.failed == 2
    assert to_probe(7.0, taken(good=0, bad=0)).p99_ms is None


@pytest.mark.slow
def test_a_server_runs_with_the_settings(tiny_bundle: Bundle) -> None:
    steps: list[Step] = []

    def run(step: Step) -> Taken:
        steps.append(step)
        return taken(good=1, bad=0)

    candidate = Candidate(ENGINE, threads=1, streams=2, batch_tokens=512)
    with Trial(candidate, str(tiny_bundle.folder), target_ms=300.0, run=run) as trial:
        backend = trial.backend()
        trace = Trace((Request("q", ("a", "b")),), "one")
        trial.probe(trace, 5.0, 2.0, warmup_s=0.5, seed=3)
    assert backend["backend"] == "onnxruntime"
    assert (backend["streams"], backend["slots"], backend["batch_tokens"]) == (2, 2, 512)
    (step,) = steps
    assert (step.loop, step.rate, step.seconds, step.seed) == ("open", 5.0, 2.0, 3)
    assert step.pairs == (2,)
    # Twice as long as the server waits, so that it is the server who gives a request up.
    assert step.timeout_s == 6.0


def test_settings_that_the_server_refuses_are_told(tiny_bundle: Bundle) -> None:
    trial = Trial(Candidate(streams=1000), str(tiny_bundle.folder), target_ms=300.0)
    with pytest.raises(RuntimeError, match="streams"), trial:
        pass
