"""The run of the comparison: the order of the turns, the rates asked, and once for real."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.loadtest.compare import SHARES, Bout, Options
from retort.loadtest.comparison import Target
from retort.loadtest.lineup import Wanted
from retort.loadtest.step import Answer, Step, Taken
from retort.loadtest.texts import Request
from retort.models.bundle import Bundle
from tests.loadtest.tiny_teacher import save_tiny_teacher

TARGETS = (
    Target("student", "student", "http://one", ""),
    Target("teacher", "teacher", "http://two", ""),
    Target("ensemble", "ensemble", "http://three", ""),
)
OPTIONS = Options(Wanted("any"), users=3, passages=2, rounds=3, seconds=4.0, load_seconds=5.0)


def bout(steps: list[Step], said: list[str], options: Options = OPTIONS) -> Bout:
    """Turns that are noted and not taken."""

    def run(step: Step) -> Taken:
        steps.append(step)
        return Taken(step.loop, step.seconds, (Answer(0.1, 0.1, 0.2, 200, 2),), 0.1)

    return Bout(options, (Request("q", ("a", "b")),), TARGETS, said.append, run)


def test_every_other_round_goes_backwards() -> None:
    steps: list[Step] = []
    said: list[str] = []
    rounds = bout(steps, said).rounds()
    assert [step.host.removeprefix("http://") for step in steps] == [
        "one", "two", "three", "three", "two", "one", "one", "two", "three",
    ]  # fmt: skip
    assert all(set(taken) == {"student", "teacher", "ensemble"} for taken in rounds)
    assert {(step.loop, step.users, step.seconds) for step in steps} == {("closed", 3, 4.0)}
    assert said[3] == "round 2 of 3: ensemble"


def test_the_ladder_goes_up_in_shares_of_what_each_managed() -> None:
    steps: list[Step] = []
    points = list(bout(steps, []).ladder({"student": 100.0, "teacher": 10.0, "ensemble": 3.0}))
    assert [step.rate for step in steps[0::2]] == [share * 100 for share in SHARES]
    assert [step.rate for step in steps[1::2]] == [share * 10 for share in SHARES]
    assert {(step.loop, step.seconds) for step in steps} == {("open", 5.0)}
    assert [point.role for point in points[:2]] == ["student", "teacher"]
    assert list(bout([], [], replace(OPTIONS, load_seconds=0.0)).ladder({})) == []


def test_the_time_it_takes_is_known_beforehand() -> None:
    everything = Wanted("any", teacher="t", ensemble=("t", "t"))
    assert 60 < Options(everything).about_s < 600
    assert Options(Wanted("any", bert_large=False)).about_s < Options(everything).about_s


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
    found = json.loads(result.stdout)
    by_role = {figures["target"]["role"]: figures for figures in found["figures"]}
    assert set(by_role) == {"student", "shadow", "teacher"}
    assert all(figures["rates"][0] > 0 for figures in found["figures"])
    assert "onnxruntime" in by_role["student"]["target"]["engine"]
    assert all(figures["error_share"] == 0 for figures in found["figures"])
    (speedup,) = found["speedups"]
    assert speedup["times"]["value"] == pytest.approx(
        by_role["student"]["rates"][0] / by_role["teacher"]["rates"][0]
    )
    # Some are dropped under full load: the shadow is the first to go.
    assert sum(found["shadowed"].values()) > 0
    assert "## What shadowing costs" in page.read_text(encoding="utf-8")


def test_a_missing_bundle_is_named() -> None:
    result = CliRunner().invoke(app, ["loadtest", "--bundle", "no-such-bundle"])
    assert result.exit_code == 1
    assert "error: no-such-bundle" in result.output
