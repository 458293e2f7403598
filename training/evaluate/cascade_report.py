"""The cascade's page: the curve as tables and one picture, written from its JSON alone."""

from __future__ import annotations

from retort.training.evaluate.cascade import WAYS, CascadeReport, Point, SetCurve
from retort.training.evaluate.plot import Level, Line, Panel, draw
from retort.training.evaluate.report import interval, signed, table

TITLES = {"AP": "MAP"}  # the mean over queries of average precision


def render_cascade(report: CascadeReport, source: str = "", picture: str = "") -> str:
    """The page. `source` is the JSON it is made from, `picture` the plot's path beside it."""
    sections = [_head(report, source), _summary(report)]
    if picture:
        sections.append(f"![Quality against the share sent to the teacher]({picture})")
    sections += [_set(item, report) for item in report.sets]
    sections.append(_legend(report))
    return "\n\n".join(sections) + "\n"


def plot_cascade(report: CascadeReport) -> str:
    """The curves as SVG, one panel a set, by its headline measure."""
    panels = []
    for item in report.sets:
        measure = item.headline
        start = item.student[measure].value
        teacher = item.teacher[measure]
        lines = tuple(
            Line(
                way,
                ((0.0, start), *((p.sent, p.measures[measure].value) for p in points)),
                bold=way == "served",
            )
            for way, points in item.ways.items()
        )
        level = Level("teacher", teacher.value, teacher.low, teacher.high)
        title = f"{item.name}, {TITLES.get(measure, measure)}"
        panels.append(Panel(title, "passages sent to the teacher", lines, (level,)))
    return draw(
        panels,
        "Cascade: ranking quality against the share of passages sent to the teacher",
        "Lines by the way of choosing passages: by spread, by margin, at random, and as served. "
        "The dashed line is the teacher on all passages, the band its interval.",
    )


def _head(report: CascadeReport, source: str) -> str:
    lines = ["# Cascade", ""]
    lines.append(
        f"`{report.student}` ranks all passages; some go on to `{report.teacher}`. How good is the "
        f"ranking against how many go? Measured {report.created}."
    )
    if source:
        command = f"retort cascade --from {source} --report docs/cascade.md"
        lines += ["", f"Generated from `{source}`. To write this page again:", ""]
        lines += ["```sh", command, "```"]
    return "\n".join(lines)


def _summary(report: CascadeReport) -> str:
    header = ["set", "measure", "student", "cascade", "sent", "teacher", "within"]
    rows = []
    for item in report.sets:
        measure = item.headline
        point = _served(item, report.share)
        value, teacher = point.measures[measure].value, item.teacher[measure]
        reached = item.reached[measure]
        rows.append(
            [
                item.name,
                TITLES.get(measure, measure),
                f"{item.student[measure].value:.4f}",
                f"{value:.4f}",
                f"{point.sent:.1%}",
                interval(teacher),
                ("yes" if value >= teacher.low else "no")
                + ("" if reached is None else f"; first at {reached:.1%} sent"),
            ]
        )
    lead = (
        f"With at most {report.share:.0%} of a request's passages sent, as the server does with "
        f"`cascade_share` {report.share:g}:"
    )
    note = (
        "within: whether the cascade lies in the teacher's interval, and the share that first did."
    )
    return "\n".join(["## In short", "", lead, "", *table(header, rows), "", note])


def _served(item: SetCurve, share: float) -> Point:
    return next(point for point in item.ways["served"] if point.share == share)


def _set(item: SetCurve, report: CascadeReport) -> str:
    measure = item.headline
    name = TITLES.get(measure, measure)
    header = ["at most", *(f"{way}: sent, {name}" for way in WAYS)]
    rows = [
        [
            f"{points[0].share:.0%}",
            *(f"{p.sent:.1%}, {interval(p.measures[measure])}" for p in points),
        ]
        for points in zip(*(item.ways[way] for way in WAYS), strict=True)
    ]
    against = [
        [f"served minus {other}", *(signed(values[m], bounds=True) for m in values)]
        for other, values in item.against.items()
    ]
    measures = [TITLES.get(m, m) for m in item.student]
    return "\n".join(
        [
            f"## {item.name}",
            "",
            f"{item.pairs:,} pairs of {item.queries:,} queries. Student alone "
            f"{interval(item.student[measure])}, teacher alone {interval(item.teacher[measure])}.",
            "",
            *table(header, rows),
            "",
            f"At {report.share:.0%}:",
            "",
            *table(["difference", *measures], against),
        ]
    )


def _legend(report: CascadeReport) -> str:
    cut = "the first passage" if report.top_n is None else f"the first and the first {report.top_n}"
    return "\n".join(
        [
            "## How to read it",
            "",
            f"Passages are chosen as a server chooses them for a client who looks at {cut} "
            "(`service/cascade.py`). A share is that of each request's passages, rounded down, so "
            "of a short list less is sent, or nothing. A passage that was sent gets the mean of "
            "both scores.",
            "",
            "* spread: nearest to the cut beside the spread of the student's heads",
            "* margin: nearest to the cut, without regard to spread",
            "* random: any passages, the mean of four draws",
            f"* served: by spread, and none further from the cut than {report.reach:g} spreads",
            "",
            f"Brackets are {report.confidence:.0%} intervals: paired bootstrap over queries, "
            f"percentiles, {report.resamples:,} resamples, seed {report.seed}. The server sends "
            "less than this where a request's deadline comes first.",
        ]
    )
