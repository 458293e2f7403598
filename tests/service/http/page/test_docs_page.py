"""The API's page: it explains every route, and sends a request."""

from __future__ import annotations

import httpx
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from tests.service.browser import complaints
from tests.service.http.page.reading import one, wait_for
from tests.service.running import ServerProcess


def test_every_route_has_its_fields_before_its_schema(page: Chrome, pair: ServerProcess) -> None:
    page.get(f"{pair.url}/docs")
    wait_for(page, "#routes", "/score")
    paths = httpx.get(f"{pair.url}/openapi.json").json()["paths"]
    shown = [code.text for code in page.find_elements(By.CSS_SELECTOR, ".route > summary code")]
    assert sorted(shown) == sorted(path for path, verbs in paths.items() for _ in verbs)
    score = one(page, "#score")
    assert score.get_attribute("open") is not None
    fields = [cell.text for cell in score.find_elements(By.CSS_SELECTOR, "td:first-child code")]
    assert {"query", "passages", "top_n", "results", "spread", "usage"} <= set(fields)
    text = score.text
    places = [
        text.index(word) for word in ("Request\n", "curl -s", "\nAnswer\n", '"spread"', "Schema")
    ]
    assert places == sorted(places)
    rerank = one(page, "#v1_rerank")
    page.execute_script("arguments[0].open = true", rerank)
    for shape in ("Jina", "TEI", "Voyage"):
        assert f"\n{shape}\n" in rerank.text
    # Its own policy lets the page run.
    assert complaints(page) == []


def test_a_request_is_sent(page: Chrome, pair: ServerProcess) -> None:
    page.get(f"{pair.url}/docs")
    wait_for(page, "#routes", "/score")
    one(page, "#go").click()
    # Its example names the model that ships, and this server has another.
    assert wait_for(page, "#answer", '"results"').startswith("200\n")
    Select(one(page, "#path")).select_by_visible_text("/v2/rerank")
    body = one(page, "#body")
    assert '"documents"' in (body.get_attribute("value") or "")
    page.execute_script("arguments[0].value = '{\"query\": 3}'", body)
    one(page, "#go").click()
    assert wait_for(page, "#answer", "422").startswith("422\n")
