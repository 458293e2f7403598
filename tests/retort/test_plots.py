"""Plots: well-formed SVG whose marks lie where their values say, in both colour schemes."""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest

from retort.plots import (
    Axis,
    Dot,
    Level,
    Line,
    Panel,
    Point,
    dot_plot,
    line_plot,
    scatter_plot,
)
from retort.svg import SCHEMES

SVG = "{http://www.w3.org/2000/svg}"
PANEL = Panel(
    "MAP < 1",
    Axis("share", "percent", low=0, high=1),
    Axis("MAP"),
    (
        Line("spread", ((0.0, 0.5), (0.5, 0.7), (1.0, 0.9)), marked=True),
        Line("random", ((0.0, 0.5), (1.0, 0.895)), "c1"),
    ),
    (Level("teacher", 0.8, 0.75, 0.85),),
)


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def places(svg: str) -> dict[str, tuple[float, float]]:
    """Where each text stands, by its words."""
    return {
        "".join(node.itertext()): (float(node.attrib["x"]), float(node.attrib["y"]))
        for node in ElementTree.fromstring(svg).iter(f"{SVG}text")
    }


def marks(svg: str) -> dict[str, tuple[float, float]]:
    """Where the mark of each note lies."""
    return {
        group[0].text or "": (float(use.attrib["x"]), float(use.attrib["y"]))
        for group in ElementTree.fromstring(svg).iter(f"{SVG}g")
        if len(group) and group[0].tag == f"{SVG}title"
        for use in group.iter(f"{SVG}use")
    }


def test_panels_are_well_formed_and_share_one_legend() -> None:
    svg = line_plot([PANEL, PANEL, PANEL], "a & b", "what is drawn")
    root = ElementTree.fromstring(svg)
    assert root.attrib["viewBox"] == "0 0 860 628"
    assert root.attrib["aria-label"] == "a & b"
    assert texts(svg).count("MAP < 1") == 3
    assert texts(svg).count("spread") == 1
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", svg)  # no outside font or script


def test_the_same_figures_give_the_same_file() -> None:
    assert line_plot([PANEL], "t") == line_plot([PANEL], "t")


def test_every_colour_follows_the_scheme() -> None:
    svg = line_plot([PANEL], "t")
    drawn, style = svg.partition("</style>")[2], svg.partition("</style>")[0]
    used = set(re.findall(r"(?:fill|stroke): (#\w+)", drawn))
    assert used
    assert used <= {light for light, _ in SCHEMES.values()}
    assert all(f'"fill: {light}"]{{fill:{dark}!' in style for light, dark in SCHEMES.values())


def test_a_higher_value_lies_higher_and_a_larger_share_further_right() -> None:
    found = marks(line_plot([PANEL], "t"))
    spread = [found[f"spread: {y} at {x}"] for x, y in (("0%", 0.5), ("50%", 0.7), ("100%", 0.9))]
    assert [x for x, _ in spread] == sorted(x for x, _ in spread)
    assert [y for _, y in spread] == sorted((y for _, y in spread), reverse=True)


def test_names_beside_the_ends_of_lines_do_not_meet() -> None:
    lines = tuple(Line(f"line {n}", ((1, 1), (100, 50 + n / 10))) for n in range(4))
    panel = Panel("", Axis("x", log=True), Axis("y", log=True), lines)
    heights = [places(line_plot([panel], "t"))[line.name][1] for line in lines]
    assert all(abs(a - b) >= 12 for a, b in combinations(heights, 2))


def test_a_dot_lies_between_its_bounds_and_says_its_end() -> None:
    dots = [Dot("a", 0.5, 0.4, 0.7, ticks=(0.45, 0.55), end="50%"), Dot("b", 0.9, 0.8, 1.0)]
    svg = dot_plot(dots, "t", Axis("share", "percent"), mark=1.0)
    found = marks(svg)
    assert found["a: 50%"][0] < found["b: 0.9"][0]
    assert found["a: 50%"][1] < found["b: 0.9"][1]  # the first row is on top
    assert {"a", "b", "50%", "share"} <= set(texts(svg))


def test_names_of_points_do_not_meet() -> None:
    points = [Point(f"point {n}", 100 + n, 0.5 + n / 500, 0.45, 0.55) for n in range(4)]
    svg = scatter_plot(points, "t", Axis("pairs per second", log=True), Axis("MAP"))
    found = [places(svg)[point.name] for point in points]
    # A name on the other side of its point starts there and runs away from it.
    assert all(abs(a[1] - b[1]) >= 10 or abs(a[0] - b[0]) >= 15 for a, b in combinations(found, 2))


def test_only_labelled_points_show_their_name_and_all_say_their_note() -> None:
    points = [
        Point("shown", 1, 0.5, 0.4, 0.6, hollow=True, note="its note"),
        Point("hidden", 10, 0.5, 0.4, 0.6, labelled=False),
    ]
    svg = scatter_plot(points, "t", Axis("x", log=True), Axis("y"))
    assert "shown" in texts(svg)
    assert "hidden" not in texts(svg)
    assert {"its note", "hidden"} <= set(marks(svg))


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="no point"):
        line_plot([Panel("t", Axis("x"), Axis("y"), ())], "t")
    with pytest.raises(ValueError, match="no row"):
        dot_plot([], "t", Axis("x"))
    with pytest.raises(ValueError, match="no point"):
        scatter_plot([], "t", Axis("x"), Axis("y"))
