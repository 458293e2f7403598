"""Charts: well-formed SVG whose points are where their values are."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from retort.loadtest.chart import HEIGHT, WIDTH, Axis, Bar, Line, bar_chart, line_chart

SVG = "{http://www.w3.org/2000/svg}"
LINES = [
    Line("a & <b>", ((1.0, 10.0), (10.0, 100.0), (100.0, 1000.0))),
    Line("c", ((5.0, 20.0),), 1),
]


def circles(chart: str) -> list[tuple[float, float]]:
    """The points drawn."""
    root = ElementTree.fromstring(chart)
    return [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter(f"{SVG}circle")]


def test_equal_factors_are_equal_distances_on_log_axes() -> None:
    chart = line_chart(LINES, title="t", x_label="x", y_label="y", log_x=True, log_y=True)
    (x0, y0), (x1, y1), (x2, y2), _ = circles(chart)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)
    assert x2 > x1
    assert y2 < y1
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in circles(chart))


def test_a_linear_axis_begins_at_nought() -> None:
    axis = Axis.over([50.0, 100.0], 210.0, log=False)
    assert axis.place(0) == 0
    assert axis.place(50.0) == pytest.approx(100.0)
    assert axis.ticks() == [0, 20, 40, 60, 80, 100]


def test_ticks_of_a_log_axis_are_round() -> None:
    assert Axis.over([3.0, 60.0], 100.0, log=True).ticks() == [5, 10, 20, 50]


def test_all_zero_can_be_drawn() -> None:
    chart = line_chart(
        [Line("errors", ((1.0, 0.0), (2.0, 0.0)))], title="t", x_label="x", y_label="y"
    )
    assert len({y for _, y in circles(chart)}) == 1


def test_bars_are_as_long_as_their_values() -> None:
    chart = bar_chart([Bar("a", 100, 90, 110), Bar("b", 50, 45, 55)], title="t", unit="pairs/s")
    root = ElementTree.fromstring(chart)
    first, second = [float(r.attrib["width"]) for r in root.iter(f"{SVG}rect") if "x" in r.attrib]
    assert first == pytest.approx(2 * second, abs=0.2)
    assert ">100 pairs/s<" in chart
    large = bar_chart([Bar("a", 2243.9, 2000, 2500)], title="t", unit="pairs/s")
    assert ">2,244 pairs/s<" in large


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one point"):
        line_chart([], title="t", x_label="x", y_label="y")
