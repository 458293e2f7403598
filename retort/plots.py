"""Plots as SVG: lines with bands and levels, dots with whiskers, and a scatter plot with names.

Each function returns the text of an SVG (see `retort/svg.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil, inf
from typing import TYPE_CHECKING, Any

from retort.svg import SCHEMES, note, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

COLOURS = ("c0", "c1", "c2", "c3", "c4", "c5")
RULE: dict[str, Any] = {"color": SCHEMES["edge"][0], "linewidth": 1}
DASHED: dict[str, Any] = {**RULE, "linestyle": (0, (4, 3))}
STEP = 13  # from one name to the next, in points
# Where a point's name may stand, in points from its centre.
NAME_MOVES = tuple((side, STEP * up) for up in (0, 1, -1, 2, -2, 3, -3) for side in (9, -9))


@dataclass(frozen=True, slots=True)
class Line:
    """Points (x, y) in order of x. `colour` is a key of `SCHEMES`; `band` is (x, low, high)."""

    name: str
    points: tuple[tuple[float, float], ...]
    colour: str = "c0"
    dashed: bool = False
    marked: bool = False
    width: float = 1.8
    band: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Level:
    """A horizontal line with its name, and a band around it where it has bounds."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows. `unit` is `number` or `percent`; `low` and `high` fix its ends."""

    label: str
    unit: str = "number"
    log: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot of lines. `diagonal` draws the line on which x and y are equal."""

    title: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    levels: tuple[Level, ...] = ()
    diagonal: bool = False


@dataclass(frozen=True, slots=True)
class Dot:
    """A row of a dot plot: a value with its interval, single values as `ticks`, text at its end."""

    name: str
    value: float
    low: float
    high: float
    colour: str = "c0"
    ticks: tuple[float, ...] = ()
    end: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a scatter plot with the interval of its y. Only if `labelled` it shows its name.

    `note` is shown when the mouse rests on the point.
    """

    name: str
    x: float
    y: float
    low: float
    high: float
    colour: str = "c0"
    labelled: bool = True
    hollow: bool = False
    note: str = ""


def line_plot(
    panels: Sequence[Panel],
    title: str,
    description: str = "",
    *,
    size: tuple[float, float] = (430, 300),
    legend_columns: int = 0,
) -> str:
    """Panels of lines, two in a row, each of `size` (width, height) in pixels.

    One panel has the lines' names beside their ends; several share a legend below them, in
    `legend_columns` columns, four unless it is set. If it is set, one panel has a legend too.
    Raises `ValueError` if a panel has no point.
    """
    for panel in panels:
        if not any(line.points for line in panel.lines):
            raise ValueError(f"{panel.title or title}: no point to draw")
    columns = min(2, len(panels))
    rows = ceil(len(panels) / columns)
    wide = legend_columns or 4
    names = {line.name for panel in panels for line in panel.lines}
    with_legend = len(panels) > 1 or legend_columns > 0
    high = size[1] * rows + (10 + 18 * ceil(len(names) / wide) if with_legend else 0)

    def draw(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, squeeze=False).flat
        for axes, panel in zip(grid, panels, strict=False):
            _draw_panel(axes, panel)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        if with_legend:
            named = {
                name: line
                for axes in grid
                for line, name in zip(*axes.get_legend_handles_labels(), strict=True)
            }
            figure.legend(
                named.values(), named.keys(), loc="outside lower left", ncols=wide, frameon=False
            )
        else:
            _name_ends(figure, grid[0], panels[0].lines)

    return to_svg(draw, size[0] * columns, high, title, description)


def dot_plot(
    dots: Sequence[Dot], title: str, axis: Axis, *, mark: float | None = None, width: float = 640
) -> str:
    """Rows below each other, each a dot with its whisker.

    `mark` is a vertical line to compare with. Raises `ValueError` if there is no row.
    """
    if not dots:
        raise ValueError(f"{title}: no row to draw")

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.set_ylim(len(dots) - 0.5, -0.5)
        axes.set_yticks(range(len(dots)), [dot.name for dot in dots])
        axes.tick_params(axis="y", labelcolor=SCHEMES["ink"][0])
        _scale(axes, "x", axis)
        axes.grid(axis="x")
        if mark is not None:
            axes.axvline(mark, **DASHED)
        for row, dot in enumerate(dots):
            colour = SCHEMES[dot.colour][0]
            axes.plot([dot.low, dot.high], [row, row], color=colour, linewidth=2)
            axes.plot(dot.ticks, [row] * len(dot.ticks), "|", color=colour, alpha=0.6, markersize=9)
            (found,) = axes.plot([dot.value], [row], "o", color=colour, markersize=6)
            note(found, f"{dot.name}: {dot.end or format(dot.value, '.4g')}")
            _write(axes, dot.end, (1, row), (8, 0), xycoords=("axes fraction", "data"))

    return to_svg(draw, width, 24 * len(dots) + 46, title)


