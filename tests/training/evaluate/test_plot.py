"""The plot: well-formed SVG whose lines lie where their values say."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from retort.training.evaluate.plot import HEIGHT, WIDTH, Level, Line, Panel, draw

PANEL = Panel(
    "MAP < 1",
    "share",
    (
        Line("spread", ((0.0, 0.5), (0.5, 0.7), (1.0, 0.9))),
        Line("random", ((0.0, 0.5), (1.0, 0.6))),
    ),
    (Level("teacher", 0.8, 0.75, 0.85),),
)


def test_it_is_well_formed_and_says_what_it_is() -> None:
    root = ElementTree.fromstring(draw([PANEL, PANEL, PANEL], "a & b", "lines"))
    assert root.attrib["viewBox"] == f"0 0 {2 * WIDTH} {2 * HEIGHT + 30}"
    texts = ["".join(node.itertext()) for node in root.iter()]
    assert "a & b" in texts
    assert texts.count("MAP < 1") == 3
    assert texts.count("spread") == 1  # one legend for all panels


def test_a_higher_value_lies_higher_and_a_larger_share_further_right() -> None:
    svg = draw([PANEL], "t", "d")
    paths = re.findall(r'class="line" style[^>]* d="M([^"]+)"', svg)
    places = [tuple(map(float, point.split())) for point in paths[0].split("L")]
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert [y for _, y in places] == sorted((y for _, y in places), reverse=True)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)


def test_a_flat_line_can_be_drawn() -> None:
    flat = Panel("flat", "share", (Line("a", ((0.0, 0.5), (1.0, 0.5))),))
    assert ElementTree.fromstring(draw([flat], "t", "d")) is not None
