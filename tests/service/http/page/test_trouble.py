"""What goes wrong, and what the page says then."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from selenium.webdriver import Chrome
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from retort.models.bundle import Bundle
from retort.service.http.app import create_app
from retort.service.service import Service
from retort.service.settings import Settings
from tests.fake_bundle import overlap
from tests.service.browser import complaints
from tests.service.http.page.reading import QUERY, one, rank, texts, wait_for, write
from tests.service.picture import wait_for_verdict
from tests.service.running import PATIENCE_SECONDS, ServerProcess, fake_service, fragile, server

pytestmark = pytest.mark.slow


def test_what_is_missing_is_said_and_the_reader_put_there(
    page: Chrome, pair: ServerProcess
) -> None:
    page.get(pair.url)
    one(page, "#query").clear()
    one(page, "#form button").click()
    assert wait_for(page, "#error", ".") == "Type a question first."
    assert page.switch_to.active_element.get_attribute("id") == "query"
    one(page, "#query").send_keys(QUERY)
    write(page, "#passages", " \n\n")
    one(page, "#form button").click()
    assert wait_for(page, "#error", "Paste") == "Paste at least one passage."
    assert page.switch_to.active_element.get_attribute("id") == "passages"
    assert one(page, "#columns").is_displayed() is False
    rank(page)
    assert one(page, "#error").text == ""
    # What was ranked before is not shown as the answer to nothing.
    one(page, "#query").clear()
    one(page, "#form button").click()
    assert wait_for(page, "#error", ".") == "Type a question first."
    assert one(page, "#columns").is_displayed() is False
    assert one(page, "#verdict").text == ""


def test_a_key_is_asked_for_and_a_lone_student_says_so(page: Chrome, locked: ServerProcess) -> None:
    page.get(locked.url)
    WebDriverWait(page, PATIENCE_SECONDS).until(lambda _: one(page, "#key-field").is_displayed())
    one(page, "#form button").click()
    assert wait_for(page, "#error", ".") == "This server needs an API key."
    key = page.switch_to.active_element
    assert key.get_attribute("id") == "key"
    key.send_keys("hu", Keys.ENTER)
    assert wait_for(page, "#error", "this") == "The server does not accept this API key."
    key.send_keys("sh", Keys.ENTER)
    assert re.fullmatch(r"The student ranked 6 passages in [\d.,]+\sms\.", wait_for_verdict(page))
    assert one(page, "#error").text == ""
    assert len(texts(page, "#student .row")) == 6
    assert "retort serve --teacher" in one(page, "#alone").text
    for gone in ("#teacher", "#live", "#links", "#tabs", "#student .clock"):
        assert one(page, gone).is_displayed() is False
    write(page, "#passages", "\n".join(["too many"] * 7))
    one(page, "#form button").click()
    told = "That is too much for one request: 7 passages, the limit is 6"
    assert wait_for(page, "#error", ".").startswith(told)
    complaints(page)  # a browser logs every answer that is an error


@pytest.mark.slow
def test_a_server_that_is_gone_is_said_to_be(page: Chrome, tiny_bundle: Bundle) -> None:
    with server("--bundle", str(tiny_bundle.folder), "--threads", "1") as running:
        page.get(running.url)
        rank(page)
        running.stop()
        one(page, "#form button").click()
        assert wait_for(page, "#error", ".").startswith("The server does not answer.")
    complaints(page)


@contextmanager
def fragile_pair(bundle: Bundle) -> Iterator[tuple[str, Service]]:
    """The address of an app whose teacher fails for every per cent sign, and its service."""
    service = fake_service(bundle, overlap, Settings(), fragile)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        app = create_app(service)
        running = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            end = time.monotonic() + PATIENCE_SECONDS
            while not running.started or httpx.get(f"{url}/readyz").status_code != 200:
                assert time.monotonic() < end
                time.sleep(0.05)
            yield url, service
        finally:
            running.should_exit = True
            thread.join()


def test_what_could_not_be_scored_is_said(page: Chrome, fake_bundle: Bundle) -> None:
    with fragile_pair(fake_bundle) as (url, service):
        page.get(url)
        assert rank(page, QUERY, ("hamlet", "100 %")).endswith("differently.")
        assert texts(page, "#teacher .text") == ["hamlet"]
        assert texts(page, "#teacher .note")[0].startswith("One passage has no score: ")
        assert rank(page, QUERY, ("5 %", "100 %")).endswith("; the teacher gave no ranking.")
        assert texts(page, "#teacher .note")[0].startswith("The model could not score this: ")
        assert len(texts(page, "#student .row")) == 2
        service.health.fail("the disk is gone")
        one(page, "#form button").click()
        told = "The server is not ready: the disk is gone. Try again in 1 s."
        assert wait_for(page, "#error", ".") == told
        assert one(page, "#columns").is_displayed() is False
    complaints(page)