def scatter_plot(
    points: Sequence[Point], title: str, x: Axis, y: Axis, *, size: tuple[float, float] = (460, 320)
) -> str:
    """Points with whiskers, each name where it covers least. Raises `ValueError` without points."""
    if not points:
        raise ValueError(f"{title}: no point to draw")

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.grid(axis="y")
        # A point with a name is drawn last, above the rest.
        for point in sorted(points, key=lambda point: point.labelled):
            colour, alpha = SCHEMES[point.colour][0], 1.0 if point.labelled else 0.35
            look: dict[str, Any] = {"color": colour, "alpha": alpha}
            axes.plot([point.x] * 2, [point.low, point.high], linewidth=1.5, **look)
            edge = 1.6 if point.hollow else 0
            (found,) = axes.plot([point.x], [point.y], "o", markeredgewidth=edge, **look)
            found.set_fillstyle("none" if point.hollow else "full")
            note(found, point.note or point.name)
        _scale(axes, "x", x)
        _scale(axes, "y", y)
        if x.log and (x.low is None or x.high is None):
            axes.set_xlim(min(p.x for p in points) / 1.5, max(p.x for p in points) * 1.5)
        figure.draw_without_rendering()
        _name_points(axes, points)

    return to_svg(draw, size[0], size[1], title)


def _draw_panel(axes: Axes, panel: Panel) -> None:
    axes.set_title(panel.title)
    axes.grid(axis="y")
    if panel.diagonal:
        axes.plot([0, 1], [0, 1], **DASHED)
    for level in panel.levels:
        colour = SCHEMES["soft"][0]
        if level.low is not None and level.high is not None:
            axes.axhspan(level.low, level.high, color=colour, alpha=0.13, linewidth=0)
        axes.axhline(level.value, color=colour, linestyle=(0, (5, 4)), linewidth=1.3)
        right, above = _freest_corner(panel, level)
        _write(
            axes,
            level.name,
            (1 if right else 0, level.value),
            (0 if right else 4, 3 if above else -3),
            xycoords=("axes fraction", "data"),
            horizontalalignment="right" if right else "left",
            verticalalignment="bottom" if above else "top",
        )
    for line in panel.lines:
        if not line.points:
            continue
        across, up = zip(*line.points, strict=True)
        colour = SCHEMES[line.colour][0]
        if line.band:
            places, lows, highs = zip(*line.band, strict=True)
            axes.fill_between(places, lows, highs, color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            across,
            up,
            color=colour,
            linewidth=line.width,
            linestyle=(0, (4, 2)) if line.dashed else "-",
            label=line.name,
        )
        for place, value in line.points if line.marked else ():
            (found,) = axes.plot([place], [value], "o", color=colour, markersize=4.5)
            x_text, y_text = _words(panel.x.unit, True)(place), _words(panel.y.unit, True)(value)
            note(found, f"{line.name}: {y_text} at {x_text}")
    _scale(axes, "x", panel.x)
    _scale(axes, "y", panel.y)


def _freest_corner(panel: Panel, level: Level) -> tuple[bool, bool]:
    """Where a level's name is furthest from the lines: (at the right end, above the level)."""
    points = [point for line in panel.lines for point in line.points]
    start, end = min(x for x, _ in points), max(x for x, _ in points)

    def room(corner: tuple[bool, bool]) -> float:
        right, above = corner
        far = end - 0.25 * (end - start) if right else start + 0.25 * (end - start)
        near = [y - level.value for x, y in points if (x >= far if right else x <= far)]
        gaps = [gap if above else -gap for gap in near]
        return min((gap for gap in gaps if gap >= 0), default=inf)

    return max(((right, above) for right in (True, False) for above in (True, False)), key=room)


