"""`retort evaluate`, `cascade` and `export`, as one types them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from retort.cli import app
from retort.models.bundle import read_bundle
from retort.models.encoding import Truncation
from retort.training.data.evaluation_set import EvaluationSet, write_sets
from retort.training.data.pairs import Pair
from retort.training.nn.student import Head, Student, save_student, take_layers
from retort.training.teachers.systems import write_scores

runner = CliRunner()


@pytest.fixture
def work(
    tiny_student: Student,
    tokenizer_path: Path,
    truncation: Truncation,
    labelled_pairs: tuple[Pair, ...],
    tmp_path: Path,
) -> Path:
    """A folder with a checkpoint, evaluation sets, held-out pairs and a teacher's scores."""
    save_student(tmp_path / "student", tiny_student, tokenizer_path, truncation, {})
    items = EvaluationSet("far", labelled_pairs, headline="AP")
    write_sets(tmp_path / "sets", [items])
    with (tmp_path / "held_out.jsonl").open("w") as file:
        file.writelines(json.dumps(asdict(pair)) + "\n" for pair in labelled_pairs)
    noise = np.random.default_rng(0).normal(size=len(labelled_pairs))
    write_scores(tmp_path / "teachers.npz", {"far": items.labels + 0.1 * noise})
    write_scores(tmp_path / "plain.npz", {"far": -items.labels + 0.1 * noise})
    return tmp_path


def evaluate(work: Path, *arguments: str) -> list[str]:
    """The command line of an evaluation of all that `work` holds."""
    return [
        "evaluate",
        str(work / "sets"),
        f"--system=student={work / 'student'}",
        f"--system=teachers={work / 'teachers.npz'}",
        f"--system=plain={work / 'plain.npz'}",
        "--teacher=teachers",
        "--undistilled=plain",
        "--resamples=100",
        *arguments,
    ]


