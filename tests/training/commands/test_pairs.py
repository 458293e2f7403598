"""What commands make of a user's own pairs: options, and what is said of labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.training.commands.pairs import layout_of, read_labelled
from retort.training.data.evaluation_set import EvaluationSet, read_sets, write_sets
from retort.training.data.pairs import Pair
from retort.training.data.readers.rows import DataError
from retort.training.teachers.systems import write_scores

COLUMNS = "--columns=query=Frage,passage=Antwort,label=Note"


def invoke(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    done = CliRunner().invoke(app, arguments)
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """60 queries with passages of grades 0 to 3, one of them graded twice."""
    rows = [f"q{q};p{q} {grade};{grade}" for q in range(60) for grade in range(4)]
    path = tmp_path / "notes.csv"
    path.write_text("\n".join(["Frage;Antwort;Note", *rows, "q0;p0 0;3"]) + "\n")
    return path


def test_graded_pairs_are_shown_divided_and_measured(notes: Path, tmp_path: Path) -> None:
    code, out, err = invoke("data", "show", str(notes), COLUMNS, "--json")
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["pairs"], facts["positive"], facts["contradictory"]) == (241, 121, 1)
    assert "grades from 0 to 3" in err
    mine = tmp_path / "mine"
    code, out, err = invoke("data", "divide", str(notes), str(mine), COLUMNS, "--relevant=3")
    assert code == 0, err
    assert "1 pairs have contradictory labels: settled by mean" in err
    (items,) = read_sets(mine / "measure")
    assert items.relevant == 1.0
    scores = tmp_path / "best.npz"
    write_scores(scores, {items.name: items.gains})
    figures = tmp_path / "figures.json"
    command = ["evaluate", str(mine / "measure"), f"--system=student={scores}", "--resamples=100"]
    code, page, err = invoke(*command, f"--out={figures}")
    assert code == 0, err
    (found,) = json.loads(figures.read_text())["sets"]
    assert found["systems"]["student"]["measures"]["nDCG@10"]["value"] == 1.0
    queries = len(set(items.query_ids))
    assert found["grades"] == {"largest": 3.0, "relevant": 3.0, "queries": queries}
    assert "run from 0 to 3, and a passage is relevant from 3 on" in page


def test_a_file_of_pairs_is_measured_as_one_set(notes: Path, tmp_path: Path) -> None:
    scores = tmp_path / "worst.npz"
    # By grade: the best passage comes last of four, the one of grade 2 third.
    write_scores(scores, {"notes": np.array([*([3.0, 2.0, 1.0, 0.0] * 60), 3.0])})
    command = ["evaluate", str(notes), COLUMNS, f"--system=student={scores}", "--resamples=100"]
    code, out, err = invoke(*command, "--contradictions=majority", "--json")
    assert code == 0, err
    (found,) = json.loads(out)["sets"]
    measures = found["systems"]["student"]["measures"]
    assert found["name"] == "notes"
    assert measures["RR"]["value"] == pytest.approx(1 / 3, abs=0.01)
    assert measures["nDCG@10"]["value"] == pytest.approx(0.6139, abs=0.01)
    code, out, err = invoke(*command, "--relevant=1", "--contradictions=majority", "--json")
    relevant = json.loads(out)["sets"][0]["systems"]["student"]["measures"]
    assert relevant["RR"]["value"] == pytest.approx(1 / 2, abs=0.01)
    assert relevant["nDCG@10"] == measures["nDCG@10"]
    code, _, err = invoke(*command, "--contradictions=refuse")
    assert code == 1
    assert "'q0' with 'p0 0': 0, 1" in err


def test_a_folder_says_its_contradictions_and_takes_no_columns(tmp_path: Path) -> None:
    pairs = (Pair("q", "a", 1.0), Pair("q", "a", 0.0), Pair("q", "b", 1.0))
    write_sets(tmp_path, [EvaluationSet("near", pairs)])
    write_scores(tmp_path / "any.npz", {"near": np.array([1.0, 2.0, 3.0])})
    command = ["evaluate", str(tmp_path), f"--system=student={tmp_path / 'any.npz'}"]
    code, _, err = invoke(*command, "--json", "--resamples=100")
    assert code == 0
    assert "near: 1 pairs have contradictory labels, each measured by itself" in err
    code, _, err = invoke(*command, COLUMNS)
    assert code == 1
    assert "--columns and --largest are for a file" in err


def test_what_export_and_calibrate_read(notes: Path, tmp_path: Path) -> None:
    layout = layout_of(["query=Frage,passage=Antwort", "label=Note"], 4.0)
    (pairs,) = read_labelled([notes], layout, "first")
    assert [pair.label for pair in pairs[:4]] == [0.0, 0.25, 0.5, 0.75]
    assert pairs[-1].label == 0.0
    (tmp_path / "bare.tsv").write_text("q\tp\t1\nq\tr\n")
    with pytest.raises(ValueError, match="bare: 1 of 2 pairs have no label"):
        read_labelled([tmp_path / "bare.tsv"], layout_of(None, None), "mean")
    with pytest.raises(DataError, match=r"none\.tsv: no such file"):
        read_labelled([tmp_path / "none.tsv"], layout_of(None, None), "mean")


@pytest.mark.parametrize("columns", ["Frage", "frage=query", "query="])
def test_columns_that_name_no_field_are_refused(columns: str) -> None:
    with pytest.raises(ValueError, match="write FIELD=NAME, with a FIELD of query, passage"):
        layout_of([columns], None)