def _scale(axes: Axes, name: str, axis: Axis) -> None:
    """Label, scale, ends and ticks of the axis called x or y, once everything is drawn."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    found = axes.xaxis if name == "x" else axes.yaxis
    words = _words(axis.unit)
    if name == "y":
        # Above the axis, where it is read without turning the head; below a title if there is one.
        title = axes.get_title(loc="left")
        axes.set_title(title, pad=20 if title else 6)
        look = {"xycoords": "axes fraction", "verticalalignment": "baseline"}
        _write(axes, axis.label, (0, 1), (0, 6), **look)
    else:
        axes.set_xlabel(axis.label)
    if axis.log:
        axes.set(**{f"{name}scale": "log"})
        found.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        found.set_minor_formatter(NullFormatter())
    else:
        found.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    found.set_major_formatter(FuncFormatter(lambda value, _: words(value)))
    if axis.low is not None or axis.high is not None:
        axes.set(**{f"{name}lim": (axis.low, axis.high)})


def _words(unit: str, exact: bool = False) -> Callable[[float], str]:
    if unit == "percent":
        return lambda value: f"{100 * value:.{4 if exact else 3}g}%"
    return lambda value: f"{value / 1e6:.4g} M" if value >= 1e6 else f"{value:,.10g}"


def _write(
    axes: Axes,
    text: str,
    place: tuple[float, float],
    move: tuple[float, float],
    colour: str = "soft",
    **look: Any,
) -> Annotation:
    """Write `text` at `place` in the data, moved by `move` points."""
    look = {"verticalalignment": "center", "color": SCHEMES[colour][0], **look}
    return axes.annotate(text, place, xytext=move, textcoords="offset points", **look)


def _name_ends(figure: Figure, axes: Axes, lines: Iterable[Line]) -> None:
    """Each line's name to the right of its end, moved apart where two would meet."""
    names = [
        _write(axes, line.name, line.points[-1], (7, 0), line.colour, annotation_clip=False)
        for line in lines
        if line.points and line.name
    ]
    figure.draw_without_rendering()

    def end(name: Annotation) -> float:
        return float(axes.transData.transform(name.xy)[1])

    names.sort(key=end)
    ends = [end(name) for name in names]
    heights: list[float] = []
    for place in ends:
        heights.append(max(place, heights[-1] + STEP) if heights else place)
    # A pile that grew upwards is moved down by half of what it grew.
    drift = (sum(heights) - sum(ends)) / max(len(ends), 1)
    for name, place, height in zip(names, ends, heights, strict=True):
        name.set_position((7, height - drift - place))


def _name_points(axes: Axes, points: Sequence[Point]) -> None:
    """Each name beside its point, where it covers least of the points and of earlier names."""
    from matplotlib.transforms import Bbox

    taken: list[tuple[Bbox, int]] = []  # with what it costs to cover
    for point in points:
        (x, y), (_, low), (_, high) = axes.transData.transform(
            [(point.x, point.y), (point.x, point.low), (point.x, point.high)]
        )
        taken.append((Bbox([[x - 5, y - 5], [x + 5, y + 5]]), 1))
        taken.append((Bbox([[x - 3, low], [x + 3, high]]), 1))
    for point in (point for point in points if point.labelled):
        x, y = axes.transData.transform((point.x, point.y))
        text = axes.text(0, 0, point.name)
        size = text.get_window_extent()
        text.remove()
        best: tuple[float, Bbox, tuple[int, int]] | None = None
        for side, up in NAME_MOVES:
            left = x + side - (size.width if side < 0 else 0)
            box = Bbox.from_bounds(left, y + up - size.height / 2, size.width, size.height)
            cost = abs(up) + _out_of(box, axes.bbox) * 20
            cost += sum(weight * _overlap(box, other) for other, weight in taken)
            if best is None or cost < best[0]:
                best = (cost, box, (side, up))
        assert best is not None
        _, box, (side, up) = best
        taken.append((box, 5))
        name = _write(
            axes,
            point.name,
            (point.x, point.y),
            (side, up),
            "ink",
            horizontalalignment="left" if side > 0 else "right",
            arrowprops={**RULE, "arrowstyle": "-", "shrinkB": 3} if up else None,
        )
        name.set_in_layout(False)


def _overlap(one: Bbox, other: Bbox) -> float:
    both = type(one).intersection(one, other)
    return 0.0 if both is None else float(both.width * both.height)


def _out_of(box: Bbox, room: Bbox) -> float:
    """How far `box` reaches beyond `room`, in points."""
    over = (room.x0 - box.x0, box.x1 - room.x1, room.y0 - box.y0, box.y1 - room.y1)
    return float(sum(max(0.0, side) for side in over))
