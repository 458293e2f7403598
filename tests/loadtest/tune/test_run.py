"""The run: what it refuses, and once briefly the whole of it with real servers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from retort.loadtest.tune.outcome import TargetMissed
from retort.loadtest.tune.page import to_markdown, write_settings
from retort.loadtest.tune.plan import Plan
from retort.loadtest.tune.progress import Progress, silent
from retort.loadtest.tune.run import Options, run_tune
from retort.models.bundle import Bundle
from retort.models.errors import BundleNotFound
from retort.models.runtime.choose import Wish
from retort.service.settings import load_settings

BRIEF = Plan(
    rounds=1, turn_s=0.1, axes=1, leaders=1, finalists=1, probes=1, probe_s=0.5, warmup_s=0.2
)


def options(bundle: Bundle) -> Options:
    """The tiny bundle on one backend, with a target that any machine meets."""
    wish = Wish(backend="onnxruntime", provider="cpu")
    return Options(str(bundle.folder), 20_000.0, passages=2, wish=wish, plan=BRIEF)


def test_a_missing_bundle_is_named() -> None:
    with pytest.raises(BundleNotFound, match="no-such-bundle"):
        run_tune(Options("no-such-bundle"), silent())


def test_variables_that_would_win_are_refused(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETORT_STREAMS", "2")
    with pytest.raises(ValueError, match=r"RETORT_STREAMS would win .*: unset it"):
        run_tune(options(tiny_bundle), silent())


@pytest.mark.slow
def test_a_brief_run_finds_settings_that_the_server_takes(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    said: list[str] = []
    found = run_tune(options(tiny_bundle), Progress(said.append, said.append))
    assert [heat.axis for heat in found.heats] == ["backend and precision", "threads and streams"]
    assert found.settings["backend"] == "onnxruntime"
    (rung,) = found.rungs
    assert len(rung.places) == 2
    assert found.winner.met is not None
    assert found.winner.met.requests > 0
    assert any(line.startswith("to be tried as servers: ") for line in said)
    write_settings(found, tmp_path / "tuned.yaml")
    settings = load_settings(tmp_path / "tuned.yaml")
    assert settings.bundle == str(tiny_bundle.folder)
    assert settings.wish.backend == "onnxruntime"
    assert "| the defaults |" in to_markdown(found)


@pytest.mark.slow
def test_a_target_that_nothing_meets_is_refused(tiny_bundle: Bundle) -> None:
    with pytest.raises(TargetMissed, match=r"within 0\.01 ms: .* allow more with --p99-ms"):
        run_tune(replace(options(tiny_bundle), target_ms=0.01), silent())
