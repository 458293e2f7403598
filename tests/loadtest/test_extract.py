"""The extract that ships, and requests made of a file like it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retort.loadtest.extract import EXTRACT, bodies, read_ranking_requests
from retort.loadtest.texts import Request


def test_the_extract_is_small_and_says_whose_it_is() -> None:
    licence = EXTRACT.with_suffix(".LICENSE").read_text(encoding="utf-8")
    assert "NeuronBlocks" in licence
    assert "MIT License" in licence
    assert "Permission is hereby granted" in licence
    assert EXTRACT.stat().st_size + len(licence) < 150_000
    assert len(EXTRACT.read_text(encoding="utf-8").splitlines()) >= 100


@pytest.mark.parametrize("passages", [1, 10, 100])
def test_each_query_gets_as_many_passages_its_own_first(passages: int) -> None:
    lines = EXTRACT.read_text(encoding="utf-8").splitlines()
    own = [line.split("\t")[:2] for line in lines]
    requests = read_ranking_requests(passages=passages)
    assert [[request.query, request.passages[0]] for request in requests] == own
    for request in requests:
        assert len(set(request.passages)) == passages


def test_others_are_those_with_the_same_words(tmp_path: Path) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_text(
        "who wrote hamlet\ta play by him\nwhere is paris\tin France\nwhere is rome\tRome is here\n",
        encoding="utf-8",
    )
    assert read_ranking_requests(file, passages=2) == [
        Request("who wrote hamlet", ("a play by him", "in France")),
        Request("where is paris", ("in France", "Rome is here")),
        Request("where is rome", ("Rome is here", "a play by him")),
    ]


def test_more_passages_than_there_are_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_text("a\tone\nb\ttwo\n", encoding="utf-8")
    with pytest.raises(ValueError, match="holds 2 passages, a request was to have 3"):
        read_ranking_requests(file, passages=3)


def test_bodies_are_what_score_takes() -> None:
    (body,) = bodies([Request("q", ("é", "b"))], mode="cascade")
    assert json.loads(body) == {"query": "q", "passages": ["é", "b"], "mode": "cascade"}
