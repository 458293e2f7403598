"""SVG by matplotlib: a drawing that stands alone or inside an HTML page, light and dark.

Text stays text, the background is transparent, and the colours follow the reader's scheme.
matplotlib comes with the extra `report` and is imported when something is drawn.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

# Each colour in the light scheme and in the dark one. The SVG is drawn in the light ones; its style
# sheet replaces them where the reader prefers dark, so a viewer without CSS still shows the plot.
SCHEMES = {
    "ink": ("#1f2328", "#f0f6fc"),
    "soft": ("#59636e", "#9aa3ad"),
    "rule": ("#d8dee4", "#2b323b"),
    "edge": ("#848d97", "#6b7480"),
    "base": ("#6e7781", "#8b949e"),
    "c0": ("#0f7b6c", "#3fb8a5"),
    "c1": ("#b85713", "#e0823d"),
    "c2": ("#7a4fb5", "#b394ec"),
    "c3": ("#2264b5", "#6aa8f0"),
    "c4": ("#b02a6b", "#ee7fb0"),
    "c5": ("#66700a", "#b9c455"),
}
FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "retort",  # the same figures give the same file
    "font.size": 11,
    **dict.fromkeys(("axes.spines.left", "axes.spines.right", "axes.spines.top"), False),
    **dict.fromkeys(("axes.labelcolor", "xtick.color", "ytick.color"), SCHEMES["soft"][0]),
    **dict.fromkeys(("axes.titlecolor", "text.color"), SCHEMES["ink"][0]),
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "axes.edgecolor": SCHEMES["edge"][0],
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.axisbelow": True,
    "grid.color": SCHEMES["rule"][0],
    "grid.linewidth": 0.8,
}
DOTS_PER_INCH = 72  # one unit of an SVG by matplotlib is a point


def to_svg(
    draw: Callable[[Figure], None],
    width: float,
    height: float,
    title: str,
    description: str = "",
) -> str:
    """The figure that `draw` fills, as SVG. Raises `ModuleNotFoundError` without matplotlib."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(
            figsize=(width / DOTS_PER_INCH, height / DOTS_PER_INCH),
            dpi=DOTS_PER_INCH,
            layout="constrained",
        )
        draw(figure)
        file = StringIO()
        figure.savefig(
            file, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    text = file.getvalue()
    text = re.sub(r" *<metadata>.*?</metadata>\n", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="note:(.*?)">', r"<g><title>\1</title>", text)
    text = re.sub(r"'DejaVu Sans'(?:, [^;\"]*)?", FONT, text)
    start = text.index("<svg")  # without XML's own head, so that it may stand in an HTML page
    opening, _, body = text[start:].partition(">")
    opening = re.sub(r' (?:width|height)="[^"]*"', "", opening)
    rules = "".join(
        f'[style*="{what}: {light}"]{{{what}:{dark}!important}}'
        for light, dark in SCHEMES.values()
        for what in ("fill", "stroke")
    )
    style = f"<style>@media(prefers-color-scheme:dark){{{rules}}}</style>"
    described = f"<desc>{escape(description)}</desc>" if description else ""
    return (
        f'{opening} role="img" aria-label="{escape(title)}">\n'
        f"<title>{escape(title)}</title>{described}\n{style}{body.rstrip()}\n"
    )


def note(artist: Artist, text: str) -> None:
    # matplotlib writes no tooltips: the id carries the text, and `to_svg` makes a title of it.
    artist.set_gid("note:" + text)
