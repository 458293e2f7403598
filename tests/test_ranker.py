"""`retort.load`: a bundle in Python, without a server."""

from __future__ import annotations

import doctest
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import retort
from retort import ranker as module
from retort.models.bundle import Bundle, find_bundle, read_bundle
from retort.models.errors import BundleNotFound, StartError
from retort.models.runtime.base import BackendInfo
from retort.models.runtime.choose import choice_file, remember
from retort.models.runtime.options import RuntimeOptions, default_cache
from tests.tiny_texts import PASSAGES, QUERIES


@pytest.fixture(scope="module")
def ranker(tiny_bundle: Bundle) -> retort.Ranker:
    return retort.load(tiny_bundle.folder, backend="onnxruntime", precision="fp32", threads=1)


def test_scores_are_those_of_the_original(ranker: retort.Ranker, tiny_bundle: Bundle) -> None:
    golden = tiny_bundle.golden
    scores = ranker.score([(pair.query, pair.passage) for pair in golden])
    assert scores.dtype == np.float64
    assert scores == pytest.approx([pair.score for pair in golden], abs=1e-3)
    assert ranker.score([]).shape == (0,)
    assert str(ranker.info) == "onnxruntime/cpu/fp32"


def test_passages_are_ranked_best_first(ranker: retort.Ranker) -> None:
    ranked = ranker.rank(QUERIES[0], PASSAGES)
    assert sorted(result.index for result in ranked) == [0, 1, 2, 3]
    by_pair = ranker.score([(QUERIES[0], passage) for passage in PASSAGES])
    assert [result.score for result in ranked] == pytest.approx(sorted(by_pair, reverse=True))
    for result in ranked:
        assert result.score == pytest.approx(by_pair[result.index])
        assert 0 <= result.spread < 0.5
    assert ranker.rank(QUERIES[0], PASSAGES, top_n=2) == ranked[:2]
    assert ranker.rank(QUERIES[0], []) == []


def test_ids_are_echoed_and_ties_go_by_index(ranker: retort.Ranker) -> None:
    same = PASSAGES[0]
    ranked = ranker.rank(QUERIES[0], [{"id": "b", "text": same}, same, {"text": same}])
    assert [(result.index, result.id) for result in ranked] == [(0, "b"), (1, None), (2, None)]
    assert len({result.score for result in ranked}) == 1


def test_threads_share_it(ranker: retort.Ranker) -> None:
    alone = [ranker.rank(query, PASSAGES) for query in QUERIES]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            together = pool.map(lambda query: ranker.rank(query, PASSAGES), QUERIES)
            assert list(together) == alone


def test_what_is_wrong_is_named(ranker: retort.Ranker, tiny_bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="no letter and no digit"):
        ranker.rank(" ", PASSAGES)
    with pytest.raises(ValueError, match="no letter and no digit"):
        ranker.score([("", "paris")])
    with pytest.raises(ValueError, match="passage 1: expected a string"):
        ranker.rank("q", ["paris", {"id": "b7"}])
    with pytest.raises(ValueError, match="top_n is 0"):
        ranker.rank("q", PASSAGES, top_n=0)
    with pytest.raises(BundleNotFound):
        retort.load("no-such-bundle")
    with pytest.raises(StartError, match="no backend can run as asked"):
        retort.load(tiny_bundle.folder, backend="openvino", provider="cuda")
    with pytest.raises(AttributeError, match="no attribute 'rank'"):
        _ = retort.rank


@pytest.mark.slow
def test_the_examples_print_what_they_say() -> None:
    # As if it had been measured before: that takes half a minute here, once.
    bundle = read_bundle(find_bundle("retort-small"))
    choice = choice_file(default_cache(), bundle.digest, RuntimeOptions())
    remember(choice, BackendInfo("openvino", "cpu", "int8"), {})
    for place in (retort, module):
        found = doctest.testmod(place, optionflags=doctest.ELLIPSIS)
        assert (found.attempted, found.failed) == (4 if place is retort else 7, 0)
