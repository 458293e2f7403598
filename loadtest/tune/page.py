"""The page: an outcome as a settings file for `retort serve` and as Markdown for `docs/`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import shorten

import yaml

from retort.loadtest.tune.outcome import Outcome, Place
from retort.loadtest.tune.screen import Heat

BEGIN = "<!-- tune:begin (written by `retort tune`; change the command, not the text) -->"
END = "<!-- tune:end -->"
# How the server begins to say that it cannot run; then comes what was asked, in brackets.
REFUSED = "no backend can run as asked ("


def to_settings(outcome: Outcome) -> str:
    """The settings file, with a head that says where its values come from."""
    setup = outcome.setup
    head = [
        f"Written {setup.created} by: {setup.command}",
        f"Machine: {setup.machine}",
        f"Bundle: {setup.described}",
        f"Load: {setup.load}",
        result(outcome),
        "Measured on this machine for this load: tune again where either differs.",
    ]
    values = yaml.safe_dump({"bundle": setup.bundle, **outcome.settings}, sort_keys=False)
    return "".join(f"# {line}\n" for line in head) + values


def write_settings(outcome: Outcome, path: Path) -> None:
    """Write the settings file; `retort serve --settings` reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_settings(outcome), encoding="utf-8")


def result(outcome: Outcome) -> str:
    """What was reached, in a sentence or two."""
    winner, defaults, target = outcome.winner, outcome.defaults, outcome.setup.target_ms
    assert winner.met is not None
    reached = (
        f"{winner.rate:.1f} requests ({winner.met.pairs_per_second:,.0f} pairs) a second with p99 "
        f"{winner.met.p99_ms:.1f} ms, within the target of {target:g} ms."
    )
    if winner is defaults:
        return f"{reached} These are what the server chooses by itself: nothing did better."
    if outcome.gain is None:
        return f"{reached} The defaults met the target at no rate that was tried."
    return (
        f"{reached} The defaults, in turn with it: {defaults.rate:.1f}, so this is "
        f"{outcome.gain:.2f} times as much."
    )


def to_markdown(outcome: Outcome) -> str:
    """A section: the setup, the winner, the servers that were tried, what was screened."""
    return "\n".join(_lines(outcome)) + "\n"


def _lines(outcome: Outcome) -> Iterator[str]:
    setup = outcome.setup
    yield from (
        f"Measured {setup.created} by `{setup.command}`.",
        "",
        f"* Machine: {setup.machine}",
        f"* Student: {setup.described}",
        f"* Load: {setup.load}",
        f"* Target: p99 of a request at most {setup.target_ms:g} ms",
        "",
        f"**{outcome.winner.candidate}**: {result(outcome)}",
        "",
        "Servers under open load, in turn. A rate met the target or missed it; the limit is "
        "between the two.",
        "",
        "| probes of | settings | met, requests/s | pairs/s | p50, ms | p99, ms | "
        "missed, requests/s |",
        "|---:|---|---:|---:|---:|---:|---:|",
    )
    for rung in outcome.rungs:
        for place in rung.places:
            yield f"| {rung.seconds:g} s | {place.candidate} | {_figures(place)} |"
    yield from (
        "",
        "Screened in one process, without HTTP, in turn: many clients for the rate, then one.",
        "",
        "| axis | candidate | pairs/s, median (lowest to highest) | one client alone, p99, ms |",
        "|---|---|---:|---:|",
    )
    for heat in outcome.heats:
        yield from _rows(heat)
    out = [left for heat in outcome.heats for left in heat.left_out]
    if out:
        yield ""
        yield "Not tried, for they do not run here or do not rank as the original:"
        yield ""
        yield from (f"* {left.candidate}: {_one_line(left.reason)}" for left in out)


def _figures(place: Place) -> str:
    met, missed = place.met, place.missed
    cells = (
        ["none", "–", "–", "–"]
        if met is None
        else [
            f"{met.rate:.1f}",
            f"{met.pairs_per_second:,.0f}",
            f"{met.p50_ms:.1f}",
            f"{met.p99_ms:.1f}",
        ]
    )
    return " | ".join([*cells, "–" if missed is None else f"{missed.rate:.1f}"])


def _rows(heat: Heat) -> Iterator[str]:
    for found in heat.screened:
        rate = found.rate
        yield (
            f"| {heat.axis} | {found.candidate} | {rate.median:,.0f} ({rate.low:,.0f} to "
            f"{rate.high:,.0f}) | {found.alone_p99_ms:.1f} |"
        )


def _one_line(reason: str) -> str:
    told = reason.partition("): ")[2] if reason.startswith(REFUSED) else reason
    return shorten(told, 160, placeholder=" …")
