"""The rankings and the live figures, on a student and a teacher of the opposite opinion."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx
import pytest
from selenium.common.exceptions import JavascriptException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.service.browser import complaints
from tests.service.http.page.reading import PASSAGES, QUERY, one, rank, texts, wait_for
from tests.service.picture import wait_for_verdict
from tests.service.running import PATIENCE_SECONDS, ServerProcess

pytestmark = pytest.mark.slow


def ask(server: ServerProcess, mode: str) -> list[dict[str, Any]]:
    body = {"query": QUERY, "passages": PASSAGES, "mode": mode}
    results: list[dict[str, Any]] = httpx.post(f"{server.url}/score", json=body).json()["results"]
    return results


def test_one_click_ranks_the_example(page: Chrome, pair: ServerProcess) -> None:
    page.get(pair.url)
    one(page, "#form button").click()
    told = wait_for_verdict(page)
    assert re.match(
        r"The student ranked 6 passages in [\d.,]+\sms, the teacher in [\d.,]+\sms", told
    )
    assert "do not agree on the best passage" in told
    assert texts(page, ".model") == ["tiny 0.0.1", "contrary 0.0.9"]
    assert len(texts(page, "#student .row")) == len(texts(page, "#teacher .row")) == 6
    assert one(page, "#alone").is_displayed() is False
    assert complaints(page) == []


def test_both_rankings_are_the_servers(page: Chrome, pair: ServerProcess) -> None:
    page.get(pair.url)
    rank(page)
    assert texts(page, "#count") == ["3 passages, one per line"]
    for role in ("student", "teacher"):
        results = ask(pair, role)
        assert texts(page, f"#{role} .rank") == ["1", "2", "3"]
        assert texts(page, f"#{role} .text") == [PASSAGES[r["index"]] for r in results]
        shown = [float(score) for score in texts(page, f"#{role} .score")]
        assert shown == pytest.approx([r["score"] for r in results], abs=0.002)
        spreads = [float(spread.removeprefix("± ")) for spread in texts(page, f"#{role} .plus")]
        assert spreads == pytest.approx([r["spread"] for r in results], abs=0.002)
        for bar, score in zip(
            page.find_elements(By.CSS_SELECTOR, f"#{role} .bar"), shown, strict=True
        ):
            fill = bar.find_element(By.CSS_SELECTOR, ".fill").rect["width"] / bar.rect["width"]
            assert fill == pytest.approx(score, abs=0.02)
        (time_told,) = texts(page, f"#{role} .time")
        assert re.fullmatch(r"[\d.,]+ ms", time_told)
        assert all(stage in texts(page, f"#{role} .stages")[0] for stage in ("waiting", "scoring"))


def test_where_they_differ_is_seen_and_heard(page: Chrome, pair: ServerProcess) -> None:
    page.get(pair.url)
    told = rank(page)
    # Of three passages the other way round, the middle one stays.
    assert told.endswith("and rank 2 of 3 differently.")
    assert texts(page, "#student .elsewhere") == ["▼ 3rd for the teacher", "▲ 1st for the teacher"]
    assert texts(page, "#teacher .elsewhere") == ["▼ 3rd for the student", "▲ 1st for the student"]
    lines = page.find_elements(By.CSS_SELECTOR, "#links path")
    moved = [bool(line.get_attribute("class")) for line in lines]
    assert moved == [True, False, True]
    # Each line begins at the middle of its row, and ends at that of the same passage.
    box = one(page, "#links").rect
    for line, row in zip(lines, page.find_elements(By.CSS_SELECTOR, "#student .row"), strict=True):
        index = row.get_attribute("data-index")
        other = one(page, f'#teacher [data-index="{index}"]')
        path = [float(n) for n in re.findall(r"[\d.]+", str(line.get_attribute("d")))]
        for y, end in ((path[1], row.rect), (path[-1], other.rect)):
            assert y == pytest.approx(end["y"] + end["height"] / 2 - box["y"], abs=2)


def test_passages_are_text_whatever_is_in_them(page: Chrome, pair: ServerProcess) -> None:
    page.get(pair.url)
    hostile = ("<b>bold</b> &amp;", '<img src=x onerror="document.title=1">', "a { color: red }")
    rank(page, "<i>what</i>", hostile)
    assert set(texts(page, "#student .text")) == set(hostile)
    assert page.find_elements(By.CSS_SELECTOR, ".row b, .row img") == []
    with pytest.raises(JavascriptException, match="TrustedHTML"):
        page.execute_script("document.body.innerHTML = '<b>no</b>'")
    assert len(complaints(page)) == 1


def test_the_live_figures_are_the_servers(page: Chrome, pair: ServerProcess) -> None:
    page.get(pair.url)
    rank(page)
    # A teacher that is always of another opinion.
    assert wait_for(page, "#agreement", r"\d") == "0%"
    assert re.search(r"\d requests? compared", one(page, "#agreement-why").text)

    def agrees(_: Chrome) -> bool:
        told = httpx.get(f"{pair.url}/comparison").json()["speedup"]
        shown = float(one(page, "#speedup").text.removesuffix("×").replace(",", ""))
        return bool(shown == pytest.approx(told, rel=0.01, abs=0.01))

    # The comparisons end a little after the answers, and the page asks every few seconds.
    WebDriverWait(page, PATIENCE_SECONDS).until(agrees)
    assert re.search(r"ms per pair, not .*ms", one(page, "#speedup-why").text)


def comparisons(server: ServerProcess) -> float:
    metrics = httpx.get(f"{server.url}/metrics").text
    found = re.search(r'^retort_requests_total{route="/comparison".*} (.*)$', metrics, re.MULTILINE)
    return float(found[1]) if found else 0


@pytest.mark.slow
def test_figures_are_asked_for_only_while_someone_sees_them(
    page: Chrome, pair: ServerProcess
) -> None:
    page.get(pair.url)
    before = comparisons(pair)
    end = time.monotonic() + PATIENCE_SECONDS
    while comparisons(pair) <= before:
        assert time.monotonic() < end
        time.sleep(0.5)
    seen = page.current_window_handle
    page.switch_to.new_window("tab")
    # A question may have been on its way.
    before = -1.0
    while (now := comparisons(pair)) != before:
        before = now
        time.sleep(2)
    time.sleep(7)
    assert comparisons(pair) == before
    page.close()
    page.switch_to.window(seen)
