"""A file of pairs becomes a bundle and a report, by one command and whatever interrupts it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.models.bundle import read_bundle
from retort.training.fit import run
from retort.training.fit.report import FitReport
from retort.training.recipes.load import load_recipe
from tests.architectures import save_encoder
from tests.training.backbones import save_backbone
from tests.training.fit.made import make_pairs, save_pairs
from tests.training.saved_teachers import save_checkpoint

RUNNER = CliRunner()
TINY = Path(__file__).parents[2] / "tiny-bundle"


def invoke(*words: str) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, ["fit", *words])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.slow
def test_pairs_and_a_teacher_become_a_bundle_and_a_report_through_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_pairs(tmp_path / "pairs.jsonl", make_pairs(150))
    save_checkpoint(tmp_path / "ce", save_backbone(tmp_path / "backbone"))
    words = ["pairs.jsonl", "--teacher", "ce", "--out", "models/mine", "--init", str(TINY)]

    def killed(*given: object, **named: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(run, "build_bundle", killed)
        code, _, err = invoke(*words)
    assert code == 1
    assert "the disk is full" in err
    assert "Traceback" not in err

    code, out, err = invoke(*words, "--json")
    assert code == 0, err
    assert "[5/8] distilled: done before" in err
    assert "[7/8] export: writing" in err
    report = FitReport.model_validate_json(out)
    assert set(report.seconds) == {
        "divide", "try", "tables", "label", "distilled", "labels alone", "export", "measure",
    }  # fmt: skip

    bundle = read_bundle(tmp_path / "models" / "mine")
    assert bundle.manifest.calibration is not None
    assert bundle.manifest.truncation == read_bundle(TINY).manifest.truncation
    rows = {row.name: row for row in report.rows}
    assert set(rows) == {"mine", str(TINY), "distilled", "labels alone", "ce"}
    # What was chosen is what is served: the bundle ranks as that student does.
    chosen = rows[report.choice.student].measures["nDCG@10"].value
    assert rows["mine"].measures["nDCG@10"].value == pytest.approx(chosen, abs=0.02)
    assert report.choice.figures[report.choice.student] == max(report.choice.figures.values())
    ours, theirs = (rows[name].measures["nDCG@10"].value for name in ("mine", str(TINY)))
    assert report.verdict is not None
    assert report.verdict.difference.value == pytest.approx(ours - theirs)
    assert rows["ce"].kept is not None
    work = tmp_path / "runs" / "fit" / "mine"
    assert json.loads((work / "report.json").read_text()) == json.loads(out)
    assert report.verdict.text in (work / "report.md").read_text()
    for name in ("pairs", "candidates", "distilled", "labels-alone"):
        load_recipe(work / f"{name}.yaml", [])

    code, out, err = invoke(*words)
    assert code == 0, err
    assert err.count("done before") == 8
    assert report.verdict.text in out
    code, _, err = invoke(*words, "--seed", "2")
    assert code == 1
    assert "seed is 2, and was 1" in err


def test_after_a_mistake_in_an_argument_the_command_is_given_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.tsv").write_text("query\tpassage\tlabel\n")
    save_pairs(tmp_path / "few.jsonl", make_pairs(10))
    save_encoder(tmp_path / "headless", "bert")
    save_pairs(tmp_path / "pairs.jsonl", make_pairs(90))
    tries = {
        "pears.jsonl": "no such file",
        "empty.tsv": "there is no pair in it",
        "few.jsonl": "too little is left",
    }
    for source, problem in tries.items():
        code, _, err = invoke(source, "--out", "mine")
        assert (code, problem in err) == (1, True), err
    headless = ("--teacher", "hub-cross-encoder:headless")
    for seed in ("1", "2"):  # it fails at its teacher twice, and not at what was asked before
        code, _, err = invoke("pairs.jsonl", "--out", "mine", *headless, "--seed", seed)
        assert (code, "no cross-encoder" in err) == (1, True), err


def test_a_teacher_that_is_not_there_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_pairs(tmp_path / "pairs.jsonl", make_pairs(30))
    code, _, err = invoke("pairs.jsonl", "--teacher", "models/my-cross-encoder", "--out", "mine")
    assert code == 1
    assert "models/my-cross-encoder: no such folder" in err
    assert not (tmp_path / "runs").exists()
