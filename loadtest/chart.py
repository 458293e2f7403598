"""The chart: lines or bars as an SVG that stands alone, or inside a page.

Colours come from variables, so that it follows the reader's light or dark mode. Each point says
its values when the mouse rests on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 960, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 330, 34, 50  # the legend stands to the right
STYLE = """
.chart{--ink:#222;--faint:#ddd;--paper:#fff;--c0:#0b62c4;--c1:#c2410c;--c2:#15803d;--c3:#7c3aed;
font:12px system-ui,sans-serif}
@media (prefers-color-scheme:dark){.chart{--ink:#ddd;--faint:#444;--paper:#171717;--c0:#6db3ff;
--c1:#ff9a5c;--c2:#6ee7a0;--c3:#c4a5ff}}
.chart text{fill:var(--ink)}.chart .paper{fill:var(--paper)}.chart .grid{stroke:var(--faint)}
.chart .whisker{stroke:var(--ink);stroke-width:1.5}
"""


@dataclass(frozen=True, slots=True)
class Line:
    """Points (x, y) in order. `colour` counts from 0 to 3; `dash` is SVG's stroke-dasharray."""

    label: str
    points: tuple[tuple[float, float], ...]
    colour: int = 0
    dash: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A value with the range it had."""

    label: str
    value: float
    low: float
    high: float
    colour: int = 0


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high` over `length` pixels, in steps of powers of ten if `log`."""

    low: float
    high: float
    length: float
    log: bool

    @classmethod
    def over(cls, values: Sequence[float], length: float, log: bool) -> Axis:
        """An axis on which all the values have room. Raises `ValueError` if there is none."""
        if not values:
            raise ValueError("a chart needs at least one point")
        if not log:
            return cls(0.0, max(values) * 1.05 or 1.0, length, False)
        least = min(value for value in values if value > 0)
        return cls(least / 1.3, max(values) * 1.3, length, True)

    def place(self, value: float) -> float:
        """Pixels from the axis' beginning."""
        if self.log:
            value = max(value, self.low)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return share * self.length

    def ticks(self) -> list[float]:
        """Round numbers within the axis."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            all_of_them = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
            return [tick for tick in all_of_them if self.low <= tick <= self.high]
        rough = (self.high - self.low) / 6
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
        return [step * number for number in range(int(self.high / step) + 1)]


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
) -> str:
    """Lines over a common pair of axes. Raises `ValueError` if there is no point."""
    points = [point for line in lines for point in line.points]
    x = Axis.over([point[0] for point in points], WIDTH - LEFT - RIGHT, log_x)
    y = Axis.over([point[1] for point in points], HEIGHT - TOP - BOTTOM, log_y)
    floor = HEIGHT - BOTTOM

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return LEFT + x.place(point[0]), floor - y.place(point[1])

    parts = [_text((LEFT + WIDTH - RIGHT) / 2, 18, title, "middle", bold=True)]
    for tick in y.ticks():
        height = floor - y.place(tick)
        parts.append(_rule(LEFT, height, WIDTH - RIGHT, height))
        parts.append(_text(LEFT - 8, height + 4, f"{tick:,g}", "end"))
    for tick in x.ticks():
        place = LEFT + x.place(tick)
        parts.append(_rule(place, TOP, place, floor))
        parts.append(_text(place, floor + 18, f"{tick:,g}", "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_label, "middle"))
    parts.append(
        f'<text transform="translate(16 {(TOP + floor) / 2:.0f}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_label)}</text>'
    )
    for line in lines:
        places = [at(point) for point in line.points]
        path = " ".join(f"{across:.1f},{down:.1f}" for across, down in places)
        colour = f"var(--c{line.colour % 4})"
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{line.dash}"/>'
        )
        for point, (across, down) in zip(line.points, places, strict=True):
            told = escape(f"{line.label}: {point[1]:,.4g} at {point[0]:,.4g}")
            parts.append(
                f'<circle cx="{across:.1f}" cy="{down:.1f}" r="3.5" fill="{colour}">'
                f"<title>{told}</title></circle>"
            )
    for number, line in enumerate(lines):
        across, down = WIDTH - RIGHT + 16, TOP + 12 + 18 * number
        parts.append(
            f'<line x1="{across}" x2="{across + 28}" y1="{down - 4}" y2="{down - 4}" '
            f'stroke="var(--c{line.colour % 4})" stroke-width="2" stroke-dasharray="{line.dash}"/>'
        )
        parts.append(_text(across + 34, down, line.label, "start"))
    return _svg(parts, HEIGHT, title)


def bar_chart(bars: Sequence[Bar], *, title: str, unit: str) -> str:
    """Bars lying one below the other, with whiskers. Raises `ValueError` if there is none."""
    left = 330
    x = Axis.over([bar.high for bar in bars], WIDTH - left - 110, log=False)
    height = TOP + 34 * len(bars) + 12
    parts = [_text(WIDTH / 2, 18, title, "middle", bold=True)]
    for number, bar in enumerate(bars):
        top = TOP + 34 * number + 6
        end, low, high = (left + x.place(value) for value in (bar.value, bar.low, bar.high))
        told = escape(f"{bar.label}: {bar.value:,.4g} ({bar.low:,.4g} to {bar.high:,.4g}) {unit}")
        parts += [
            _text(left - 8, top + 15, bar.label, "end"),
            f'<rect x="{left}" y="{top}" width="{max(1.0, end - left):.1f}" height="22" '
            f'fill="var(--c{bar.colour % 4})"><title>{told}</title></rect>',
            f'<line class="whisker" x1="{low:.1f}" x2="{high:.1f}" y1="{top + 11}" '
            f'y2="{top + 11}"/>',
            _text(max(end, high) + 8, top + 15, f"{_short(bar.value)} {unit}", "start"),
        ]
    return _svg(parts, height, title)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _text(across: float, down: float, words: str, anchor: str, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{across:.1f}" y="{down:.1f}" text-anchor="{anchor}"{weight}>'
        f"{escape(words)}</text>"
    )


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="grid" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _svg(parts: Sequence[str], height: float, title: str) -> str:
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {WIDTH} {height:g}" '
        f'width="{WIDTH}" role="img" aria-label="{escape(title)}">\n<style>{STYLE}</style>\n'
        f'<rect class="paper" width="100%" height="100%"/>\n{inside}\n</svg>\n'
    )
