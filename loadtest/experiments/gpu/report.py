"""The report of a GPU: a page and a record from the parts that are there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from retort.loadtest.experiments.gpu.parts import Found, read_failures, read_parts
from retort.loadtest.report import SCRIPTS, to_markdown
from retort.loadtest.result import Cell, Column, Measurement, Setup, Table, to_json
from retort.loadtest.rounds import Spread, ratios

PROBE_COLUMNS = (
    Column("student"), Column("golden pairs"), Column("largest difference", "score"),
    Column("tolerance", "score"), Column("CUDA graphs"), Column("loaded in, s", "s"),
)  # fmt: skip
SERVER_COLUMNS = (
    Column("server"), Column("pairs/s", "pairs/s"), Column("of the bare loop", "ratio"),
    Column("idle p50, ms", "ms"), Column("busy p99, ms", "ms"), Column("failed", "count"),
    Column("clients", "count"), Column("busiest client process", "share"),
)  # fmt: skip


def write_report(out: Path) -> None:
    """Write `gpu.md`, `gpu.json` and `record.json` into `out` from what lies in `out`/parts.

    `record.json` is a record as docs/measured has them. A part that failed is shown with the end of
    what it printed; the others stand without it.
    """
    parts, failed = read_parts(out), read_failures(out)
    record = [measurement(parts)]
    page = [to_markdown(record)]
    for name, text in failed.items():
        page += [f"Part `{name}` failed:\n", "```", *text.splitlines()[-12:], "```\n"]
    for file, text in {
        "gpu.json": json.dumps({**parts, "failed": failed}, indent=2),
        "record.json": to_json(record),
        "gpu.md": "\n".join(page),
    }.items():
        (out / file).write_text(f"{text.rstrip()}\n", encoding="utf-8")


def measurement(parts: Mapping[str, Found]) -> Measurement:
    """The record of the parts that are there."""
    found = parts.get("machine", {})
    versions = ", ".join(f"{name} {text}" for name, text in found.get("versions", {}).items())
    facts = (
        f"GPU: {found.get('gpu') or 'none'}",
        f"Versions: {versions or 'unknown'}",
        f"Pairs of {found.get('tokens')} tokens; over HTTP, passages come again, so their tokens "
        "are in the cache",
    )
    tables = (
        Table("probes", PROBE_COLUMNS, tuple(_probes(parts)), "Whether the student scores right"),
        *_bare(parts.get("bare", {}).get("rounds", [])),
        Table("servers", SERVER_COLUMNS, tuple(_servers(parts)), "Over HTTP"),
    )
    setup = Setup.now(found.get("bundle", "unknown"), SCRIPTS["gpu"])
    return Measurement("gpu", "gpu", setup, facts, tuple(each for each in tables if each.rows))


def _probes(parts: Mapping[str, Found]) -> Iterator[tuple[Cell, ...]]:
    for name, part in parts.items():
        if name.startswith("probe-"):
            yield (
                name.removeprefix("probe-"),
                "reproduced" if part["passed"] else "**not reproduced**",
                part["golden"]["max_difference"],
                part["golden"]["tolerance"],
                "yes" if part["cuda_graphs"] else "no",
                part["seconds"],
            )


def _bare(rounds: Sequence[Found]) -> Iterator[Table]:
    """For each size of batch: rates, ratios to PyTorch's student within a round, latency."""
    names = list(rounds[0]) if rounds else []
    base = next((name for name in names if name.startswith("PyTorch")), "".join(names[:1]))
    for size in rounds[0][base] if rounds else ():
        rates = {name: [each[name][size]["pairs_per_second"] for each in rounds] for name in names}
        rows = tuple(
            (
                name,
                Spread.over(rates[name]),
                ratios(rates[name], rates[base]),
                median(each[name][size]["p50_ms"] for each in rounds),
            )
            for name in names
        )
        columns = (
            Column(f"{size} pairs"), Column("pairs/s", "pairs/s"),
            Column(f"over {base}", "ratio"), Column("p50 of one pass, ms", "ms"),
        )  # fmt: skip
        yield Table(f"bare {size}", columns, rows, f"Forward passes of {size} pairs, in turn")


def _servers(parts: Mapping[str, Found]) -> Iterator[tuple[Cell, ...]]:
    for name, part in parts.items():
        if not name.startswith("http-"):
            continue
        for load in part["loads"]:
            count = load["workers"]
            front_ends = f"{count or 'usual'} front end{'s' * (count != 1)}"
            yield (
                f"{name.removeprefix('http-')}, {front_ends}, {load['passages']} passages",
                Spread.over(load["rates"]),
                ratios(load["rates"], load["bare"]) if load["bare"] else None,
                median(load["idle_p50"]) if load["idle_p50"] else None,
                median(load["busy_p99"]),
                load["failed"],
                load["clients"],
                max(load["client_cpu"]),
            )
