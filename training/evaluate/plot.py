"""A line plot as SVG, written by hand: one panel of lines, with bands, levels and a legend.

It has no outside font, style or script, and follows the reader's light or dark scheme.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 430, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 24, 34, 44
COLOURS = ("#0f7b6c", "#bf5b16", "#7a4fb5", "#2264b5")

STYLE = """<style>
    text { font: 12px ui-sans-serif, system-ui, sans-serif; fill: #59636e }
    .title { font-weight: 600; font-size: 13px; fill: #1f2328 }
    .axis { stroke: #8b949e; stroke-width: 1 }
    .grid { stroke: #8b949e; stroke-width: .5; opacity: .35 }
    .line { fill: none; stroke-width: 2; stroke-linejoin: round }
    .level { stroke-width: 1.5; stroke-dasharray: 5 4; stroke: #59636e }
    .band { fill: #59636e; opacity: .13 }
    @media (prefers-color-scheme: dark) {
      text { fill: #9198a1 } .title { fill: #f0f6fc }
      .level { stroke: #9198a1 } .band { fill: #9198a1 }
    }
  </style>"""


@dataclass(frozen=True, slots=True)
class Line:
    """Points (x, y) in order of x; the width of the line says how much it matters."""

    name: str
    points: tuple[tuple[float, float], ...]
    bold: bool = False


@dataclass(frozen=True, slots=True)
class Level:
    """A horizontal line with its name, and a band around it where it has bounds."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot; x runs from 0 to 1 and is written in per cent."""

    title: str
    x_label: str
    lines: tuple[Line, ...]
    levels: tuple[Level, ...] = ()


def draw(panels: Sequence[Panel], title: str, description: str, columns: int = 2) -> str:
    """The panels side by side, `columns` in a row, with one legend below them."""
    rows = ceil(len(panels) / columns)
    wide, high = WIDTH * min(columns, len(panels)), HEIGHT * rows
    names = list(dict.fromkeys(line.name for panel in panels for line in panel.lines))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high + 30}" role="img" '
        'aria-labelledby="title desc">',
        f'  <title id="title">{escape(title)}</title>',
        f'  <desc id="desc">{escape(description)}</desc>',
        f"  {STYLE}",
    ]
    for number, panel in enumerate(panels):
        x, y = WIDTH * (number % columns), HEIGHT * (number // columns)
        parts.append(f'  <g transform="translate({x} {y})">')
        parts += [f"    {part}" for part in _panel(panel, names)]
        parts.append("  </g>")
    for number, name in enumerate(names):
        x, y = LEFT + number * 100, high + 14
        parts.append(
            f'  <path class="line" stroke="{_colour(names, name)}" d="M{x} {y}h22"/>'
            f'<text x="{x + 28}" y="{y + 4}">{escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, names: Sequence[str]) -> list[str]:
    values = [y for line in panel.lines for _, y in line.points]
    for level in panel.levels:
        bounds = (level.low, level.value, level.high)
        values += [bound for bound in bounds if bound is not None]
    ticks = round_ticks(min(values), max(values))
    low, high = ticks[0], ticks[-1]
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def across(x: float) -> float:
        return round(LEFT + x * (right - LEFT), 1)

    def down(y: float) -> float:
        return round(bottom - (y - low) / (high - low) * (bottom - TOP), 1)

    parts = [f'<text class="title" x="{LEFT}" y="18">{escape(panel.title)}</text>']
    for tick in ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {down(tick)}H{right}"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{down(tick) + 4}" text-anchor="end">{tick:.3g}</text>'
        )
    for quarter in (0.0, 0.25, 0.5, 0.75, 1.0):
        place = f'x="{across(quarter)}" y="{bottom + 16}"'
        parts.append(f'<text {place} text-anchor="middle">{quarter:.0%}</text>')
    middle = (LEFT + right) / 2
    parts.append(
        f'<text x="{middle}" y="{bottom + 34}" text-anchor="middle">{escape(panel.x_label)}</text>'
    )
    parts.append(f'<path class="axis" d="M{LEFT} {bottom}H{right}"/>')
    for level in panel.levels:
        if level.low is not None and level.high is not None:
            top = down(level.high)
            parts.append(
                f'<rect class="band" x="{LEFT}" y="{top}" width="{right - LEFT}" '
                f'height="{round(down(level.low) - top, 1)}"/>'
            )
        parts.append(f'<path class="level" d="M{LEFT} {down(level.value)}H{right}"/>')
        parts.append(
            f'<text x="{right}" y="{down(level.value) - 4}" text-anchor="end">'
            f"{escape(level.name)}</text>"
        )
    for line in panel.lines:
        path = "L".join(f"{across(x)} {down(y)}" for x, y in line.points)
        weight = 3 if line.bold else 1.5
        parts.append(
            f'<path class="line" style="stroke-width:{weight}" '
            f'stroke="{_colour(names, line.name)}" d="M{path}"/>'
        )
    return parts


def _colour(names: Sequence[str], name: str) -> str:
    return COLOURS[names.index(name) % len(COLOURS)]


def round_ticks(low: float, high: float) -> list[float]:
    """Four to nine round numbers, from one at or below `low` to one at or above `high`."""
    rough = max(high - low, 1e-6) / 4
    unit = 10.0 ** floor(log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
    first = floor(low / step)
    last = max(ceil(high / step), first + 1)
    return [round(step * number, 10) for number in range(first, last + 1)]
