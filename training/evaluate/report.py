"""The quality report: an evaluation as a page of Markdown, written from its JSON alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from retort.training.evaluate.bootstrap import Estimate
from retort.training.evaluate.evaluation import EvaluationReport, SetResult

REGENERATE = "retort evaluate --from {source} --report {target}"


def render_report(report: EvaluationReport, source: str = "", target: str = "") -> str:
    """The page. `source` and `target` are the paths named in the line that makes it again."""
    sections = [_head(report, source, target), _summary(report)]
    if report.agreement:
        sections.append(_agreement(report))
    sections += [_set(item, report) for item in report.sets]
    sections.append(_legend(report))
    return "\n\n".join(sections) + "\n"


def _head(report: EvaluationReport, source: str, target: str) -> str:
    lines = ["# Quality", ""]
    if source:
        command = REGENERATE.format(source=source, target=target or "docs/quality.md")
        lines += [
            f"Generated from `{source}`, measured {report.created}. To write this page again:",
            "",
            "```sh",
            command,
            "```",
        ]
    else:
        lines += [f"Measured {report.created}."]
    return "\n".join(lines)


def _summary(report: EvaluationReport) -> str:
    roles = report.roles
    header = ["set", "measure", roles.student]
    header += [name for name in (roles.teacher, roles.undistilled) if name]
    header += ["retained", "gain over undistilled", "gap closed"]
    rows = []
    for item in report.sets:
        compared = item.comparisons[item.headline]
        names = [roles.student, *roles.others]
        values = [item.systems[name].measures.get(item.headline) for name in names]
        rows.append(
            [
                item.name,
                item.headline,
                *(number(value.value) if value else "" for value in values),
                percent(compared.retained),
                signed(compared.gain),
                percent(compared.gap_closed),
            ]
        )
    star = "\\* the interval excludes zero." if roles.undistilled else ""
    return "\n".join(["## In short", "", *table(header, rows), *(["", star] if star else [])])


def _agreement(report: EvaluationReport) -> str:
    rankings = [item for item in report.sets if item.agreement]
    header = ["system", *(item.name for item in rankings), "all queries"]
    rows = []
    for name, pooled in report.agreement.items():
        total = f"{pooled.top1:.1%}"
        if pooled.low is not None and pooled.high is not None:
            total += f" [{pooled.low:.1%}, {pooled.high:.1%}]"
        rows.append([name, *(percent(item.agreement.get(name)) for item in rankings), total])
    lead = f"On how many queries `{report.roles.student}` puts first what each other system does."
    return "\n".join(["## Top-1 agreement", "", lead, "", *table(header, rows)])


def _set(item: SetResult, report: EvaluationReport) -> str:
    measures = sorted(
        {name for system in item.systems.values() for name in system.measures},
        key=lambda name: (name != item.headline, name),
    )
    calibrated = any(system.calibration_error is not None for system in item.systems.values())
    header = ["system", *measures, *(["calibration error"] if calibrated else [])]
    rows = []
    for name, system in item.systems.items():
        row = [name, *(interval(system.measures.get(measure)) for measure in measures)]
        if calibrated:
            error = system.calibration_error
            row.append("" if error is None else number(error))
        rows.append(row)
    size = f"{item.pairs:,} pairs of {item.queries + item.skipped:,} queries"
    if item.skipped:
        size += f"; {item.skipped:,} queries have no relevant passage and are left out"
    lines = [f"## {item.name}", "", f"{size}.", "", *table(header, rows)]
    compared = [
        [
            measure,
            percent(item.comparisons[measure].retained, bounds=True),
            signed(item.comparisons[measure].gain, bounds=True),
            percent(item.comparisons[measure].gap_closed, bounds=True),
        ]
        for measure in measures
        if measure in item.comparisons
    ]
    if report.roles.others and compared:
        header = [f"{report.roles.student}, by", "retained", "gain over undistilled", "gap closed"]
        lines += ["", *table(header, compared)]
    return "\n".join(lines)


def _legend(report: EvaluationReport) -> str:
    roles = report.roles
    share = f"{report.confidence:.0%}"
    lines = [
        "## How to read it",
        "",
        f"Brackets are {share} intervals: paired bootstrap, percentiles, {report.resamples:,} "
        f"resamples, seed {report.seed}; over queries for AP, RR, nDCG and R, over pairs for AUC "
        "and accuracy. Tied passages are ranked by a hash, so a tie gains nothing. Accuracy (at "
        "0.5) and the expected calibration error (15 bins of equal width) are given where scores "
        "are probabilities.",
    ]
    if roles.teacher:
        lines += ["", f"* retained: `{roles.student}` over `{roles.teacher}`"]
    if roles.undistilled:
        lines += [f"* gain: `{roles.student}` minus `{roles.undistilled}`"]
    if roles.teacher and roles.undistilled:
        lines += [
            f"* gap closed: how much of the way from `{roles.undistilled}` to `{roles.teacher}`; "
            "empty where that way is no longer than its interval"
        ]
    return "\n".join(lines)


def number(value: float) -> str:
    """Four decimals: the fourth is already within every interval here."""
    return f"{value:.4f}"


def interval(estimate: Estimate | None) -> str:
    """`0.7712 [0.7401, 0.8010]`."""
    if estimate is None:
        return ""
    return f"{number(estimate.value)} [{number(estimate.low)}, {number(estimate.high)}]"


def signed(estimate: Estimate | None, bounds: bool = False) -> str:
    """`+0.0312 [+0.0201, +0.0420]`; without bounds a star says that they exclude zero."""
    if estimate is None:
        return ""
    if bounds:
        return f"{estimate.value:+.4f} [{estimate.low:+.4f}, {estimate.high:+.4f}]"
    return f"{estimate.value:+.4f}{'*' if estimate.excludes_zero else ''}"


def percent(estimate: Estimate | None, bounds: bool = False) -> str:
    """`97.3% [96.1%, 98.4%]`."""
    if estimate is None:
        return ""
    if bounds:
        return f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]"
    return f"{estimate.value:.1%}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]
