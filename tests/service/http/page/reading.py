"""Reading the page as its readers do, for its tests."""

from __future__ import annotations

import re

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.service.picture import wait_for_verdict
from tests.service.running import PATIENCE_SECONDS

QUERY = "who wrote hamlet"
PASSAGES = ("Paris is in France.", "Hamlet is a play.", "The river was old.")


def one(page: Chrome, selector: str) -> WebElement:
    return page.find_element(By.CSS_SELECTOR, selector)


def texts(page: Chrome, selector: str) -> list[str]:
    # Not `.text`, which leaves out what only a screen reader reads.
    found = page.find_elements(By.CSS_SELECTOR, selector)
    return [" ".join(str(element.get_property("textContent")).split()) for element in found]


def write(page: Chrome, selector: str, text: str) -> None:
    element = one(page, selector)
    element.clear()
    element.send_keys(text)


def wait_for(page: Chrome, selector: str, pattern: str) -> str:
    """Wait until an element's text has the pattern; the text."""
    waiting = WebDriverWait(page, PATIENCE_SECONDS)
    waiting.until(lambda _: re.search(pattern, one(page, selector).text))
    return one(page, selector).text


def rank(page: Chrome, query: str = QUERY, passages: tuple[str, ...] = PASSAGES) -> str:
    write(page, "#query", query)
    write(page, "#passages", "\n".join(passages))
    one(page, "#form button").click()
    return wait_for_verdict(page)
