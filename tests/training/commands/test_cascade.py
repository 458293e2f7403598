"""`retort cascade`, as one types it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.models.bundle import Bundle
from retort.training.data.evaluation_set import EvaluationSet, write_sets
from retort.training.data.pairs import Pair
from tests.tiny_texts import PASSAGES, QUERIES

runner = CliRunner()


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """A ranking and a set that is none."""
    pairs = tuple(
        Pair(query, passage, float(q == p % 4))
        for q, query in enumerate(QUERIES)
        for p, passage in enumerate((*PASSAGES, *(f"{text} old" for text in PASSAGES)))
    )
    write_sets(
        tmp_path / "sets",
        [
            EvaluationSet("far", pairs, headline="AP"),
            EvaluationSet("pairs", pairs, "classification"),
        ],
    )
    return tmp_path / "sets"


def test_the_curve_is_written_as_json_page_and_picture(tiny_bundle: Bundle, sets: Path) -> None:
    docs = sets.parent / "docs"
    bundle = str(tiny_bundle.folder)
    result = runner.invoke(
        app,
        [
            "cascade",
            bundle,
            bundle,
            str(sets),
            "--resamples=100",
            f"--out={docs / 'cascade.json'}",
            f"--report={docs / 'cascade.md'}",
            f"--keep={sets.parent / 'kept'}",
        ],
    )
    assert result.exit_code == 0, result.output
    figures = json.loads((docs / "cascade.json").read_text())
    assert [item["name"] for item in figures["sets"]] == ["far"]
    page = (docs / "cascade.md").read_text()
    assert "![Quality against the share sent to the teacher](cascade.svg)" in page
    assert "| far | MAP |" in page
    assert ElementTree.parse(docs / "cascade.svg").getroot() is not None
    assert list((sets.parent / "kept").glob("*.npz"))

    again = sets.parent / "again.md"
    source = f"--from={docs / 'cascade.json'}"
    result = runner.invoke(app, ["cascade", source, f"--report={again}"])
    assert result.exit_code == 0, result.output
    assert page.split("## In short")[1].replace("cascade.svg", "again.svg") in again.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cascade"], "give a student, a teacher and a folder of sets, or --from"),
        (["cascade", "nobody", "nobody", "nowhere"], "no bundle of that name"),
    ],
)
def test_mistakes_are_told_without_a_traceback(arguments: list[str], message: str) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_help_has_an_example() -> None:
    result = runner.invoke(app, ["cascade", "--help"])
    assert "Example:" in result.stdout
    assert "retort cascade" in result.stdout
