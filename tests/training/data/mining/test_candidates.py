"""Candidates are as many and as far as the recipe says; what is not found is said."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from retort.training.data.leaks import HeldOut
from retort.training.data.mining.candidates import mine_candidates, windows
from retort.training.data.mining.dense import Vectors
from retort.training.data.pairs import Pair
from retort.training.data.readers.rows import BadRows, DataError
from retort.training.recipes.corpus import QuestionPlan

# Passage n has the query's word n times: BM25 and the bi-encoder below both prefer a large n.
POOL = [Pair("", f"{'river ' * n}{'filler ' * (40 - n)}p{n}", None) for n in range(1, 40)]


class Rivers:
    """A bi-encoder that counts rivers."""

    def query_vectors(self, texts: Sequence[str]) -> Vectors:
        return np.asarray([[1.0, 0.0]] * len(texts), dtype=np.float32)

    def passage_vectors(self, texts: Sequence[str]) -> Vectors:
        angles = np.radians([90 - 2 * text.count("river") for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def mined(
    asked: Path, plan: dict[str, object], pool: list[Pair] = POOL, seed: int = 1
) -> tuple[list[Pair], list[str]]:
    said: list[str] = []
    whole = QuestionPlan.model_validate(
        {"lists": [str(asked)], "passages": ["pool"], "near": 0, "deep": 0, **plan}
    )
    held, bad = HeldOut([]), BadRows()
    found = mine_candidates(
        whole, lambda source: pool, None, held, seed, bad, said.append, Rivers()
    )
    return found, said


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    path = tmp_path / "asked.txt"
    path.write_text("which river\nthat river\n")
    return path


def numbers(pairs: list[Pair]) -> list[int]:
    """The n of each candidate of the first question."""
    return [int(p.passage.rpartition("p")[2]) for p in pairs if p.query_id == "stage1-0"]


def test_candidates_are_the_nearest_by_words_and_some_of_every_rank(asked: Path) -> None:
    found, _ = mined(asked, {"near": 2, "deep": 4, "depth": 22})
    chosen = numbers(found)
    assert chosen[:2] == [39, 38]
    assert [(37 - n) // 5 for n in chosen[2:]] == [0, 1, 2, 3]  # one of each five ranks
    assert len(found) == 12


def test_candidates_by_vectors_are_others_than_those_by_words(asked: Path) -> None:
    found, _ = mined(asked, {"near": 2, "dense": 2, "quantiles": 3, "dense_depth": 39})
    chosen = numbers(found)
    assert chosen[:4] == [39, 38, 37, 36]
    # Cosines are sines of 2n degrees, from 0.978 to 0.035: middles at 55, 30 and 11 degrees.
    assert chosen[4:] == [28, 15, 6]


def test_a_wide_list_is_of_distinct_passages_and_follows_from_the_seed(asked: Path) -> None:
    plan: dict[str, object] = {"near": 4, "deep": 4, "dense": 2, "quantiles": 4, "random": 2}
    found, said = mined(asked, plan)
    for query in ("stage1-0", "stage1-1"):
        own = [pair.passage for pair in found if pair.query_id == query]
        assert len(set(own)) == len(own) == 16
    assert said == ["stage 1: 2 questions over 39 passages"]
    assert found == mined(asked, plan)[0]
    assert found != mined(asked, plan, seed=2)[0]


def test_a_pool_smaller_than_the_list_is_given_whole_and_said(asked: Path) -> None:
    found, said = mined(asked, {"near": 4, "random": 9}, POOL[:5])
    assert sorted(numbers(found)) == [1, 2, 3, 4, 5]
    assert said[-1] == "stage 1: 2 of 2 questions got fewer than 13 candidates"


def test_questions_that_find_nothing_are_counted_and_nothing_at_all_is_refused(
    asked: Path,
) -> None:
    asked.write_text("which river\n河在哪里\n")
    found, said = mined(asked, {"near": 2})
    assert {pair.query for pair in found} == {"which river"}
    assert "stage 1: 1 of 2 questions share no word with any passage" in said[1]
    asked.write_text("河在哪里\n")
    with pytest.raises(DataError, match="none of 1 questions, for instance '河在哪里'"):
        mined(asked, {"near": 2})


def test_questions_of_scripts_without_spaces_find_their_passages(asked: Path) -> None:
    texts = {
        "长城在哪里": "长城位于中国北方。",
        "ช้างกินอะไร": "อาหารของช้างคือหญ้า",
        "أين تقع القاهرة": "القاهرة هي عاصمة مصر",
        "what does an iPhone cost": "一部iphone要多少钱",
    }
    asked.write_text("".join(f"{text}\n" for text in texts))
    found, _ = mined(asked, {"near": 1}, [Pair("", text) for text in texts.values()])
    assert {pair.query: pair.passage for pair in found} == texts


def test_no_questions_and_no_passages_are_refused(asked: Path) -> None:
    with pytest.raises(DataError, match="no passages are left, of 0 read"):
        mined(asked, {"near": 1}, [])
    asked.write_text("?!\n")
    with pytest.raises(DataError, match="no questions are left, of 0 read"):
        mined(asked, {"near": 1})


def test_windows_are_whole_sentences() -> None:
    text = "One two three. Four five. Six seven eight nine."
    assert windows(text, 5, 2) == ["One two three. Four five.", "Six seven eight nine."]
    assert windows(text, 5, 1) == ["One two three. Four five."]
    assert windows("我爱北京。天安门很大！是的。", 4, 3) == ["我爱北京。天安门很大！", "是的。"]
    assert windows(" ", 5, 1) == []
