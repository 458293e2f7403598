"""Charts of the study's page as inline SVG: lines, and dots with intervals.

Colours are classes that the page's style fills in, so that a chart follows the reader's light or
dark scheme. Every dot says its values when the mouse rests on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from retort.training.evaluate.plot import round_ticks

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 24, 30, 42
LABEL_HEIGHT, LETTER_WIDTH = 15, 6.6


@dataclass(frozen=True, slots=True)
class Series:
    """A line through points (x, y) in order of x, in the colour of a class."""

    name: str
    colour: str
    points: tuple[tuple[float, float], ...]
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Dot:
    """A point with its interval; a teacher's is hollow. Only what is `labelled` shows its name."""

    name: str
    colour: str
    x: float
    y: float
    low: float
    high: float
    told: str
    labelled: bool = True
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`, drawn from pixel `start` to pixel `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def place(self, value: float) -> float:
        """The pixel of a value."""
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """Round numbers within the axis."""
        if not self.log:
            ticks = round_ticks(self.low, self.high)
        else:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            factors = (1, 2, 5) if self.high / self.low < 50 else (1,)
            ticks = [factor * 10.0**power for power in powers for factor in factors]
        room = 1e-9 * abs(self.high)
        return [tick for tick in ticks if self.low - room <= tick <= self.high + room]


Words = Callable[[float], str]


def percent(value: float) -> str:
    """`50%`."""
    return f"{value:.0%}"


def short(value: float) -> str:
    """`200`, `2,000`, `17.5 M`."""
    return f"{value / 1e6:g} M" if value >= 1e6 else f"{value:,g}"


def line_chart(
    series: Sequence[Series],
    *,
    told: str,
    x_label: str,
    y_label: str,
    square: bool = False,
    from_zero: bool = True,
) -> str:
    """Lines over shares from 0 to 1, written in per cent. `square`: y is a share too, and a line
    shows where it equals x. Raises `ValueError` if there is no point."""
    values = [y for line in series for _, y in line.points]
    if not values:
        raise ValueError(f"{told}: no point to draw")
    ticks = round_ticks(0.0 if from_zero else min(values), max(values))
    y = _down(0.0, 1.0) if square else _down(ticks[0], ticks[-1])
    x = Axis(0.0, 1.0, LEFT, WIDTH - RIGHT)
    parts = [*_frame(x, y, x_label, y_label, percent, percent)]
    if square:
        parts.append(
            f'<path class="rule" d="M{x.place(0)} {y.place(0)}L{x.place(1)} {y.place(1)}"/>'
        )
    for line in series:
        places = [(x.place(across), y.place(down)) for across, down in line.points]
        path = "L".join(f"{across} {down}" for across, down in places)
        parts.append(f'<path class="line {line.colour}" d="M{path}"/>')
        for (across, down), (px, py) in zip(line.points, places, strict=True):
            if line.marked:
                words = escape(f"{line.name}: {down:.1%} at {across:.1%}")
                parts.append(
                    f'<circle class="dot {line.colour}" cx="{px}" cy="{py}" r="3.5">'
                    f"<title>{words}</title></circle>"
                )
    return _svg(parts, told)


def dot_chart(dots: Sequence[Dot], *, told: str, x_label: str, y_label: str) -> str:
    """Dots with intervals over a logarithmic x. Raises `ValueError` if there is none."""
    if not dots:
        raise ValueError(f"{told}: no point to draw")
    across = [dot.x for dot in dots]
    x = Axis(min(across) / 1.5, max(across) * 1.5, LEFT, WIDTH - RIGHT, log=True)
    low, high = min(dot.low for dot in dots), max(dot.high for dot in dots)
    y = _down(low - 0.04 * (high - low), high + 0.04 * (high - low))
    parts = [*_frame(x, y, x_label, y_label, short, "{:.3g}".format)]
    # What has a name is drawn last, above the rest.
    for dot in sorted(dots, key=lambda dot: dot.labelled):
        px, faint = x.place(dot.x), "" if dot.labelled else " faint"
        parts.append(
            f'<g class="{dot.colour}{faint}"><title>{escape(dot.told)}</title>'
            f'<path class="whisker" d="M{px} {y.place(dot.low)}V{y.place(dot.high)}"/>'
            f'<circle class="{"ring" if dot.hollow else "dot"}" cx="{px}" cy="{y.place(dot.y)}" '
            'r="4.5"/></g>'
        )
    parts += _labels(dots, x, y)
    return _svg(parts, told)


Box = tuple[float, float, float, float]  # left, top, right, bottom


def _labels(dots: Sequence[Dot], x: Axis, y: Axis) -> list[str]:
    """Names beside their dots, each where it covers least of the dots and of the names so far."""
    parts: list[str] = []
    taken: list[Box] = []
    for dot in dots:
        px, py = x.place(dot.x), y.place(dot.y)
        taken.append((px - 5, py - 5, px + 5, py + 5))
        taken.append((px - 1, y.place(dot.high), px + 1, y.place(dot.low)))
    for dot in [dot for dot in dots if dot.labelled]:
        px, py = x.place(dot.x), y.place(dot.y)
        width = LETTER_WIDTH * len(dot.name)
        tried: list[tuple[float, Box]] = []
        for down in (0, -LABEL_HEIGHT, LABEL_HEIGHT, -2 * LABEL_HEIGHT, 2 * LABEL_HEIGHT):
            for left in (px + 10, px - 10 - width):
                box = (left, py + down - 7, left + width, py + down + 7)
                outside = max(0.0, -box[0]) + max(0.0, box[2] - WIDTH)
                cost = sum(_overlap(box, other) for other in taken) + 20 * outside
                tried.append((cost + abs(down), box))
        box = min(tried)[1]
        taken.append(box)
        middle = (box[1] + box[3]) / 2
        near = box[0] - 2 if box[0] > px else box[2] + 2
        if middle != py:
            parts.append(f'<path class="lead-line" d="M{px} {py}L{near:.1f} {middle:.1f}"/>')
        side = "start" if box[0] > px else "end"
        parts.append(
            f'<text class="name" x="{box[0] if side == "start" else box[2]:.1f}" '
            f'y="{middle + 4:.1f}" text-anchor="{side}">{escape(dot.name)}</text>'
        )
    return parts


def _overlap(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, high)


def _down(low: float, high: float) -> Axis:
    room = 0.0 if high > low else 0.5 * abs(high) or 1.0
    return Axis(low - room, high + room, HEIGHT - BOTTOM, TOP)


def _frame(
    x: Axis, y: Axis, x_label: str, y_label: str, x_words: Words, y_words: Words
) -> list[str]:
    parts = [f'<text class="label" x="0" y="14">{escape(y_label)}</text>']
    for tick in y.ticks():
        place = y.place(tick)
        parts.append(f'<path class="grid" d="M{LEFT} {place}H{WIDTH - RIGHT}"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{place + 4}" text-anchor="end">{y_words(tick)}</text>'
        )
    for tick in x.ticks():
        parts.append(
            f'<text x="{x.place(tick)}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">'
            f"{x_words(tick)}</text>"
        )
    parts.append(f'<path class="axis" d="M{LEFT} {HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
    parts.append(
        f'<text class="label" x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">'
        f"{escape(x_label)}</text>"
    )
    return parts


def _svg(parts: Sequence[str], told: str) -> str:
    inside = "\n".join(parts)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(told)}">\n{inside}\n</svg>'
    )
