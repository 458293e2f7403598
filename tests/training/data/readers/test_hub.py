"""Sets of the hub, read from local copies of their rows: the real loader, no network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retort.training.data.readers.hub import HUB_SETS, read_hub
from retort.training.data.readers.rows import DataError

ROWS = {
    "wikiqa/test": (
        [{"question_id": "Q1", "question": "who", "answer": "she", "label": 1}],
        [("who", "she", 1.0)],
    ),
    "squad-v2/validation": (
        [
            {"id": "1", "question": "q", "context": "c", "answers": {"text": ["c"]}},
            {"id": "2", "question": "r", "context": "c", "answers": {"text": []}},
        ],
        [("q", "c", 1.0), ("r", "c", 0.0)],
    ),
    "msmarco/train": (
        [
            {
                "query_id": 7,
                "query": "q",
                "passages": {"passage_text": ["a", "b"], "is_selected": [0, 1]},
            }
        ],
        [("q", "a", 0.0), ("q", "b", 1.0)],
    ),
    "qnli/validation": (
        [
            {"idx": 0, "question": "q", "sentence": "s", "label": 0},
            {"idx": 1, "question": "q", "sentence": "t", "label": -1},
        ],
        [("q", "s", 1.0), ("q", "t", None)],
    ),
    "rte/validation": (
        [{"idx": 0, "sentence1": "long premise", "sentence2": "claim", "label": 0}],
        [("claim", "long premise", 1.0)],
    ),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("source", ROWS)
def test_rows_become_pairs(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    rows, wanted = ROWS[source]
    folder = tmp_path / "set"
    folder.mkdir()
    split = source.split("/")[1]
    text = "".join(json.dumps(row) + "\n" for row in rows)  # type: ignore[attr-defined]
    (folder / f"{split}.jsonl").write_text(text)
    pairs = read_hub(source, path=str(folder))
    assert [(pair.query, pair.passage, pair.label) for pair in pairs] == wanted


def test_an_unknown_set_says_what_there_is() -> None:
    with pytest.raises(DataError, match=r"hub:nope/x: write hub:NAME/SPLIT with a name of msmarco"):
        read_hub("nope/x")


def test_every_set_of_the_hub_is_in_the_docs() -> None:
    page = (Path(__file__).parents[4] / "docs" / "recipes.md").read_text()
    for name, item in HUB_SETS.items():
        assert f"`{name}`" in page
        assert item.path in page
