"""The comparison's page: Markdown for `docs/`, and HTML that needs no other file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from retort.loadtest.chart import Bar, Line, bar_chart, line_chart
from retort.loadtest.comparison import (
    STUDENT,
    WANTED_SHADOW_LOSS,
    Comparison,
    LoadPoint,
    Role,
    Target,
)

TITLE = "Student against teachers, under load"
METHOD = (
    "Every server is a process of its own, asked over HTTP by Locust in another. Of those compared "
    "here all run at once, but only the one whose turn it is has work; each round gives each of "
    "them its turn, every other round backwards. Server and load share the machine.",
    "Throughput comes from a closed loop: a set number of users, each of whom asks again as soon "
    "as it is answered. A speedup is the ratio of the mean rates, its interval a percentile "
    "bootstrap over the rounds, each round's figures drawn together; of few rounds it is too "
    "narrow.",
    "Latency comes from an open loop: requests are due at a set mean rate, whatever becomes of the "
    "others. Coordinated omission: a client that waits for its answer sends nothing while a server "
    "stalls, and so leaves out the very requests that would have waited. Here a latency counts "
    "from the moment a request was due, and not from when it was sent; one that was never "
    "answered is an error, and those due while the server stalled are all in the figures.",
)
SHAPE_ONLY = (
    "Shape only: a model with random weights, in part or all, that takes as long as a taught one; "
    "its scores mean nothing."
)
# Columns that hold no figures, so stand to the left.
WORDS = ("", "the student against", "server", "what runs", "requests that were shadowed")
Row = Sequence[str]


def tables(found: Comparison) -> Iterator[tuple[str, Row, list[Row]]]:
    """Title, head and rows of each table."""
    named = {figures.target.role: figures.target for figures in found.figures}
    yield (
        "Faster than a teacher",
        ("the student against", "times as many pairs/s", "95% interval", "wanted"),
        [
            (_label(s.teacher), f"{s.times.value:.1f}", f"{s.times.low:.1f} to {s.times.high:.1f}",
             f"≥ {s.wanted:g}")
            for s in found.speedups
        ],
    )  # fmt: skip
    if found.shadow_loss is not None:
        loss = found.shadow_loss
        yield (
            "What shadowing costs",
            ("", "share of the student's pairs/s", "95% interval", "wanted",
             "requests that were shadowed"),
            [("lost by shadowing", f"{loss.value:.1%}", f"{loss.low:.1%} to {loss.high:.1%}",
              f"< {WANTED_SHADOW_LOSS:.0%}",
              ", ".join(f"{count:,} {name}" for name, count in found.shadowed.items()) or "none")],
        )  # fmt: skip
    yield (
        f"Throughput, {found.setup.users} users in a closed loop",
        ("server", "pairs/s, median", "over rounds", "errors", "what runs"),
        [
            (_label(f.target), f"{f.spread.median:,.1f}",
             f"{f.spread.low:,.1f} to {f.spread.high:,.1f}", f"{f.error_share:.1%}",
             f.target.engine)
            for f in found.figures
        ],
    )  # fmt: skip
    if found.points:
        head = ("server", "requests/s due", "pairs/s answered", "p50 ms", "p95 ms", "p99 ms",
                "errors", "requests")  # fmt: skip
        rows: list[Row] = [
            (_label(named[p.role]), f"{p.offered:,.1f}", f"{p.answered:,.1f}", _ms(p.p50_ms),
             _ms(p.p95_ms), _ms(p.p99_ms), f"{p.error_share:.1%}", f"{p.requests:,}")
            for p in _by_role(found.points)
        ]  # fmt: skip
        yield "Latency against load, open loop", head, rows


def facts(found: Comparison) -> list[str]:
    """What was measured, where and how."""
    setup = found.setup
    late = max((point.sent_late_ms for point in found.points), default=0.0)
    return [
        f"Machine: {setup.machine}",
        f"Load: {setup.load}",
        f"{setup.rounds} rounds, in each {setup.seconds:g} s on every server",
        f"Each arrival rate for {setup.load_seconds:g} s; the rates are shares of what the server "
        "managed in the closed loop, the last more than it can do",
        f"The load process used at most {max(f.generator_cpu for f in found.figures):.0%} of one "
        f"core, and sent 99% of the requests within {late:.0f} ms of when they were due",
    ]


def charts(found: Comparison) -> dict[str, str]:
    """SVG by name; without open loads there is only the throughput."""
    bars = [
        Bar(_label(f.target), f.spread.median, f.spread.low, f.spread.high, _colour(f.target.role))
        for f in found.figures
    ]
    drawn = {"throughput": bar_chart(bars, title="Pairs a second", unit="pairs/s")}
    answered = [point for point in found.points if point.p50_ms is not None]
    if not answered:
        return drawn
    drawn["latency"] = line_chart(
        [line for role in _roles(answered) for line in _latency_lines(role, found)],
        title="Latency against load, from when a request was due",
        x_label="requests a second that were due",
        y_label="milliseconds",
        log_x=True,
        log_y=True,
    )
    for name, title, y_label in (
        ("answered", "Answered against due", "pairs answered a second"),
        ("errors", "Error share against load", "share not answered with 200, %"),
    ):
        drawn[name] = line_chart(
            [_line(role, found, name) for role in _roles(found.points)],
            title=title,
            x_label="requests a second that were due",
            y_label=y_label,
            log_x=True,
            log_y=name == "answered",
        )
    return drawn


def to_markdown(found: Comparison, picture: str | None = None) -> str:
    """The whole page; `picture` is the file that holds the latency chart."""
    lines = [f"# {TITLE}", ""]
    lines += [f"Measured {found.setup.created} by `{found.setup.command}`.", ""]
    if any(f.target.shape_only for f in found.figures):
        lines += [SHAPE_ONLY, ""]
    if picture is not None:
        lines += [f"![Latency against load]({picture})", ""]
    for title, head, rows in tables(found):
        lines += [f"## {title}", "", "| " + " | ".join(head) + " |"]
        lines.append("|" + "|".join("---" if name in WORDS else "---:" for name in head) + "|")
        lines += [
            "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows
        ]
        lines.append("")
    lines += ["## How it was measured", "", *(f"* {fact}" for fact in facts(found)), ""]
    lines += [line for paragraph in METHOD for line in (paragraph, "")]
    return "\n".join(lines).rstrip("\n") + "\n"


def to_html(found: Comparison) -> str:
    """The whole page, its charts in it; it asks no other host for anything."""
    parts = [f"<h1>{escape(TITLE)}</h1>"]
    parts.append(
        f"<p>Measured {found.setup.created} by <code>{escape(found.setup.command)}</code>.</p>"
    )
    if any(f.target.shape_only for f in found.figures):
        parts.append(f"<p>{SHAPE_ONLY}</p>")
    drawn = charts(found)
    for title, head, rows in tables(found):
        parts.append(f"<h2>{escape(title)}</h2><div class=wide><table><tr>")
        parts += [f"<th>{escape(cell)}</th>" for cell in head]
        for row in rows:
            parts.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row))
        parts.append("</table></div>")
        names = {"Throughput": ("throughput",), "Latency": ("latency", "answered", "errors")}
        for name in names.get(title.split(",")[0].split()[0], ()):
            parts.append(f"<div class=wide>{drawn[name]}</div>" if name in drawn else "")
    parts.append("<h2>How it was measured</h2><ul>")
    parts += [f"<li>{escape(fact)}</li>" for fact in facts(found)]
    parts.append("</ul>")
    parts += [f"<p>{escape(paragraph)}</p>" for paragraph in METHOD]
    return PAGE.format(title=escape(TITLE), body="\n".join(parts))


def write_pages(found: Comparison, markdown: Path) -> list[Path]:
    """Write `markdown`, and beside it `.html` and, with open loads, `.svg`; what was written."""
    markdown.parent.mkdir(parents=True, exist_ok=True)
    page, picture = markdown.with_suffix(".html"), markdown.with_suffix(".svg")
    latency = charts(found).get("latency")
    if latency is not None:
        picture.write_text(latency, encoding="utf-8")
    name = picture.name if latency is not None else None
    markdown.write_text(to_markdown(found, name), encoding="utf-8")
    page.write_text(to_html(found), encoding="utf-8")
    return [markdown, page, *([picture] if latency is not None else [])]


def _latency_lines(role: Role, found: Comparison) -> Iterator[Line]:
    label = _named(role, found)
    points = [point for point in found.points if point.role == role]
    for name, dash in (("p50", ""), ("p95", "7 3"), ("p99", "2 3")):
        values = [(p.offered, getattr(p, f"{name}_ms")) for p in points]
        yield Line(
            f"{label}, {name}",
            tuple((rate, value) for rate, value in values if value is not None),
            _colour(role),
            dash,
        )


def _line(role: Role, found: Comparison, name: str) -> Line:
    points = [point for point in found.points if point.role == role]
    values = [p.answered if name == "answered" else 100 * p.error_share for p in points]
    places = zip((p.offered for p in points), values, strict=True)
    return Line(_named(role, found), tuple(places), _colour(role))


def _named(role: Role, found: Comparison) -> str:
    return next(_label(f.target) for f in found.figures if f.target.role == role)


def _roles(points: Sequence[LoadPoint]) -> list[Role]:
    return list(dict.fromkeys(point.role for point in points))


def _by_role(points: Sequence[LoadPoint]) -> list[LoadPoint]:
    roles = _roles(points)
    return sorted(points, key=lambda point: (roles.index(point.role), point.offered))


def _colour(role: Role) -> int:
    return {STUDENT: 0, "teacher": 1, "same-backend": 2, "shadow": 0, "ensemble": 1}.get(role, 3)


def _label(target: Target) -> str:
    return f"{target.label} (shape only)" if target.shape_only else target.label


def _ms(value: float | None) -> str:
    return f"{value:,.1f}" if value is not None else "none answered"


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid #8884; font-variant-numeric: tabular-nums; }}
svg {{ max-width: 100%; height: auto; margin: 1rem 0; }}
</style>
{body}
</html>
"""
