"""Amazon's reviews: read once each, and cut so that no copy stands in two parts."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from retort.training.data.catalog import read_pairs
from retort.training.data.corpus import build_corpus
from retort.training.data.leaks import LeakError
from retort.training.data.pairs import REVIEW_QUERY, Pair, normalise
from retort.training.data.readers.reviews import AMAZON_DOMAINS
from retort.training.data.readers.rows import BadRows, DataError
from retort.training.data.task_sets import TASKS, task_sets
from retort.training.recipes.recipe import CorpusRecipe, LabelledSource

PARTS = ("train", "dev", "test")
ENDING = "and it has been nothing but a joy to me ever since then"


def write_reviews(root: Path) -> None:
    for domain in AMAZON_DOMAINS:
        folder = root / "amazon_multidomain" / domain
        folder.mkdir(parents=True)
        for name in ("positive", "negative"):
            lines = [f"Review {n}. A {name} word on {domain} number {n}." for n in range(150)]
            # A copy in another spelling, one with another title, and one in every domain.
            lines += [lines[0].upper(), f"Title {name}. {ENDING}", f"Other {name}! {ENDING}."]
            (folder / f"review_{name}").write_text("\n".join(lines) + "\n")


def parts_of(root: Path, domain: str) -> dict[str, list[Pair]]:
    return {part: read_pairs(root, f"amazon/{domain}-{part}") for part in PARTS}


def test_every_review_stands_in_one_part_once(tmp_path: Path) -> None:
    write_reviews(tmp_path)
    parts = parts_of(tmp_path, "dvd")
    texts = {part: [normalise(pair.passage) for pair in pairs] for part, pairs in parts.items()}
    assert sum(map(len, texts.values())) == 304
    assert len({text for part in texts.values() for text in part}) == 304
    assert 0.7 < len(texts["train"]) / 304 < 0.9
    assert min(len(texts["dev"]), len(texts["test"])) > 15
    pairs = [pair for part in parts.values() for pair in part]
    assert {pair.query for pair in pairs} == {REVIEW_QUERY}
    assert len({pair.query_id for pair in pairs}) == 304
    assert sum(pair.label or 0.0 for pair in pairs) == 152
    assert all(("positive" in pair.passage.lower()) == bool(pair.label) for pair in pairs)


def test_copies_under_other_titles_and_in_other_domains_meet_in_one_part(tmp_path: Path) -> None:
    write_reviews(tmp_path)
    found = {
        part
        for domain in AMAZON_DOMAINS
        for part, pairs in parts_of(tmp_path, domain).items()
        for pair in pairs
        if ENDING in pair.passage
    }
    assert len(found) == 1
    everything = {
        part: {
            normalise(pair.passage)
            for domain in AMAZON_DOMAINS
            for pair in read_pairs(tmp_path, f"amazon/{domain}-{part}")
        }
        for part in PARTS
    }
    for one, other in combinations(PARTS, 2):
        assert everything[one].isdisjoint(everything[other])


def test_a_line_without_words_is_a_bad_row(tmp_path: Path) -> None:
    write_reviews(tmp_path)
    path = tmp_path / "amazon_multidomain/books/review_negative"
    path.write_text("fine words here\n...!\n")
    with pytest.raises(DataError, match=r"review_negative, line 2: expected a review in words"):
        read_pairs(tmp_path, "amazon/books-train")
    with pytest.raises(DataError, match="amazon has no split 'music-train'"):
        read_pairs(tmp_path, "amazon/music-train")


def test_a_corpus_keeps_its_reviews_though_all_are_asked_one_query(tmp_path: Path) -> None:
    write_reviews(tmp_path)
    plan = [LabelledSource(source=f"amazon/{name}-train", queries=50) for name in AMAZON_DOMAINS]
    held = [f"amazon/{name}-{part}" for name in AMAZON_DOMAINS for part in ("dev", "test")]
    recipe = CorpusRecipe(kind="corpus", out=tmp_path / "t.parquet", labelled=plan, held_out=held)
    table = build_corpus(recipe, tmp_path, BadRows(), lambda text: None)
    assert set(table.sources) == {f"amazon/{name}-train" for name in AMAZON_DOMAINS}
    # Four reviews of this test stand in every domain; the table has a pair once.
    counts = [table.sources.count(f"amazon/{name}-train") for name in AMAZON_DOMAINS]
    assert counts[0] == 50
    assert min(counts) >= 46
    wrong = LabelledSource(source="amazon/dvd-test")
    with pytest.raises(LeakError, match="amazon/dvd-test is a test split"):
        build_corpus(
            recipe.model_copy(update={"labelled": [wrong], "held_out": []}), tmp_path, BadRows()
        )


def test_a_domain_is_a_task_with_sets_of_its_own(tmp_path: Path) -> None:
    write_reviews(tmp_path)
    task = next(task for task in TASKS if task.name == "amazon-books")
    measure, choose = task_sets(tmp_path, task)
    assert (measure.name, choose.name) == ("amazon-books-test", "amazon-books-dev")
    assert {pair.passage for pair in measure.pairs}.isdisjoint(p.passage for p in choose.pairs)
