"""The pages of `retort evaluate` and `retort cascade`, written from their JSON alone.

The prose stands in `quality.md.j2` and `cascade.md.j2`; here are the tables and the picture.
"""

from __future__ import annotations

from pathlib import Path

from retort.markdown import fill, interval, number, percent, signed, table
from retort.plots import COLOURS, Axis, Level, Line, Panel, line_plot
from retort.training.evaluate.cascade import WAYS, CascadeReport, Point, SetCurve
from retort.training.evaluate.evaluation import Comparison, EvaluationReport, Roles, SetResult
from retort.training.evaluate.measures import TITLES

FOLDER = Path(__file__).parent


def render_quality(report: EvaluationReport, source: str = "", target: str = "") -> str:
    """The page of an evaluation. `source` is the JSON and `target` the page in the line that
    writes it again."""
    return fill(
        FOLDER / "quality.md.j2",
        report=report,
        roles=report.roles,
        source=source,
        target=target or "docs/quality.md",
        summary=_summary(report),
        agreement=_agreement(report),
        sets=[(item, *_set_tables(item, report)) for item in report.sets],
    )


def _summary(report: EvaluationReport) -> str:
    roles = report.roles
    names = [roles.student, *roles.others]
    header = ["set", "measure", *names, *_compared_with(roles)]
    rows = []
    for item in report.sets:
        compared = item.comparisons[item.headline]
        values = [item.systems[name].measures.get(item.headline) for name in names]
        rows.append(
            [
                item.name,
                item.headline,
                *(number(value.value) if value else "" for value in values),
                *_compared(compared, roles),
            ]
        )
    return "\n".join(table(header, rows))


def _compared_with(roles: Roles) -> list[str]:
    """The columns of comparisons that there can be."""
    both = roles.teacher is not None and roles.undistilled is not None
    known = {
        "retained": roles.teacher is not None,
        "gain over undistilled": roles.undistilled is not None,
        "gap closed": both,
    }
    return [name for name, there in known.items() if there]


def _compared(found: Comparison, roles: Roles, *, bounds: bool = False) -> list[str]:
    """The cells of these columns."""
    cells = {
        "retained": percent(found.retained, bounds=bounds),
        "gain over undistilled": signed(found.gain, bounds=bounds),
        "gap closed": percent(found.gap_closed, bounds=bounds),
    }
    return [cells[name] for name in _compared_with(roles)]


def _agreement(report: EvaluationReport) -> str:
    rankings = [item for item in report.sets if item.agreement]
    rows = []
    for name, pooled in report.agreement.items():
        total = f"{pooled.top1:.1%}"
        if pooled.low is not None and pooled.high is not None:
            total += f" [{pooled.low:.1%}, {pooled.high:.1%}]"
        rows.append([name, *(percent(item.agreement.get(name)) for item in rankings), total])
    header = ["system", *(item.name for item in rankings), "all queries"]
    return "\n".join(table(header, rows)) if rows else ""


def _set_tables(item: SetResult, report: EvaluationReport) -> tuple[str, str]:
    """All systems by all measures; the student compared with the others, empty without any."""
    measures = sorted(
        {name for system in item.systems.values() for name in system.measures},
        key=lambda name: (name != item.headline, name),
    )
    calibrated = any(system.calibration_error is not None for system in item.systems.values())
    rows = []
    for name, system in item.systems.items():
        row = [name, *(interval(system.measures.get(measure)) for measure in measures)]
        rows.append([*row, number(system.calibration_error)] if calibrated else row)
    header = ["system", *measures, *(["calibration error"] if calibrated else [])]
    compared = [
        [measure, *_compared(item.comparisons[measure], report.roles, bounds=True)]
        for measure in measures
        if measure in item.comparisons and report.roles.others
    ]
    names = [f"{report.roles.student}, by", *_compared_with(report.roles)]
    return "\n".join(table(header, rows)), "\n".join(table(names, compared)) if compared else ""


def render_cascade(report: CascadeReport, source: str = "", picture: str = "") -> str:
    """The page of a cascade. `source` is the JSON, `picture` the plot's path from the page."""
    return fill(
        FOLDER / "cascade.md.j2",
        report=report,
        source=source,
        picture=picture,
        summary=[_summary_row(item, report.share) for item in report.sets],
        sets=[(item, *_curve_tables(item)) for item in report.sets],
    )


def _summary_row(item: SetCurve, share: float) -> list[str]:
    measure = item.headline
    point = next(point for point in item.ways["served"] if point.share == share)
    value, teacher, reached = point.measures[measure].value, item.teacher[measure], item.reached
    within = "yes" if value >= teacher.low else "no"
    if reached[measure] is not None:
        within += f"; first at {reached[measure]:.1%} sent"
    return [
        item.name,
        TITLES.get(measure, measure),
        number(item.student[measure].value),
        number(value),
        f"{point.sent:.1%}",
        interval(teacher),
        within,
    ]


def _curve_tables(item: SetCurve) -> tuple[str, str]:
    """Quality by share for each way of choosing; differences from the cascade as served."""
    name = TITLES.get(item.headline, item.headline)

    def cell(point: Point) -> str:
        return f"{point.sent:.1%}, {interval(point.measures[item.headline])}"

    rows = [
        [f"{points[0].share:.0%}", *map(cell, points)]
        for points in zip(*(item.ways[way] for way in WAYS), strict=True)
    ]
    against = [
        [f"served minus {other}", *(signed(found, bounds=True) for found in values.values())]
        for other, values in item.against.items()
    ]
    measures = [TITLES.get(measure, measure) for measure in item.student]
    return (
        "\n".join(table(["at most", *(f"{way}: sent, {name}" for way in WAYS)], rows)),
        "\n".join(table(["difference", *measures], against)),
    )


def plot_cascade(report: CascadeReport) -> str:
    """The curves as SVG, one panel per set, by its headline measure."""
    panels = []
    for item in report.sets:
        measure = item.headline
        start, teacher = item.student[measure].value, item.teacher[measure]
        lines = tuple(
            Line(
                way,
                ((0.0, start), *((p.sent, p.measures[measure].value) for p in points)),
                COLOURS[WAYS.index(way)],
                width=2.6 if way == "served" else 1.4,
            )
            for way, points in item.ways.items()
        )
        panels.append(
            Panel(
                item.name,
                Axis("passages sent to the teacher", "percent", low=0, high=1),
                Axis(TITLES.get(measure, measure)),
                lines,
                (Level("teacher", teacher.value, teacher.low, teacher.high),),
            )
        )
    return line_plot(
        panels,
        "Cascade: ranking quality against the share of passages sent to the teacher",
        "One line per way of choosing passages: by spread, by margin, at random, and as served. "
        "The dashed line is the teacher on all passages, the band its interval.",
    )
