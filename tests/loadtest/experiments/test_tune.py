"""`retort tune`: what it refuses, its record and settings file, and brief runs on real servers."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.loadtest.experiments.tune import (
    LOAD_S,
    QUICK,
    REPEATED,
    STEP_S,
    Plan,
    Screened,
    TargetMissed,
    Tuned,
    Tuning,
    missed,
    reason,
    report,
    run_tune,
    screen_axes,
)
from retort.loadtest.experiments.tune_search import (
    DEFAULTS,
    Candidate,
    Rung,
    Search,
    axes,
)
from retort.loadtest.options import TuneOptions
from retort.loadtest.result import Setup
from retort.loadtest.rounds import OpenLoad, Spread
from retort.loadtest.traffic import Request, Traffic
from retort.models.bundle import Bundle
from retort.models.errors import BundleNotFound
from retort.models.runtime.base import BackendInfo
from retort.service.settings import load_settings

MAKEFILE = Path(__file__).parents[3] / "Makefile"
BRIEF = Plan(
    rounds=1, turn_s=0.1, clients=2, axes=0, leaders=1, finalists=1, probes=1, probe_s=0.5,
    warmup_s=0.1,
)  # fmt: skip
ONNX: dict[str, Any] = {"backend": "onnxruntime", "provider": "cpu", "precision": "fp32"}
INFO = BackendInfo("openvino", "cpu", "int8")
INFO_SETTINGS = {"backend": "openvino", "provider": "cpu", "precision": "int8"}
TUNED = Candidate(INFO, threads=0, streams=2)
TRAFFIC = Traffic("mixed", "ten questions", (Request("q", ("a", "b")),))


def options(bundle: str = "retort-small", p99_ms: float = 20_000.0, **choice: Any) -> TuneOptions:
    """The options of a run on three passages at most."""
    return TuneOptions(bundle, p99_ms, passages=3, **choice)


def tuning(bundle: str = "retort-small", **choice: Any) -> Tuning:
    """A brief run with a target that any machine meets."""
    return Tuning(options(bundle, **choice), TRAFFIC, BRIEF, lambda line: None)


def probe(rate: float, p99_ms: float) -> OpenLoad:
    """An open load with that p99."""
    return OpenLoad(rate, 10 * rate, 40.0, 60.0, p99_ms, 0.0, 100, 1.0)


def searched(rate: float | None) -> Search:
    """A search that met the target at that rate, or at none."""
    search = Search(1.0, 100.0)
    if rate is not None:
        search.learn(probe(rate, 90.0))
    search.learn(probe(2 * (rate or 1.0), 300.0))
    return search


def tuned(rate: float | None = 30.0, defaults: float | None = 20.0) -> Tuned:
    """A run, made up, in which the tuned server and the defaults met the target at these rates."""
    setup = Setup("2026-01-01", "retort tune --quick", "a machine", "retort-small 0.2.0")
    rates = Spread(300.0, 250.0, 340.0, 3)
    screened = Screened("backend and precision", Candidate(INFO), rates, 33.0)
    out = {Candidate(BackendInfo("onnxruntime", "cuda", "fp32")): "there is no GPU |"}
    rung = Rung(2.0, {TUNED: searched(rate), DEFAULTS: searched(defaults)})
    short = tuning(p99_ms=100.0)
    measurement = report(setup, short, [screened], out, [rung])
    return Tuned(measurement, "retort-small", {**INFO_SETTINGS, "streams": 2})


def test_a_missing_bundle_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFound, match="no-such-bundle"):
        run_tune(options("no-such-bundle"), BRIEF, print)
    output = tmp_path / "tuned.yaml"
    arguments = ["tune", "--bundle", "no-such-bundle", "--output", str(output)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "error: no-such-bundle" in result.output
    assert not output.exists()


def test_an_unknown_precision_is_refused_with_those_there_are() -> None:
    result = CliRunner().invoke(app, ["tune", "--precision", "int4"])
    assert result.exit_code == 2
    assert "'int4' is not one of" in result.output
    assert "'int8'" in result.output


def test_variables_that_the_defaults_would_follow_are_refused(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETORT_STREAMS", "2")
    with pytest.raises(ValueError, match=r"RETORT_STREAMS would hold .*: unset it"):
        run_tune(options(str(tiny_bundle.folder)), BRIEF, print)


def test_the_time_it_takes_is_known_beforehand() -> None:
    plan = Plan(rounds=1, turn_s=1.0, finalists=2, probes=1, probe_s=3.0, warmup_s=1.0)
    screening = LOAD_S + 2 * (1.0 + 1.0 + STEP_S)
    # Two servers and the defaults for three seconds each, then one and the defaults for six.
    rungs = 3 * (3.0 + 1.0 + STEP_S) + 2 * (6.0 + 1.0 + STEP_S)
    expected = screening + 3 * LOAD_S + REPEATED * rungs
    assert plan.about_s(backends=1, variants=0) == pytest.approx(expected)
    assert 10 < Plan().about_s(backends=7, variants=9) / 60 < 20
    assert QUICK.about_s(backends=7, variants=6) < 300


def test_a_candidate_that_cannot_meet_the_target_comes_last() -> None:
    def screened(streams: int, rate: float, alone_ms: float) -> Screened:
        candidate = Candidate(streams=streams)
        return Screened("any", candidate, Spread(rate, rate, rate, 1), alone_ms)

    fast, quick, slower = screened(1, 500, 120), screened(2, 300, 80), screened(4, 200, 70)
    found = sorted([slower, fast, quick], key=lambda one: one.order(100.0))
    assert found == [quick, slower, fast]


class Canned(Tuning):
    """More streams are faster, and the second backend does not run."""

    def screen(
        self, axis: str, candidates: Sequence[Candidate]
    ) -> tuple[list[Screened], dict[Candidate, str]]:
        rates = {one: 100.0 + (one.streams or 0) for one in candidates if one.backend == INFO}
        screened = [Screened(axis, one, Spread(r, r, r, 1), 1.0) for one, r in rates.items()]
        screened.sort(key=lambda found: found.order(self.target_ms))
        return screened, {one: "no GPU" for one in candidates if one.backend != INFO}


def test_an_axis_starts_from_the_best_of_the_one_before() -> None:
    canned = Canned(options(), TRAFFIC, Plan(leaders=1), lambda line: None)
    other = Candidate(BackendInfo("onnxruntime", "cuda", "fp32"))
    screened, out = screen_axes(canned, [Candidate(INFO), other], axes(cores=2, longest=128))
    assert out == {other: "no GPU"}
    by_axis = {one.axis: one.candidate for one in reversed(screened)}
    assert list(by_axis)[-1] == "backend and precision"
    assert by_axis["threads and streams"].streams == 2
    assert {one.candidate.streams for one in screened if one.axis == "tokens of a batch"} == {2}
    assert len([one for one in screened if one.axis == "steps of length"]) == 3


def test_why_a_server_did_not_start_is_its_last_line() -> None:
    refusal = "it ended with status 1:\nlog\nerror: no backend can run as asked (x, y): no GPU\n"
    assert reason(refusal) == "no GPU"
    assert reason("error: out of memory\n") == "out of memory"


def test_a_missed_target_is_refused_with_what_came_nearest() -> None:
    assert "within 100 ms: the nearest was 130.0 ms at 2.00" in missed(probe(2.0, 130.0), 100.0)
    assert "more than one request in a hundred" in missed(None, 100.0)


def test_the_server_takes_the_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "new" / "tuned.yaml"
    tuned().write(file)
    settings = load_settings(file)
    assert (settings.bundle, settings.backend) == (("retort-small",), "openvino")
    assert settings.streams == 2
    head = [line for line in file.read_text().splitlines() if line.startswith("#")]
    for part in ("2026-01-01", "retort tune --quick", "a machine", "0.2.0", "1.50 times"):
        assert part in "\n".join(head)
    # `make serve` looks for this line.
    assert "\nbundle: retort-small\n" in file.read_text()


def test_the_record_has_the_servers_the_screening_and_what_was_left_out() -> None:
    measurement = tuned(30.0, None).measurement
    servers, screening = measurement.tables
    assert servers.cell(str(TUNED), "requests/s met") == 30.0
    assert servers.cell("the defaults", "requests/s met") == "none"
    assert servers.cell("the defaults", "requests/s missed") == 2.0
    assert screening.cell("openvino/cpu/int8", "p99 of one client, ms") == 33.0
    assert "met the target at no rate" in measurement.facts[-1]
    assert "nothing did better" in tuned(20.0, 30.0).measurement.facts[-1]


@pytest.mark.parametrize(
    ("written", "arguments", "taken"),
    [
        ("bundle: retort-small\n", [], True),
        ("bundle: another\n", [], False),
        ("bundle: another\n", ["BUNDLE=another"], True),
        ("bundle: retort-small\n", ["TUNED="], False),
        (None, [], False),
    ],
)
def test_make_serve_takes_what_was_tuned_for_its_bundle(
    tmp_path: Path, written: str | None, arguments: list[str], taken: bool
) -> None:
    (tmp_path / "requirements").mkdir()
    for name in ("pyproject.toml", "requirements/cpu.txt", "requirements/build.txt"):
        (tmp_path / name).touch()
    if written is not None:
        (tmp_path / "runs").mkdir()
        (tmp_path / "runs" / "tuned.yaml").write_text(f"# head\n{written}threads: 0\n")
    command = ["make", "-n", "-f", str(MAKEFILE), "serve", *arguments]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert ("--settings runs/tuned.yaml" in done.stdout) is taken
    assert "retort serve --bundle" in done.stdout


@pytest.mark.slow
def test_what_cannot_be_served_is_left_out_with_the_reason(tiny_bundle: Bundle) -> None:
    short = tuning(str(tiny_bundle.folder))
    good = Candidate(BackendInfo("onnxruntime", "cpu", "fp32"), streams=2, batch_tokens=512)
    with short.server(good) as server:
        backend = server.backend()
    assert (backend["streams"], backend["slots"], backend["batch_tokens"]) == (2, 2, 512)
    with pytest.raises(RuntimeError, match=r"nothing that was asked for runs here.*as fp32"):
        short.screen("any", [Candidate(INFO)])
    with pytest.raises(RuntimeError, match="there is no such backend"):
        short.screen("any", [])


@pytest.mark.slow
def test_a_brief_run_finds_settings_that_the_server_takes(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    lines: list[str] = []
    folder = str(tiny_bundle.folder)
    found = run_tune(options(folder, **ONNX), BRIEF, lines.append)
    servers, screening = found.measurement.tables
    assert screening.rows[0][1] == "backend and precision"
    assert {row[1] for row in screening.rows} == {"backend and precision"}
    assert len(servers.rows) == 2
    assert isinstance(servers.cell("the defaults", "requests/s met"), float)
    assert any(line.startswith("finalists: ") for line in lines)
    found.write(tmp_path / "tuned.yaml")
    settings = load_settings(tmp_path / "tuned.yaml")
    assert (settings.bundle, settings.backend) == ((folder,), "onnxruntime")


@pytest.mark.slow
def test_a_target_that_nothing_meets_is_refused(tiny_bundle: Bundle) -> None:
    short = tuning(str(tiny_bundle.folder), p99_ms=0.01, **ONNX)
    with pytest.raises(TargetMissed, match=r"within 0\.01 ms: .* allow more with --p99-ms"):
        short.finals([], guess=20.0)
