"""Charts: well-formed, in proportion, and with names that do not cover each other."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from retort.training.study.chart import (
    HEIGHT,
    LABEL_HEIGHT,
    WIDTH,
    Dot,
    Series,
    dot_chart,
    line_chart,
)


def dot(name: str, x: float, y: float) -> Dot:
    """A dot with an interval."""
    return Dot(name, "c0", x, y, y - 0.01, y + 0.01, f"{name} & more")


def test_dots_lie_in_proportion() -> None:
    dots = [dot("a", 100, 0.5), dot("b", 1000, 0.6), dot("c", 10_000, 0.7)]
    svg = dot_chart(dots, told="t < u", x_label="pairs/s", y_label="MAP")
    assert ElementTree.fromstring(svg).attrib["aria-label"] == "t < u"
    places = re.findall(r'<circle class="dot" cx="([\d.]+)" cy="([\d.]+)"', svg)
    across, down = zip(*[(float(x), float(y)) for x, y in places], strict=True)
    assert across[1] - across[0] == pytest.approx(across[2] - across[1], abs=0.2)  # logarithmic
    assert down[0] > down[1] > down[2]
    assert max(across) < WIDTH
    assert max(down) < HEIGHT
    assert "1,000" in svg
    assert "e+" not in svg


def test_names_of_near_dots_do_not_overlap() -> None:
    dots = [dot(f"row number {number}", 600 + number, 0.5 + number / 1000) for number in range(4)]
    svg = dot_chart([*dots, dot("far", 60, 0.3)], told="t", x_label="x", y_label="y")
    names = re.findall(r'class="name" x="([\d.-]+)" y="([\d.-]+)" text-anchor="(\w+)"', svg)
    assert len(names) == 5
    by_side: dict[str, list[float]] = {}
    for _, y, side in names:
        by_side.setdefault(side, []).append(float(y))
    for places in by_side.values():
        places.sort()
        gaps = [b - a for a, b in pairwise(places)]
        assert all(gap >= LABEL_HEIGHT - 2 for gap in gaps)


def test_what_has_no_name_is_faint() -> None:
    plain = Dot("quiet", "c1", 10, 0.5, 0.4, 0.6, "told", labelled=False)
    svg = dot_chart([plain, dot("loud", 20, 0.6)], told="t", x_label="x", y_label="y")
    assert 'class="c1 faint"' in svg
    assert ">quiet<" not in svg


def test_lines_lie_in_proportion() -> None:
    line = Series("a", "c0", ((0.0, 0.0), (0.5, 0.5), (1.0, 1.0)), marked=True)
    svg = line_chart([line], told="t", x_label="x", y_label="y", square=True)
    assert ElementTree.fromstring(svg) is not None
    line_path = re.search(r'class="line c0" d="M([^"]+)"', svg)
    rule = re.search(r'class="rule" d="M([^"]+)"', svg)
    assert line_path is not None
    assert rule is not None
    first, _, last = line_path[1].split("L")
    assert rule[1] == f"{first}L{last}"
    assert "<title>a: 50.0% at 50.0%</title>" in svg


def test_a_flat_line_can_be_drawn() -> None:
    flat = Series("a", "c0", ((0.0, 0.0), (1.0, 0.0)))
    assert "nan" not in line_chart([flat], told="t", x_label="x", y_label="y")


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="no point"):
        dot_chart([], told="t", x_label="x", y_label="y")
    with pytest.raises(ValueError, match="no point"):
        line_chart([], told="t", x_label="x", y_label="y")
