"""The page docs/scores.md, and its plots, written from the figures of `retort trust` alone.

The prose stands in `scores.md.j2`; here are the tables and the pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retort.markdown import fill, interval, number, table
from retort.plots import COLOURS, Axis, Line, Panel, line_plot
from retort.training.evaluate.trust import Curve, TrustReport

FOLDER = Path(__file__).parent

# The largest errors that were wanted.
WANTED_SCORES, WANTED_ANSWERABLE = 0.05, 0.08
HIGHLIGHT = "highlight"  # the system that is served
SEEN = ("selqa",)  # sets of highlights that the student was trained on
SCORES_PLOT = "scores.svg"
DEPTHS_PLOT = "windows.svg"


def render_scores(report: TrustReport, source: str = "", target: str = "") -> str:
    """The page. `source` is the JSON and `target` the page in the line that writes it again.

    Sections of parts that were not measured are left out.
    """
    return fill(
        FOLDER / "scores.md.j2",
        report=report,
        source=source,
        target=target or "docs/scores.md",
        scores=_curves(report.scores, "pairs"),
        scores_off=_off(report.scores),
        scores_within=_within(report.scores, WANTED_SCORES),
        answerable=_curves(report.answerable, "lists"),
        answerable_off=_off(report.answerable),
        answerable_within=_within(report.answerable, WANTED_ANSWERABLE),
        heads=_heads(report),
        depths=_depths(report),
        depths_questions=" and ".join(map(str, sorted({i.queries for i in report.depths}))),
        query_tokens=report.query_tokens,
        cost=_cost(report),
        questions=_questions(report),
        highlights=_highlights(report),
        highlights_right=_right(report),
        scores_plot=SCORES_PLOT,
        depths_plot=DEPTHS_PLOT,
    )


def _off(curves: Sequence[Curve]) -> str:
    """From the least to the largest error."""
    errors = sorted(curve.error for curve in curves)
    return f"{errors[0]:.2f} to {errors[-1]:.2f}" if errors else ""


def _within(curves: Sequence[Curve], wanted: float) -> str:
    """On which sets the error is below `wanted`, and on which not."""
    near = [curve.name for curve in curves if curve.error < wanted]
    far = [curve.name for curve in curves if curve.error >= wanted]
    said = [f"{verb} on {', '.join(sets)}" for verb, sets in (("reached", near), ("missed", far))]
    return "; ".join(line for line, sets in zip(said, (near, far), strict=True) if sets)


def _right(report: TrustReport) -> str:
    """How often the highlight is right, by set; not of texts that the student was trained on."""
    own = [item for item in report.highlights if item.name not in SEEN]
    rates = [item.systems[HIGHLIGHT].value for item in own]
    return ", ".join(f"{r:.0%} ({item.name})" for r, item in zip(rates, own, strict=True))


def plot_scores(report: TrustReport) -> str:
    """Reliability of `score`, and of `answerable`, one line per set."""
    names = dict.fromkeys(curve.name for curve in (*report.scores, *report.answerable))
    colours = dict(zip(names, COLOURS, strict=False))

    def panel(title: str, what: str, share: str, curves: tuple[Curve, ...]) -> Panel:
        lines = tuple(
            Line(
                curve.name,
                tuple((one.score, one.relevant) for one in curve.bins),
                colours[curve.name],
                marked=True,
            )
            for curve in curves
        )
        across, up = (Axis(label, low=0.0, high=1.0) for label in (what, share))
        return Panel(title, across, up, lines, diagonal=True)

    panels = [panel("score", "score", "share that is relevant", report.scores)]
    if report.answerable:
        panels.append(
            panel("answerable", "answerable", "share that has an answer", report.answerable)
        )
    return line_plot(
        panels,
        "How often a score, and answerable, is right",
        "One line per set, ten bins of equal mass. On the dashed line, of a hundred pairs with "
        "score 0.8 eighty are relevant; below it the score says too much.",
        legend_columns=3,
    )


def plot_depths(report: TrustReport) -> str:
    """R@1 by the depth of the answer, read in windows and cut, one panel per long set."""
    panels = []
    for name in dict.fromkeys(item.name for item in report.depths):
        own = [item for item in report.depths if item.name == name]
        ways = {
            "read in windows": [item.windows for item in own],
            "cut at the model's length": [item.cut for item in own],
        }
        lines = tuple(
            Line(
                way,
                tuple((item.depth, e.value) for item, e in zip(own, found, strict=True)),
                colour,
                marked=True,
                band=tuple((item.depth, e.low, e.high) for item, e in zip(own, found, strict=True)),
            )
            for (way, found), colour in zip(ways.items(), COLOURS, strict=False)
        )
        axis = Axis("the answer is sentence … of 8")
        panels.append(Panel(name, axis, Axis("R@1", low=0.0, high=1.0), lines))
    return line_plot(
        panels,
        "The right chunk of 20 first, by where the answer is in it",
        "Read in windows, a chunk is found wherever its answer is; cut, at the beginning alone.",
        size=(430, 260),
    )


def _curves(curves: tuple[Curve, ...], what: str) -> str:
    plain = any(curve.plain_error is not None for curve in curves)
    header = ["set", what, "relevant", "error", "of which chance", "error, 15 equal widths"]
    rows = []
    for curve in curves:
        row = [
            curve.name,
            f"{curve.count:,}",
            f"{curve.relevant:.1%}",
            number(curve.error, ".3f"),
            number(curve.floor, ".3f"),
            number(curve.wide_error, ".3f"),
        ]
        rows.append([*row, number(curve.plain_error, ".3f")] if plain else row)
    return _table([*header, *(["uncalibrated, 15 widths"] if plain else [])], rows)


def _heads(report: TrustReport) -> str:
    rows = [
        [h.name, f"{h.queries:,}", interval(h.golden, ".3f"), interval(h.logits, ".3f")]
        for h in report.heads
    ]
    return _table(["set", "questions", "golden head alone", "mean of the logits"], rows)


def _depths(report: TrustReport) -> str:
    rows = [
        [item.name, str(item.depth), interval(item.windows, ".3f"), interval(item.cut, ".3f")]
        for item in report.depths
    ]
    return _table(["set", "depth", "read in windows", "cut at the model's length"], rows)


def _cost(report: TrustReport) -> str:
    rows = [
        [item.name, str(item.chunks), f"{item.words:.0f}", str(item.pairs)] for item in report.long
    ]
    return _table(["set", "passages", "words each", "pairs that are scored"], rows)


def _questions(report: TrustReport) -> str:
    found = report.questions
    if found is None:
        return ""
    rows = [[rule.name, *(interval(kept, ".2f") for kept in rule.kept)] for rule in found.rules]
    return _table(["what is kept", *found.preambles], rows)


def _highlights(report: TrustReport) -> str:
    systems = list(dict.fromkeys(name for item in report.highlights for name in item.systems))
    rows = [
        [
            item.name,
            f"{item.queries:,}",
            f"{item.sentences:.1f}",
            f"{item.slower:.1f}",
            number(item.chance, ".3f"),
            *(interval(item.systems.get(name), ".3f") for name in systems),
        ]
        for item in report.highlights
    ]
    return _table(
        ["set", "questions", "sentences each", "times as long", "by chance", *systems], rows
    )


def _table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join(table(header, rows)) if rows else ""
