"""The page: what was found as a section of `docs/performance.md`, and the plot beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from retort.loadtest.chart import Line, line_chart
from retort.loadtest.figures import Interval
from retort.loadtest.peers.findings import (
    WANTED_OF_BARE,
    WANTED_OF_INFINITY,
    Bout,
    Findings,
    Measured,
    Point,
    Standing,
)
from retort.loadtest.peers.peer import OURS
from retort.loadtest.report import write_section

BEGIN = "<!-- peers:begin (written by `retort peers`; change the command, not the text) -->"
END = "<!-- peers:end -->"
PICTURE = "peers.svg"
DASHES = ("", "7 4", "2 3")
COLOURS = 4


def write_page(findings: Findings, page: Path) -> list[Path]:
    """Put the section into `page` and the plot beside it; the files that were written.

    Raises `ValueError` if the page has text but not the markers.
    """
    write_section(page, to_markdown(findings), begin=BEGIN, end=END)
    picture = page.with_name(PICTURE)
    picture.write_text(to_svg(findings), encoding="utf-8")
    return [page, picture]


def to_svg(findings: Findings) -> str:
    """p99 against the offered load under the first workload, a line for each server."""
    bout = findings.bouts[0]
    lines = [
        Line(
            found.label,
            tuple((p.offered, p.latency.p99_ms) for p in found.points if p.latency is not None),
            number % COLOURS,
            DASHES[number // COLOURS % len(DASHES)],
        )
        for number, found in enumerate(bout.measured)
    ]
    return line_chart(
        [line for line in lines if line.points],
        title=f"p99 by offered load, {bout.words} a request",
        x_label="pairs offered a second (log)",
        y_label="p99, ms (log)",
        log_x=True,
        log_y=True,
    )


def to_markdown(findings: Findings) -> str:
    """The section: how it was measured, who ranks rightly, then a part for each workload."""
    setup = findings.setup
    lines = [
        f"Measured {setup.created} by `{setup.command}`.",
        "",
        f"* Machine: {setup.machine}; the load generator runs on it too",
        f"* Weights: {setup.bundle}, in all servers; ours runs on {setup.backend}",
        f"* Closed load: {setup.rounds} rounds, in each every server for {setup.seconds:g} s with "
        f"{setup.users} users, in turn, every other round backwards; mean (lowest to highest)",
        f"* Open load: Poisson arrivals for {setup.load_seconds:g} s or more, latency from when a "
        "request was due",
        "",
        "Ten passages for each of 60 real questions, against the same weights in float32:",
        "",
        "| server | same passage first | Kendall's tau | largest difference | |",
        "|---|---:|---:|---:|---|",
        *map(_standing_row, findings.standings),
    ]
    for bout in findings.bouts:
        lines += ["", *_bout(bout, setup.p99_ms)]
    if findings.bouts:
        lines += ["", *_wanted(findings.bouts[0])]
        lines += ["", f"![p99 by offered load]({PICTURE})"]
    return "\n".join(lines) + "\n"


def _standing_row(standing: Standing) -> str:
    found = standing.agreement
    if found is None:
        # What a process printed is long; its last line says what was wrong.
        problem = standing.problem.strip().splitlines()[-1][:200].replace("|", "/")
        return f"| {standing.label} | – | – | – | not run: {problem} |"
    verdict = "" if standing.right else "**ranks wrongly**, not measured"
    return (
        f"| {standing.label} | {found.top1:.1%} | {found.tau:.3f} "
        f"| {found.largest_difference:.4f} | {verdict} |"
    )


def _bout(bout: Bout, p99_ms: float) -> Iterator[str]:
    name = {"fixed": "Fixed length", "real": "Real questions"}.get(bout.workload, bout.workload)
    yield from (f"### {name}: {bout.words}", "")
    yield (
        f"| server | pairs/s, closed | retort is | highest load with p99 ≤ {p99_ms:g} ms "
        "| CPU s per 1,000 pairs | memory, MB | failed |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for found in bout.measured:
        yield _throughput_row(bout, found, p99_ms)
    if bout.bare:
        mean = sum(bout.bare) / len(bout.bare)
        low, high = min(bout.bare), max(bout.bare)
        yield f"| bare backend loop, no HTTP | {mean:,.0f} ({low:,.0f} to {high:,.0f}) | | | | | |"
    for words in bout.out:
        yield from ("", f"* Failed under this load: {words.strip().splitlines()[-1][:200]}")
    low = bout.measured[0].low.offered
    yield from (
        "",
        f"| latency, ms: p50 / p95 / p99 (requests) | {low:,.0f} pairs/s, all the same "
        "| 80% of its own pairs/s |",
        "|---|---:|---:|",
    )
    for found in bout.measured:
        yield f"| {found.label} | {_latency(found.low)} | {_latency(found.high)} |"


def _throughput_row(bout: Bout, found: Measured, p99_ms: float) -> str:
    mean = sum(found.rates) / len(found.rates)
    held = found.highest_within(p99_ms)
    times = None if found.name == OURS else bout.times(found.name)
    cells = [
        found.label,
        f"{mean:,.0f} ({min(found.rates):,.0f} to {max(found.rates):,.0f})",
        "" if times is None else f"{_interval(times)} times",
        "none" if held is None else f"{held.offered:,.0f}",
        f"{found.cpu_seconds_per_1000:.1f}",
        f"{found.memory_bytes / 1e6:,.0f}",
        f"{found.failed}",
    ]
    return f"| {' | '.join(cells)} |"


def _wanted(bout: Bout) -> Iterator[str]:
    yield from (f"| {bout.words} | measured | wanted |", "|---|---:|---:|")
    infinity, ours = bout.best_infinity, bout.of(OURS)
    if infinity is not None and ours is not None:
        times = bout.times(infinity.name)
        if times is not None:
            wanted = f"≥ {WANTED_OF_INFINITY:g}"
            yield f"| pairs/s over {infinity.label} | {_interval(times)} | {wanted} |"
        theirs, own = infinity.low.latency, ours.low.latency
        if theirs is not None and own is not None:
            yield f"| p99 at the same load over its | {own.p99_ms / theirs.p99_ms:.2f} | < 1 |"
    if bout.of_bare is not None:
        yield f"| HTTP over the bare loop | {_interval(bout.of_bare)} | ≥ {WANTED_OF_BARE:g} |"


def _latency(point: Point) -> str:
    if point.latency is None:
        return f"none answered ({point.requests})"
    found = point.latency
    failed = f", {point.error_share:.0%} failed" if point.error_share else ""
    return (
        f"{found.p50_ms:,.0f} / {found.p95_ms:,.0f} / {found.p99_ms:,.0f} "
        f"({point.requests}{failed})"
    )


def _interval(found: Interval) -> str:
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"
