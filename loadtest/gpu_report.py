"""The GPU report: what the parts of a measurement left, as `gpu.md` for people and `gpu.json`.

A part that failed is told with the end of what it printed; the others stand without it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

WANTED_OF_BARE, WANTED_RATE, WANTED_P50_MS = 0.8, 20_000, 3.0


def write_report(out: Path) -> None:
    """Write `gpu.md` and `gpu.json` into the folder `out` from what lies in `out`/parts."""
    parts = {
        file.stem: json.loads(file.read_text(encoding="utf-8"))
        for file in sorted((out / "parts").glob("*.json"))
    }
    failed = {
        file.stem: file.read_text(encoding="utf-8", errors="replace").strip()
        for file in sorted((out / "parts").glob("*.failed"))
    }
    found = {**parts, "failed": failed}
    (out / "gpu.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (out / "gpu.md").write_text("\n".join(page(parts, failed)) + "\n", encoding="utf-8")


def page(parts: dict[str, Any], failed: dict[str, str]) -> Iterator[str]:
    """The lines of the page."""
    yield from _machine(parts.get("machine", {}))
    yield from _probes(parts)
    if parts.get("bare", {}).get("rounds"):
        yield from _bare(parts["bare"]["rounds"])
    yield from _http(parts)
    for name, text in failed.items():
        yield from ["", f"Part `{name}` failed:", "", "```", *text.splitlines()[-12:], "```"]


def _machine(found: dict[str, Any]) -> Iterator[str]:
    yield f"* GPU: {found.get('gpu') or 'none'}"
    yield f"* Machine: {found.get('machine', 'not told')}"
    versions = ", ".join(f"{name} {text}" for name, text in found.get("versions", {}).items())
    yield f"* Versions: {versions or 'not told'}"
    yield f"* Student: {found.get('bundle', 'not told')}, pairs of {found.get('tokens')} tokens"


def _probes(parts: dict[str, Any]) -> Iterator[str]:
    rows = [(name.removeprefix("probe-"), f) for name, f in parts.items() if name[:6] == "probe-"]
    if not rows:
        return
    yield from ["", "| student | golden pairs | largest difference | CUDA graphs | loaded in, s |"]
    yield "|---|---|---:|---|---:|"
    for name, found in rows:
        golden = found["golden"]
        yield (
            f"| {name} | {'reproduced' if found['passed'] else '**not reproduced**'} "
            f"| {golden['max_difference']:.4f} of {golden['tolerance']:.4f} "
            f"| {'yes' if found['cuda_graphs'] else 'no'} | {found['seconds']:.1f} |"
        )


def _bare(rounds: list[dict[str, Any]]) -> Iterator[str]:
    names = list(rounds[0])
    sizes = list(rounds[0][names[0]])
    base = next((name for name in names if name.startswith("PyTorch")), names[0])
    yield ""
    yield (
        f"Forward passes in turn, {len(rounds)} rounds; ratios are to {base}, taken within a "
        "round. Median (lowest to highest)."
    )
    for size in sizes:
        yield from ["", f"| {size} passages | pairs/s | ratio | p50 of one pass, ms |"]
        yield "|---|---:|---:|---:|"
        for name in names:
            rates = [found[name][size]["pairs_per_second"] for found in rounds]
            times = [found[name][size]["p50_ms"] for found in rounds]
            against = [found[base][size]["pairs_per_second"] for found in rounds]
            shares = [rate / other for rate, other in zip(rates, against, strict=True)]
            yield (
                f"| {name} | {median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) "
                f"| {median(shares):.2f} | {median(times):.2f} |"
            )


def _http(parts: dict[str, Any]) -> Iterator[str]:
    rows = [
        (name.removeprefix("http-"), int(size), found)
        for name, sizes in parts.items()
        if name.startswith("http-")
        for size, found in sizes.items()
    ]
    if not rows:
        return
    yield ""
    yield (
        f"Over HTTP; wanted at 100 passages: {WANTED_OF_BARE:.0%} of the bare loop and "
        f"{WANTED_RATE:,} pairs/s; at 10 passages: an idle p50 under {WANTED_P50_MS:g} ms."
    )
    yield ""
    yield "| server | passages | pairs/s | of bare | idle p50, ms | busy p99, ms | failed |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for name, size, found in rows:
        http, share = found["http"], found["http_of_bare"]
        yield (
            f"| {name} | {size} | {http['median']:,.0f} | {share['median']:.2f} "
            f"({share['low']:.2f} to {share['high']:.2f}) | {found['idle']['p50_ms']:.2f} "
            f"| {found['busy']['p99_ms']:.1f} | {found['failed']} |"
        )
