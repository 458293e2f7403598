from __future__ import annotations

from typing import Any

import pytest

from retort.models.bundle import Bundle
from retort.service.settings import Settings
from tests.service.http.aliases.telling import QUERY, TEXTS, told

NAMES = [("text_1", "text_2"), ("data_1", "data_2"), ("queries", "documents"), ("queries", "items")]
FORMS = [
    {"text_1": QUERY, "text_2": TEXTS},
    {"data_1": QUERY, "data_2": TEXTS},
    {"queries": QUERY, "documents": TEXTS},
    {"queries": QUERY, "items": TEXTS},
    {"text_1": [QUERY], "text_2": TEXTS},
    {"text_1": [QUERY] * 3, "text_2": TEXTS, "documents": None},
]


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize("sides", FORMS)
def test_scores_come_in_the_order_of_the_documents(
    fake_bundle: Bundle, path: str, sides: dict[str, Any]
) -> None:
    reply = told(fake_bundle, path, {"encoding_format": "float", "priority": 0, **sides})
    assert reply["object"] == "list"
    assert [row["index"] for row in reply["data"]] == [0, 1, 2]
    assert max(reply["data"], key=lambda row: row["score"])["index"] == 1
    assert "warnings" not in reply
    raw = told(fake_bundle, path, {**sides, "use_activation": False})
    assert min(row["score"] for row in raw["data"]) < 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text_1": QUERY},
        {"text_1": QUERY, "documents": TEXTS},
        {"text_1": [QUERY] * 2, "text_2": TEXTS},
        {"text_1": "", "text_2": TEXTS},
        {"text_1": QUERY, "text_2": TEXTS, "queries": QUERY, "documents": TEXTS},
        {"text_1": QUERY, "text_2": []},
    ],
)
def test_forms_that_make_no_sense(fake_bundle: Bundle, body: dict[str, Any]) -> None:
    error = told(fake_bundle, "/v1/score", body, status=422)["error"]
    assert error["type"] == "invalid_request"


def test_our_own_shape_stays_strict(fake_bundle: Bundle) -> None:
    good = {"query": QUERY, "passages": TEXTS}
    assert told(fake_bundle, "/score", good)["results"][0]["index"] == 1
    for change in ({"top_n": "1"}, {"top_n": 0}, {"colour": 1}, {"queries": QUERY}):
        error = told(fake_bundle, "/score", good | change, status=422)
        assert set(error) == {"error", "request_id"}


@pytest.mark.parametrize("form", NAMES)
def test_errors_name_the_fields_of_the_form(fake_bundle: Bundle, form: tuple[str, str]) -> None:
    query, document = form
    few = Settings(max_passages=2)
    many = told(fake_bundle, "/score", {query: QUERY, document: TEXTS}, status=413, settings=few)
    assert many["error"]["param"] == document
    wordless = told(fake_bundle, "/v1/score", {query: "?!", document: TEXTS}, status=422)
    assert wordless["error"]["param"] == query
