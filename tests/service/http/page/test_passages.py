"""Long passages, highlights, flags, and what a reader takes away."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from retort.models.bundle import Bundle
from tests.service.browser import complaints
from tests.service.http.page.reading import one, rank, texts, wait_for, write
from tests.service.picture import wait_for_verdict
from tests.service.running import PATIENCE_SECONDS, ServerProcess, server

pytestmark = pytest.mark.slow

QUERY = "how tall is the eiffel tower"
FILLER = "Hamlet was a play. "
ANSWER = "The eiffel tower is tall."
LONG = "\U0001f5fc " * 3 + FILLER * 40 + ANSWER + " " + FILLER * 40
PASSAGES = ("Paris is old. The tower is tall.", LONG, "!!!", "\u65e5\u672c")


@pytest.fixture(scope="module")
def alone(chrome: Chrome, tiny_bundle: Bundle) -> Iterator[ServerProcess]:
    """A student without a teacher."""
    with server("--bundle", str(tiny_bundle.folder), "--threads", "1") as running:
        yield running


def paste(page: Chrome, passages: tuple[str, ...] | list[str], between: str = "\n") -> None:
    # No keys: a driver types no character past the first 65,536, and a long text slowly.
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
    page.execute_script(script, one(page, "#passages"), between.join(passages))


def rank_pasted(page: Chrome, passages: tuple[str, ...] | list[str], between: str = "\n") -> str:
    write(page, "#query", QUERY)
    paste(page, passages, between)
    one(page, "#form button").click()
    return wait_for_verdict(page)


def row(page: Chrome, index: int) -> str:
    return f'#student [data-index="{index}"]'


def test_the_page_shows_what_the_server_tells(page: Chrome, alone: ServerProcess) -> None:
    page.get(alone.url)
    rank_pasted(page, PASSAGES)
    body = {"query": QUERY, "passages": PASSAGES, "highlight": True}
    answer: dict[str, Any] = httpx.post(f"{alone.url}/score", json=body).json()
    results = {result["index"]: result for result in answer["results"]}
    for index in (0, 1):
        mark = results[index]["highlight"]
        (marked,) = texts(page, f"{row(page, index)} mark")
        assert marked == PASSAGES[index][mark["start"] : mark["end"]].strip()
        assert one(page, f"{row(page, index)} mark").is_displayed()
    window = results[1]["window"]
    (told,) = texts(page, f"{row(page, 1)} .window")
    for number in (window["count"], window["start"] + 1, window["end"]):
        assert f"{number:,}" in told
    assert texts(page, f"{row(page, 0)} .told") == []
    for index, flag in ((2, "Empty"), (3, "Unfamiliar")):
        assert texts(page, f"{row(page, index)} .flag") == [flag]
        assert len(texts(page, f"{row(page, index)} .why")[0]) > 10
        assert texts(page, f"{row(page, index)} .score") == ["0.000"]
    for warning in answer["warnings"]:
        assert warning[1:] in texts(page, "#student .note")[0]
    assert complaints(page) == []


def test_all_of_a_long_passage_is_a_key_away(page: Chrome, alone: ServerProcess) -> None:
    page.get(alone.url)
    rank_pasted(page, PASSAGES)
    text, button = f"{row(page, 1)} .text", one(page, f"{row(page, 1)} .unfold")
    short = texts(page, text)[0]
    assert len(short) < 400
    page.execute_script("arguments[0].focus()", button)
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert texts(page, text)[0] == " ".join(LONG.split())
    assert button.get_attribute("aria-expanded") == "true"
    page.switch_to.active_element.send_keys(Keys.SPACE)
    assert texts(page, text)[0] == short


def test_every_row_can_be_reached(page: Chrome, alone: ServerProcess) -> None:
    page.get(alone.url)
    rank_pasted(page, [f"paris {n}" for n in range(230)])
    more = one(page, "#student .more")
    for shown in (100, 200, 230):
        rows = page.find_elements(By.CSS_SELECTOR, "#student .row")
        assert len(rows) == shown
        assert more.is_displayed() == (shown < 230)
        if shown < 230:
            more.send_keys(Keys.ENTER)
    seen = {element.get_attribute("data-index") for element in rows}
    assert seen == {str(n) for n in range(230)}
    assert texts(page, "#student .rank") == [str(n + 1) for n in range(230)]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("one\ntwo\nthree", 3),
        ("one\n\n\n", 1),
        ("a first\nin two lines\n\na second\n  \na third", 3),
    ],
)
def test_blank_lines_part_passages_where_there_are_any(
    page: Chrome, alone: ServerProcess, text: str, count: int
) -> None:
    page.get(alone.url)
    assert rank_pasted(page, [text]).startswith(
        f"The student ranked {count} passages" if count > 1 else "The student ranked one passage"
    )
    assert texts(page, "#count")[0].startswith(f"{count} passage")
    assert len(texts(page, "#student .row")) == count


def test_the_command_is_the_request(page: Chrome, locked: ServerProcess) -> None:
    page.get(locked.url)
    key = one(page, "#key")
    WebDriverWait(page, PATIENCE_SECONDS).until(lambda _: key.is_displayed())
    key.send_keys("hush")
    rank(page, 'what\'s "tall" & old?', ("It's $5 \\ `ls`.", "Paris."))
    one(page, "#copy-curl").click()
    command = wait_for(page, "#shared", "curl")
    assert "hush" not in command
    words = shlex.split(command.replace("\\\n", " "))
    sent = json.loads(words[words.index("-d") + 1])
    assert sent["query"] == 'what\'s "tall" & old?'
    assert sent["passages"] == ["It's $5 \\ `ls`.", "Paris."]
    ran = subprocess.run(
        ["sh", "-c", command], env={"RETORT_API_KEY": "hush", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(json.loads(ran.stdout)["results"]) == 2


def test_a_link_keeps_the_question_and_no_server_sees_it(
    page: Chrome, alone: ServerProcess
) -> None:
    page.get(alone.url)
    passages = ["caf\u00e9 & r\u00f6ck = 5%", "two\nlines"]
    rank_pasted(page, passages, "\n\n")
    one(page, "#copy-link").click()
    link = wait_for(page, "#shared", "#q=")
    assert link.partition("#")[0] == f"{alone.url}/"
    page.get("about:blank")
    page.get(link)
    assert one(page, "#query").get_property("value") == QUERY
    assert one(page, "#passages").get_property("value") == "\n\n".join(passages)
    rank_pasted(page, ["x" * 9_000])
    one(page, "#copy-link").click()
    assert "too much" in wait_for(page, "#copied", "too much")


def test_examples_fill_the_form_and_rank(page: Chrome, alone: ServerProcess) -> None:
    page.get(alone.url)
    one(page, "[data-example=long]").click()
    assert "3 passages" in wait_for_verdict(page)
    assert texts(page, "#student .window")
    one(page, "[data-example=short]").click()
    assert "6 passages" in wait_for(page, "#verdict", "6")


def test_while_the_model_loads_the_page_waits_and_then_ranks(
    page: Chrome, tiny_bundle: Bundle
) -> None:
    with server("--bundle", str(tiny_bundle.folder), "--threads", "1") as running:
        page.get(running.url)
        # As a server says it that is still loading.
        page.execute_script(
            """
            const real = window.fetch;
            window.asked = 0;
            window.fetch = (path, ...rest) => {
              if (path === "readyz" && window.asked < 3) {
                return Promise.resolve(Response.json({ status: "loading" }, { status: 503 }));
              }
              if (path !== "score" || ++window.asked > 2) return real(path, ...rest);
              const error = { type: "not_ready", message: "loading", param: null };
              return Promise.resolve(Response.json({ error }, { status: 503 }));
            };
            """
        )
        start = time.monotonic()
        one(page, "#form button").click()
        assert "loading" in wait_for(page, "#waiting", "loading")
        assert one(page, "#error").text == ""
        assert "6 passages" in wait_for_verdict(page)
        assert time.monotonic() - start > 1.5
        assert one(page, "#waiting").text == ""
        assert page.execute_script("return window.asked") == 3
