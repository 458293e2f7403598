"""Fixtures of the page: a browser, and servers for it. Where there is no browser, no test runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome

from retort.models.bundle import Bundle
from tests.service.browser import MISSING, browser, set_media, set_size
from tests.service.running import ServerProcess, server
from tests.tiny_teacher import make_contrary


@pytest.fixture(scope="module")
def pair(
    chrome: Chrome, tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A student, its teacher, and every request compared."""
    teacher = make_contrary(tiny_bundle, tmp_path_factory.mktemp("teacher") / "contrary")
    flags = ("--bundle", tiny_bundle.folder, "--teacher", teacher.folder, "--shadow", 1)
    with server(*map(str, flags), "--threads", "1") as running:
        yield running


@pytest.fixture(scope="module")
def locked(chrome: Chrome, tiny_bundle: Bundle) -> Iterator[ServerProcess]:
    """A student without a teacher, behind a key, for few passages."""
    flags = ("--bundle", str(tiny_bundle.folder), "--threads", "1", "--max-passages", "6")
    with server(*flags, RETORT_API_KEY="hush") as running:
        yield running


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    if MISSING:
        pytest.skip(f"no {' and no '.join(MISSING)}: apt-get install chromium chromium-driver")
    with browser() as driver:
        yield driver


@pytest.fixture
def page(chrome: Chrome) -> Chrome:
    """The browser as a reader at a desk has it."""
    set_size(chrome, 1120, 900)
    set_media(chrome, prefers_color_scheme="light", prefers_reduced_motion="reduce")
    return chrome
