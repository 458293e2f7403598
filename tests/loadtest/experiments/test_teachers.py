"""The load test: the order of the turns, the rates asked, its arithmetic, and once for real."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.loadtest.experiments.teachers import (
    SHARES,
    about_s,
    measure,
    plot,
    tables,
)
from retort.loadtest.load import Answer, Outcome, Step
from retort.loadtest.options import LoadtestOptions
from retort.loadtest.result import Cell, read
from retort.loadtest.rounds import OpenLoad, Spread
from retort.loadtest.servers import Server
from retort.loadtest.targets import serve
from retort.loadtest.traffic import Request, Traffic
from retort.models.bundle import Bundle
from tests.loadtest.tiny_teacher import save_tiny_teacher

OPTIONS = LoadtestOptions("any", users=3, passages=2, rounds=3, seconds=4.0, load_seconds=5.0)
TRAFFIC = Traffic("real", "one question", (Request("q", ("a", "b")),))


def closed(pairs: int, status: int = 200, failed: int = 0) -> Outcome:
    """A closed second in which so many pairs were answered, and so many requests were not."""
    answers = [Answer(0.0, 0.0, 1.0, status, pairs), *[Answer(0.5, 0.5, 0.6, 429, 1)] * failed]
    return Outcome("closed", 1.0, tuple(answers), 0.25)


def servers(*names: str) -> dict[str, Server]:
    """Servers that do not run, each known by its port."""
    return {name: Server(serve("any", name=name, label=f"the {name}")) for name in names}


def test_rounds_alternate_and_open_loads_follow_what_each_managed() -> None:
    running = servers("student", "teacher", "ensemble")
    names = {server.host: name for name, server in running.items()}
    steps: list[Step] = []

    def run(step: Step) -> Outcome:
        steps.append(step)
        return closed({"student": 200, "teacher": 20, "ensemble": 6}[names[step.host]])

    rounds, points = measure(OPTIONS, TRAFFIC, running, lambda step: None, run)
    assert [names[step.host] for step in steps[:9]] == [
        "student", "teacher", "ensemble", "ensemble", "teacher", "student",
        "student", "teacher", "ensemble",
    ]  # fmt: skip
    assert {(step.loop, step.users, step.seconds) for step in steps[:9]} == {("closed", 3, 4.0)}
    assert {name: len(outcomes) for name, outcomes in rounds.items()} == dict.fromkeys(running, 3)
    # Two pairs per request; the ensemble gets no open load.
    assert [step.rate for step in steps[9::2]] == pytest.approx([share * 100 for share in SHARES])
    assert [step.rate for step in steps[10::2]] == pytest.approx([share * 10 for share in SHARES])
    assert {(step.loop, step.seconds) for step in steps[9:]} == {("open", 5.0)}
    assert [name for name, _ in points[:2]] == ["student", "teacher"]
    without = replace(OPTIONS, load_seconds=0.0)
    assert measure(without, TRAFFIC, running, lambda step: None, run)[1] == []


def test_a_server_that_answers_nothing_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"the student answered no request.*\{503: 1\}"):
        measure(
            OPTIONS, TRAFFIC, servers("student"), lambda step: None, lambda step: closed(1, 503)
        )


def rows(
    rates: dict[str, tuple[int, ...]],
    points: Sequence[tuple[str, OpenLoad]] = (),
    shadowed: dict[str, int] | None = None,
) -> dict[str, dict[Cell, tuple[Cell, ...]]]:
    """The cells of each table, of servers with so many pairs per second in each round."""
    rounds = {name: [closed(value) for value in values] for name, values in rates.items()}
    labels = {name: f"the {name}" for name in rates}
    found = tables(labels, labels, rounds, points, users=2, shadowed=shadowed or {})
    return {table.name: {row[0]: row[1:] for row in table.rows} for table in found}


def test_a_speedup_is_the_students_rate_over_the_teachers() -> None:
    found = rows({"student": (800, 400), "teacher": (100, 50), "bert-large": (10, 5)})
    # The machine ran at half its speed in the second round, for all alike.
    assert found["speedups"] == {
        "the teacher": (Spread(8.0, 8.0, 8.0, 2),),
        "the bert-large": (Spread(80.0, 80.0, 80.0, 2),),
    }
    assert "shadowing" not in found
    assert found["throughput"]["the teacher"][:2] == (Spread(75.0, 50.0, 100.0, 2), 0.0)


def test_the_cost_of_shadowing_is_a_share_of_the_students_rate() -> None:
    found = rows(
        {"student": (100, 100, 100), "shadow": (98, 97, 99)},
        shadowed={"compared": 7, "dropped": 1},
    )
    loss, counts = found["shadowing"]["lost by shadowing"]
    assert isinstance(loss, Spread)
    assert (loss.low, loss.value, loss.high) == pytest.approx((0.01, 0.02, 0.03))
    assert counts == "7 compared, 1 dropped"


def test_failures_are_counted_over_all_rounds() -> None:
    rounds = {"student": [closed(10), closed(10, failed=2)]}
    labels = {"student": "student"}
    (*_, throughput) = tables(labels, labels, rounds, (), users=2, shadowed={})
    assert throughput.cell("student", "errors") == 0.5


def test_a_point_sums_up_an_open_step() -> None:
    answers = [
        Answer(i / 100, i / 100 + 0.002, i / 100 + 0.01 * (i + 1), 200, 2) for i in range(99)
    ]
    step = Outcome("open", 1.0, (*answers, Answer(0.99, 0.99, 1.5, 504, 2)), 0.1)
    none = Outcome("open", 1.0, (Answer(0.1, 0.1, 0.2, 429, 1),), 0.1)
    points = [("student", OpenLoad.of(100.0, step)), ("teacher", OpenLoad.of(5.0, none))]
    found = rows({"student": (8,), "teacher": (1,)}, points)["latency"]
    offered, answered, p50, _, p99, errors, requests = found["the student"]
    assert (offered, errors, requests) == (100.0, 0.01, 100)
    assert answered == 2 * 50  # those done within the second
    assert [p50, p99] == pytest.approx([500, 990])
    assert found["the teacher"][2:] == (*["none"] * 3, 1.0, 1)


def test_an_open_load_without_a_request_is_an_error() -> None:
    def run(step: Step) -> Outcome:
        return closed(10) if step.loop == "closed" else Outcome("open", 1.0, (), 0.1)

    with pytest.raises(RuntimeError, match="no request was due in 1 s"):
        measure(OPTIONS, TRAFFIC, servers("student"), lambda step: None, run)


def test_loads_without_an_answer_are_not_drawn_as_zero_latency() -> None:
    right = Outcome("open", 1.0, (Answer(0.1, 0.1, 0.2, 200, 1),), 0.1)
    none = Outcome("open", 1.0, (Answer(0.1, 0.1, 0.2, 429, 1),), 0.1)
    points = [("student", OpenLoad.of(rate, step)) for rate, step in ((1.0, right), (2.0, none))]
    labels = {"student": "student"}
    (*_, latency) = tables(labels, labels, {"student": [closed(1)]}, points, users=1, shadowed={})
    p50, *_, answered = plot(latency).panels
    assert [x for x, _ in p50.lines[0].points] == [1.0]
    assert [x for x, _ in answered.lines[0].points] == [1.0, 2.0]


def test_the_time_it_takes_is_known_beforehand() -> None:
    everything = about_s(LoadtestOptions())
    assert 60 < everything < 600
    assert about_s(LoadtestOptions(bert_large=False)) < everything


@pytest.mark.slow
def test_a_short_run_compares_real_servers(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETORT_BACKEND", "onnxruntime")  # `auto` would measure each for a while
    teacher = save_tiny_teacher(tmp_path / "teacher")
    page = tmp_path / "loadtest.md"
    arguments = ["loadtest", "--bundle", str(tiny_bundle.folder), "--output", str(page), "--json"]
    arguments += ["--teacher", f"cross-encoder:{teacher}", "--no-ensemble", "--no-bert-large"]
    arguments += ["--teacher-bundle", str(tiny_bundle.folder), "--no-same-backend"]
    arguments += ["--shadow", "1", "--users", "2", "--passages", "4", "--rounds", "1"]
    arguments += ["--seconds", "0.3", "--load-seconds", "0", "--work", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    (found,) = read(tmp_path / "measured" / "loadtest.json")
    assert json.loads(result.stdout)[0]["part"] == "loadtest"
    throughput = found.table("throughput")
    assert [row[0] for row in throughput.rows] == [
        "student",
        "student, shadowing 100.00% of requests",
        "one teacher, PyTorch fp32",
    ]
    rates = [row[1].value for row in throughput.rows if isinstance(row[1], Spread)]
    assert len(rates) == 3
    assert min(rates) > 0
    assert [row[2] for row in throughput.rows] == [0.0] * 3
    assert "onnxruntime" in str(throughput.cell("student", "what runs"))
    times = found.table("speedups").cell("one teacher, PyTorch fp32", "times as many pairs/s [95%]")
    assert isinstance(times, Spread)
    assert times.value == pytest.approx(rates[0] / rates[2])
    # Some are dropped under full load: the shadow is the first to go.
    assert found.table("shadowing").cell("lost by shadowing", "shadowed requests") != "none"
    assert "### Cost of shadowing" in page.read_text(encoding="utf-8")


def test_a_missing_bundle_is_named() -> None:
    result = CliRunner().invoke(app, ["loadtest", "--bundle", "no-such-bundle"])
    assert result.exit_code == 1
    assert "error: no-such-bundle" in result.output
