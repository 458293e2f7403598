"""How the page looks and is used: phone, night, keyboard, names, motion."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.keys import Keys

from tests.service.browser import set_media, set_size
from tests.service.http.page.reading import PASSAGES, QUERY, one, rank, wait_for
from tests.service.picture import take, wait_for_verdict
from tests.service.running import ServerProcess

pytestmark = pytest.mark.slow

# The colours of the page's texts, by its own names.
INKS = ("--ink", "--soft", "--bad", "--student", "--teacher")


def sideways(page: Chrome) -> float:
    """By how many pixels the page is too wide."""
    element = "document.documentElement"
    return float(page.execute_script(f"return {element}.scrollWidth - {element}.clientWidth"))


def test_a_phone_shows_all_of_it(page: Chrome, pair: ServerProcess) -> None:
    set_size(page, 360, 740)
    page.get(pair.url)
    assert sideways(page) == 0
    rank(page, QUERY, (*PASSAGES, "w" * 300))
    assert sideways(page) == 0
    assert one(page, "#links").is_displayed() is False
    # No lines, so the sentences are seen.
    assert one(page, "#student .elsewhere").rect["height"] > 10
    # One ranking at a time, in the same place.
    assert one(page, "#teacher").is_displayed() is False
    top = one(page, "#student").rect["y"]
    one(page, "[data-tab=teacher]").click()
    assert one(page, "#student").is_displayed() is False
    assert one(page, "#teacher").rect["y"] == pytest.approx(top, abs=1)
    assert one(page, "[data-tab=teacher]").get_attribute("aria-pressed") == "true"
    assert sideways(page) == 0


def luminance(colour: list[int]) -> float:
    parts = [part / 255 for part in colour]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_by_day_and_by_night(
    page: Chrome, pair: ServerProcess, scheme: str
) -> None:
    set_media(page, prefers_color_scheme=scheme)
    page.get(pair.url)

    def colour(name: str) -> float:
        script = """
            const probe = document.createElement("i");
            document.body.append(probe);
            probe.style.color = `var(${arguments[0]})`;
            const told = getComputedStyle(probe).color;
            probe.remove();
            return told;
        """
        return luminance([int(n) for n in re.findall(r"\d+", page.execute_script(script, name))])

    paper = colour("--paper")
    assert (paper < 0.1) == (scheme == "dark")
    for ink in INKS:
        light, dark = sorted((paper, colour(ink)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, ink
    light, dark = sorted((colour("--mark"), colour("--ink")), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_the_keyboard_is_enough(page: Chrome, pair: ServerProcess) -> None:
    page.get(pair.url)
    reached = []
    for _ in range(3):
        page.switch_to.active_element.send_keys(Keys.TAB)
        element = page.switch_to.active_element
        reached.append(element.get_attribute("id") or element.text)
        assert element.value_of_css_property("outline-style") == "solid"
    assert reached == ["query", "passages", "Rank"]
    page.switch_to.active_element.send_keys(Keys.ENTER)
    assert "6 passages" in wait_for_verdict(page)
    one(page, "#passages").send_keys(Keys.END, "\nThe city.", Keys.CONTROL, Keys.ENTER)
    assert "7 passages" in wait_for(page, "#verdict", "7")


def test_every_control_has_a_name(page: Chrome, pair: ServerProcess) -> None:
    page.get(pair.url)
    named = {"#query": "Question", "#passages": "Passages", "#form button": "Rank"}
    for selector, name in named.items():
        assert one(page, selector).accessible_name == name
    assert one(page, "#verdict").aria_role == "status"
    assert one(page, "#error").get_attribute("role") == "alert"


def test_nothing_moves_for_those_who_asked_for_that(page: Chrome, pair: ServerProcess) -> None:
    page.get(pair.url)
    rank(page)
    assert one(page, ".fill").value_of_css_property("animation-name") == "none"
    set_media(page, prefers_reduced_motion="no-preference")
    assert one(page, ".fill").value_of_css_property("animation-name") == "grow"


def test_a_picture_can_be_taken(page: Chrome, pair: ServerProcess, tmp_path: Path) -> None:
    """`PICTURES=folder` keeps it."""
    page.get(pair.url)
    rank(page)
    file = Path(os.environ.get("PICTURES", tmp_path)) / "page.png"
    take(page, file, 1120)
    content = file.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert int.from_bytes(content[16:20]) == 1120
