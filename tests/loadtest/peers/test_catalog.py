"""The catalogue: servers by name, started from where they lie, asked in their own words."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from retort.loadtest.cli import peers as command
from retort.loadtest.load import complete
from retort.loadtest.peers.catalog import (
    DOCUMENTS,
    PEERS,
    SERVERS,
    TENSORS,
    Forms,
    find_peers,
    make_environment,
    requirements_of,
)
from retort.loadtest.targets import Api
from retort.loadtest.traffic import Request

FORMS = Forms.inside(Path("/made"))
NAMES = sorted({peer.environment for peer in PEERS if peer.environment})
PYTHON = Path("/envs/infinity/bin/python")
REQUEST = Request("q", ("a", "b"))


def test_ours_is_always_among_them() -> None:
    assert [peer.name for peer in find_peers(("litserve",))] == ["retort", "litserve"]
    assert find_peers(()) == PEERS
    with pytest.raises(ValueError, match="no peer is called tei: there are retort, "):
        find_peers(("tei",))


def test_each_is_started_from_its_own_environment() -> None:
    for peer in PEERS:
        target = peer.target(FORMS, PYTHON)
        assert target.name == peer.name
        words = target.command
        if peer.name.startswith("infinity"):
            assert "/envs/infinity/bin/infinity_emb" in words
            folder = "segments" if peer.name == "infinity-segments" else "student"
            assert words[:3] == ("env", "-C", f"/made/{folder}")
        elif peer.environment:
            assert words[0] == str(PYTHON)
            assert Path(words[1]).parent == SERVERS
            assert Path(words[1]).is_file()
            assert words[2] == "/made/student"
        else:
            assert words[1:5] == ("-m", "retort", "serve", "--bundle")
            assert words[5] == "/made/golden"


def test_settings_are_for_ours_alone() -> None:
    tuned = Forms.inside(Path("/made"), Path("/tuned.yaml"))
    for peer in PEERS:
        ours = peer.name.startswith("retort")
        assert ("/tuned.yaml" in peer.target(tuned, PYTHON).command) is ours


def test_none_asks_a_hub_or_reports_its_use() -> None:
    for peer in PEERS:
        variables = peer.target(FORMS, PYTHON).environment
        assert (variables["HF_HUB_OFFLINE"], variables["DO_NOT_TRACK"]) == ("1", "1")


def test_the_help_names_them_all() -> None:
    words = (command.__doc__ or "").replace("\n", " ")
    assert all(f" {peer.name}" in words for peer in PEERS)


@pytest.mark.parametrize(
    ("api", "answer"),
    [
        (
            DOCUMENTS,
            {
                "results": [
                    {"index": 1, "relevance_score": 0.9},
                    {"index": 0, "relevance_score": 0.1},
                ]
            },
        ),
        (TENSORS, {"outputs": [{"name": "score", "data": [0.1, 0.9]}]}),
    ],
)
def test_scores_come_in_the_order_of_the_passages(api: Api, answer: object) -> None:
    assert api.scores(answer) == [0.1, 0.9]
    content = json.dumps(answer).encode()
    assert complete(content, 2, api.results_at)
    assert not complete(content, 3, api.results_at)
    assert not complete(b'{"error": "no"}', 2, api.results_at)


def test_each_is_asked_in_its_own_words() -> None:
    assert DOCUMENTS.body(REQUEST)["documents"] == ["a", "b"]
    inputs = TENSORS.body(REQUEST)["inputs"]
    assert [(one["name"], one["shape"], one["data"]) for one in inputs] == [
        ("query", [2, 1], ["q", "q"]),
        ("passage", [2, 1], ["a", "b"]),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_everything_that_is_installed_is_pinned(name: str) -> None:
    lines = requirements_of(name).read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines]
    assert all([s.operator for s in pin.specifier] == ["=="] for pin in pins)
    assert "torch==2.13.0" in lines


@pytest.mark.slow
def test_it_is_made_once_for_the_same_requirements(tmp_path: Path) -> None:
    listed = tmp_path / "own.txt"
    listed.write_text("# nothing\n")
    lines: list[str] = []
    python = make_environment(tmp_path / "own", listed, lines.append)
    where = subprocess.run(
        [str(python), "-c", "import sys; print(sys.prefix)"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert where == str(tmp_path / "own")
    assert make_environment(tmp_path / "own", listed, lines.append) == python
    assert len(lines) == 1
    listed.write_text("no such requirement ==\n")
    with pytest.raises(RuntimeError, match="ended with status 1"):
        make_environment(tmp_path / "own", listed, lines.append)
    assert len(lines) == 2