def test_figures_are_written_where_the_page_cannot_be(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    figures = work / "quality.json"
    result = runner.invoke(app, evaluate(work, f"--out={figures}"))
    assert result.exit_code == 1
    assert "needs jinja2" in result.stderr
    assert json.loads(figures.read_text())["sets"]
    result = runner.invoke(app, ["evaluate", f"--from={figures}", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["sets"]


def test_evaluate_writes_figures_and_page(work: Path) -> None:
    figures, page = work / "docs" / "quality.json", work / "docs" / "quality.md"
    result = runner.invoke(app, evaluate(work, f"--out={figures}", f"--report={page}"))
    assert result.exit_code == 0, result.output
    written = json.loads(figures.read_text())["sets"][0]
    assert written["systems"]["teachers"]["measures"]["AP"]["value"] == 1.0
    assert written["comparisons"]["AP"]["gap_closed"]["value"] > 0
    assert "# Quality" in page.read_text()

    again = work / "again.md"
    result = runner.invoke(app, ["evaluate", f"--from={figures}", f"--report={again}"])
    assert result.exit_code == 0, result.output
    ours, theirs = (path.read_text().splitlines() for path in (page, again))
    assert ours[6:] == theirs[6:]


def test_a_student_that_learned_what_is_measured_is_told(
    work: Path, tiny_student: Student, tokenizer_path: Path, truncation: Truncation
) -> None:
    meta = {"recipe": {}, "stages": [{"plan": {"table": str(work / "held_out.jsonl")}}]}
    save_student(work / "student", tiny_student, tokenizer_path, truncation, meta)
    result = runner.invoke(app, evaluate(work, "--json"))
    assert result.exit_code == 0, result.output
    assert "warning: student learned from" in result.stderr
    assert "30 of the 30 queries of far" in result.stderr
    assert json.loads(result.stdout)


def test_evaluate_prints_json_and_keeps_scores(work: Path) -> None:
    result = runner.invoke(app, evaluate(work, "--json", f"--keep={work / 'kept'}"))
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["roles"]["teacher"] == "teachers"
    assert np.load(work / "kept" / "student.npz")["far"].shape == (180,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate"], "nothing to measure: give a folder of sets"),
        (["evaluate", "nowhere", "--system=a=b"], "sets.json: not there"),
        (["evaluate", "nowhere", "--system=a"], "--system 'a': write NAME=VALUE"),
        (["export", "nowhere", "out", "--held-out=pairs.jsonl"], "pairs.jsonl: no such file"),
    ],
)
def test_mistakes_are_told_without_a_traceback(arguments: list[str], message: str) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output


def export(work: Path, *arguments: str) -> list[str]:
    """The command line of an export of the checkpoint in `work`."""
    held_out = f"--held-out={work / 'held_out.jsonl'}"
    return ["export", str(work / "student"), str(work / "retort-tiny"), held_out, *arguments]


def test_export_writes_a_bundle(work: Path) -> None:
    figures = work / "quality.json"
    assert runner.invoke(app, evaluate(work, f"--out={figures}")).exit_code == 0
    result = runner.invoke(
        app,
        export(
            work,
            "--storage=fp16",
            "--version=0.3.0",
            "--method=TMKD",
            "--data=SQuAD=CC BY-SA 4.0",
            f"--quality={figures}",
            "--json",
        ),
    )
    assert result.exit_code == 0, result.output
    manifest = read_bundle(work / "retort-tiny").manifest
    assert json.loads(result.stdout) == json.loads(manifest.to_json())
    assert (manifest.name, manifest.version) == ("retort-tiny", "0.3.0")
    assert manifest.data[0].licence == "CC BY-SA 4.0"
    assert "far AP" in manifest.quality
    assert manifest.parity is not None
    measured = json.loads(figures.read_text())["agreement"]["teachers"]
    assert manifest.agreement is not None
    assert manifest.agreement.teacher == "teachers"
    assert manifest.agreement.top1 == measured["top1"]
    assert manifest.agreement.queries == 30


def test_export_names_the_agreement_with_the_teacher_that_is_asked_for(work: Path) -> None:
    figures = work / "quality.json"
    assert runner.invoke(app, evaluate(work, f"--out={figures}")).exit_code == 0
    given = ["--storage=fp16", f"--quality={figures}"]
    result = runner.invoke(app, export(work, *given, "--agreement-with=plain"))
    assert result.exit_code == 0, result.output
    agreement = read_bundle(work / "retort-tiny").manifest.agreement
    assert agreement is not None
    assert agreement.teacher == "plain"
    result = runner.invoke(app, export(work, *given, "--agreement-with=nobody"))
    assert result.exit_code == 1
    assert "no agreement with nobody: there is one with teachers, plain" in result.stderr


@pytest.fixture
def members(work: Path, tiny_student: Student, tokenizer_path: Path) -> list[str]:
    """A cross-encoder and a bi-encoder, as the command line names them."""
    teacher = take_layers(tiny_student.encoder, [0, 1], [Head("golden")])
    with torch.no_grad():
        teacher.get_parameter("head_bank.0.linear.weight").normal_(0.0, 0.5)
    save_student(work / "ce", teacher, tokenizer_path, Truncation(40, 10), {})
    return [str(work / "ce"), f"texts=bi-encoder:{work / 'student'}"]


def test_several_teachers_become_one_bundle(work: Path, members: list[str]) -> None:
    pairs = work / "held_out.jsonl"
    bundle = str(work / "teachers")
    given = ["--storage=fp16", f"--held-out={pairs}", "--depth=5"]
    command = ["export", *members, bundle, *given, f"--calibrate={pairs}", f"--calibrate={pairs}"]
    result = runner.invoke(app, command)
    assert result.exit_code == 0, result.output
    made = read_bundle(work / "teachers").manifest
    assert [head.name for head in made.heads] == ["ce", "texts"]
    assert (made.architecture.encoders, made.architecture.layers) == (2, 4)
    assert not made.architecture.trimmed  # the bi-encoder reads all tokens
    assert (made.truncation.max_length, made.truncation.max_query_tokens) == (48, 12)
    assert made.parity is not None
    assert (made.parity.pairs, made.parity.queries) == (150, 30)  # five passages of each query
    assert made.agreement is None

    result = runner.invoke(app, ["export", *members, bundle, *given])
    assert result.exit_code == 1
    assert "texts gives cosines, which are no logits" in result.stderr


def test_one_teacher_under_a_name_and_a_length_of_its_own(work: Path, members: list[str]) -> None:
    pairs = f"--held-out={work / 'held_out.jsonl'}"
    lengths = ["--max-length=24", "--max-query-tokens=6"]
    bundle = str(work / "teacher")
    result = runner.invoke(
        app, ["export", f"big={members[0]}", bundle, pairs, "--storage=fp16", *lengths]
    )
    assert result.exit_code == 0, result.output
    made = read_bundle(work / "teacher").manifest
    assert [head.name for head in made.heads] == ["big"]
    assert made.architecture.trimmed
    assert (made.truncation.max_length, made.truncation.max_query_tokens) == (24, 6)
    result = runner.invoke(app, export(work, *lengths))
    assert result.exit_code == 1
    assert "--max-length and --max-query-tokens are for teachers" in result.stderr


def test_the_golden_head_alone_becomes_a_bundle(work: Path, members: list[str]) -> None:
    result = runner.invoke(app, export(work, "--storage=fp16", "--heads=golden"))
    assert result.exit_code == 0, result.output
    made = read_bundle(work / "retort-tiny")
    assert [head.name for head in made.manifest.heads] == ["golden"]
    assert made.manifest.architecture.trimmed
    assert len(made.golden[0].logits) == 1

    # All heads: one is a cosine of all tokens.
    result = runner.invoke(app, export(work, "--storage=fp16"))
    assert result.exit_code == 0, result.output
    whole = read_bundle(work / "retort-tiny").manifest
    assert len(whole.heads) == 3
    assert not whole.architecture.trimmed

    pairs = f"--held-out={work / 'held_out.jsonl'}"
    refused = ["export", *members, str(work / "teachers"), pairs, "--heads=golden"]
    result = runner.invoke(app, refused)
    assert result.exit_code == 1
    assert "--heads golden is for a student" in result.stderr
    result = runner.invoke(app, export(work, "--heads=soft"))
    assert result.exit_code == 2


def test_an_export_says_what_calibrating_does(work: Path) -> None:
    pairs = f"--calibrate={work / 'held_out.jsonl'}"
    result = runner.invoke(app, export(work, "--storage=fp16", pairs))
    assert result.exit_code == 0, result.output
    assert "calibration error on the held-out pairs" in result.stderr
    assert "no answerability in this bundle" in result.stderr
    made = read_bundle(work / "retort-tiny").manifest
    assert made.calibration is not None
    assert made.answerability is None

    result = runner.invoke(app, export(work, "--storage=fp16", pairs, "--calibrate-heads"))
    assert result.exit_code == 1
    assert "30 right ones and 30 questions" in result.stderr
    # The bundle that was there is still there.
    assert read_bundle(work / "retort-tiny").manifest == made


def test_export_tells_what_it_made(work: Path) -> None:
    result = runner.invoke(app, export(work, "--storage=fp16"))
    assert result.exit_code == 0, result.output
    assert "retort-tiny 0.1.0" in result.stdout
    assert "parity on 180 pairs of 30 queries" in result.stdout


def test_an_unknown_storage_is_refused(work: Path) -> None:
    result = runner.invoke(app, export(work, "--storage=int4"))
    assert result.exit_code == 2
    assert all(name in result.stderr for name in ("int4", "int8", "fp16", "fp32"))


@pytest.mark.parametrize("command", ["evaluate", "export"])
def test_help_has_an_example(command: str) -> None:
    result = runner.invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Example:" in result.stdout
    assert f"retort {command}" in result.stdout


def test_help_loads_no_torch() -> None:
    code = (
        "import sys; from retort.training.commands import evaluate, export, study;"
        "heavy = {'torch', 'transformers', 'onnx', 'onnxruntime', 'sklearn', 'scipy', 'numpy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert result.stdout.strip() == "[]"
