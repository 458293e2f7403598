from __future__ import annotations

import numpy as np
import pytest

from retort.models.bundle import Bundle
from retort.models.scores import log_odds
from tests.service.http.aliases.telling import QUERY, TEXTS, told

PASSAGES = [{"text": text} for text in TEXTS]


def test_passages_are_ranked_by_logit(fake_bundle: Bundle) -> None:
    body = {"model": "fake", "query": {"text": QUERY}, "passages": PASSAGES, "truncate": "END"}
    ranks = told(fake_bundle, "/v1/ranking", body)["rankings"]
    plain = told(fake_bundle, "/v2/rerank", {"query": QUERY, "documents": TEXTS})["results"]
    assert [rank["index"] for rank in ranks] == [row["index"] for row in plain]
    scores = np.array([row["relevance_score"] for row in plain])
    assert [rank["logit"] for rank in ranks] == pytest.approx(log_odds(scores).tolist())


def test_a_passage_is_cut_or_refused(fake_bundle: Bundle) -> None:
    long = [{"text": "old " * 5_000}]
    body = {"query": {"text": QUERY}, "passages": long}
    assert told(fake_bundle, "/v1/ranking", body | {"truncate": "START"})["warnings"]
    error = told(fake_bundle, "/v1/ranking", body | {"truncate": "NONE"}, status=422)["error"]
    assert error["param"] == "passages.0"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"query": "a"}, "query"),
        ({"query": {"text": " "}}, "query"),
        ({"passages": ["a"]}, "passages.0"),
        ({"passages": []}, "passages"),
        ({"truncate": "MIDDLE"}, "truncate"),
    ],
)
def test_what_is_wrong_is_named(fake_bundle: Bundle, change: dict[str, object], param: str) -> None:
    body = {"query": {"text": QUERY}, "passages": PASSAGES} | change
    assert told(fake_bundle, "/v1/ranking", body, status=422)["error"]["param"] == param
