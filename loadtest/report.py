"""The report: what a benchmark found, as JSON for machines and as Markdown for `docs/`.

The Markdown stands between two markers, so that a page can hold other words beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from retort.loadtest.figures import Latency, Spread, percentile, ratios

BEGIN = "<!-- bench:begin (written by `retort bench`; change the command, not the text) -->"
END = "<!-- bench:end -->"

# What the project holds itself to, see README.
WANTED_OF_BARE = 0.85
WANTED_OF_REFERENCE = 3.0
WANTED_OF_FORWARD = 1.3


@dataclass(frozen=True, slots=True)
class Setup:
    """What was measured, where and how."""

    bundle: str
    backend: str
    machine: str
    load: str
    clients: int
    passages: int
    seconds: float
    created: str
    batch_pairs: int
    command: str
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """One round, every measurement once: rates in pairs/s, latencies in seconds."""

    bare: float
    http: float
    forward: tuple[float, ...]
    idle: tuple[float, ...]
    busy: tuple[float, ...]
    failed: int = 0
    reference: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Rates, their ratios with the spread over rounds, and latencies over all rounds together."""

    setup: Setup
    bare: Spread
    http: Spread
    reference: Spread | None
    http_of_bare: Spread
    http_of_reference: Spread | None
    idle_of_forward: Spread
    busy: Latency
    idle: Latency
    forward: Latency
    failed: int

    @classmethod
    def of(cls, setup: Setup, rounds: Sequence[Round]) -> Report:
        """Sum up the rounds. Raises `ValueError` if there is none or one had no answer."""
        bare = [found.bare for found in rounds]
        http = [found.http for found in rounds]
        reference = [found.reference for found in rounds if found.reference is not None]
        idle = [percentile(found.idle, 50) for found in rounds]
        forward = [percentile(found.forward, 50) for found in rounds]
        return cls(
            setup=setup,
            bare=Spread.over(bare),
            http=Spread.over(http),
            reference=Spread.over(reference) if reference else None,
            http_of_bare=ratios(http, bare),
            http_of_reference=ratios(http, reference) if reference else None,
            idle_of_forward=ratios(idle, forward),
            busy=Latency.of([t for found in rounds for t in found.busy]),
            idle=Latency.of([t for found in rounds for t in found.idle]),
            forward=Latency.of([t for found in rounds for t in found.forward]),
            failed=sum(found.failed for found in rounds),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return asdict(self)

    def to_markdown(self) -> str:
        """A section: the setup, the rates, the ratios beside what was wanted, the latencies."""
        setup = self.setup
        clients = f"{setup.clients} concurrent clients"
        rates = [("Bare backend loop", self.bare), (f"Server, {clients}", self.http)]
        shares = [
            ("server / bare backend loop", self.http_of_bare, f"≥ {WANTED_OF_BARE}"),
            ("idle p50 / one bare forward pass", self.idle_of_forward, f"≤ {WANTED_OF_FORWARD}"),
        ]
        if self.reference and self.http_of_reference:
            rates.append(("`CrossEncoder.predict`, PyTorch fp32", self.reference))
            wanted = f"≥ {WANTED_OF_REFERENCE:g}"
            shares.insert(1, ("server / `CrossEncoder.predict`", self.http_of_reference, wanted))
        latencies = [
            (f"a request, {clients}", self.busy),
            ("a request, one idle client", self.idle),
            (f"one bare forward pass, {setup.passages} pairs", self.forward),
        ]
        lines = [
            f"Measured {setup.created} by `{setup.command}`.",
            "",
            f"* Machine: {setup.machine}",
            f"* Student: {setup.bundle}, backend {setup.backend}",
            f"* Load: {setup.load}; the bare loop runs batches of {setup.batch_pairs} pairs, "
            "the server's own mean under this load",
            *([f"* Reference: {setup.reference}"] if setup.reference else []),
            f"* {self.bare.rounds} rounds, in each every measurement for {setup.seconds:g} s in "
            "turn; ratios are taken within a round. Median (lowest to highest).",
            f"* Requests that failed: {self.failed}",
            "",
            "| pairs/s | median | over rounds |",
            "|---|---:|---:|",
            *(f"| {name} | {s.median:,.0f} | {s.low:,.0f} to {s.high:,.0f} |" for name, s in rates),
            "",
            "| ratio | median | over rounds | wanted |",
            "|---|---:|---:|---:|",
            *(
                f"| {name} | {s.median:.2f} | {s.low:.2f} to {s.high:.2f} | {wanted} |"
                for name, s, wanted in shares
            ),
            "",
            "| latency, ms | p50 | p95 | p99 | n |",
            "|---|---:|---:|---:|---:|",
            *(
                f"| {name} | {t.p50_ms:.1f} | {t.p95_ms:.1f} | {t.p99_ms:.1f} | {t.count:,} |"
                for name, t in latencies
            ),
        ]
        return "\n".join(lines) + "\n"


def write_section(
    page: Path, text: str, title: str = "Performance", *, begin: str = BEGIN, end: str = END
) -> None:
    """Put `text` between the markers of `page`; a page that is not there is begun.

    Raises `ValueError` if the page has text but not both markers, in order.
    """
    section = f"{begin}\n{text}{end}"
    if not page.exists():
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"# {title}\n\n{section}\n", encoding="utf-8")
        return
    old = page.read_text(encoding="utf-8")
    before, found, rest = old.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(
            f"{page} lacks the markers {begin!r} and {end!r}: add them where the report belongs"
        )
    page.write_text(f"{before}{section}{after}", encoding="utf-8")
