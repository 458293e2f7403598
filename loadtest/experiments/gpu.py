"""The measurement of a GPU, part by part; `loadtest/gpu.sh` runs each in a process of its own.

    python -m retort.loadtest.experiments.gpu machine --out DIR
    … probe fp16-graphs --out DIR      does it run, does it score right
    … bare --out DIR                   forward passes in turn
    … http fp16-graphs --out DIR       a server and its bare loop, in turn
    … report --out DIR                 gpu.md and gpu.json from the parts that are there

A part leaves DIR/parts/NAME.json, `bare` after every round: if it is stopped later, only the rest
is lost. What is timed is a bundle's student in ONNX Runtime, by provider and precision, and
encoders in PyTorch. Those have random weights: a matrix product takes equally long whatever is in
it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from pydantic import TypeAdapter

from retort.loadtest.bare import Forward, bare_rate, forward_times
from retort.loadtest.experiments.reference import random_bert
from retort.loadtest.report import to_markdown
from retort.loadtest.result import Cell, Column, Measurement, Setup, Table, to_json
from retort.loadtest.rounds import Spread, in_turn, percentile, ratios
from retort.loadtest.servers import describe_machine
from retort.models.bundle import Bundle, find_bundle, read_bundle
from retort.models.encoding import Batch
from retort.models.runtime.base import BackendInfo, Precision, same_batch
from retort.models.runtime.choose import load_compared
from retort.models.runtime.golden import GoldenReport
from retort.models.runtime.options import RuntimeOptions

PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnx", "torch", "transformers", "tokenizers")
SLOTS = 2  # as the server has on a GPU
GPU = "name,driver_version,memory.total,clocks.max.sm,power.limit"
HEAD_WIDTH = 64
PROBE_COLUMNS = (
    Column("student"), Column("golden pairs"), Column("largest difference", "score"),
    Column("tolerance", "score"), Column("CUDA graphs"), Column("loaded in, s", "s"),
)  # fmt: skip
SERVER_COLUMNS = (
    Column("server"), Column("pairs/s", "pairs/s"), Column("of the bare loop", "ratio"),
    Column("idle p50, ms", "ms"), Column("busy p99, ms", "ms"), Column("busy: failed", "count"),
    Column("idle: failed", "count"),
)  # fmt: skip
# What the part `http` leaves, by passages per request.
BENCHES = TypeAdapter(dict[str, Measurement])


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run a bundle in ONNX Runtime."""

    provider: str
    precision: Precision
    cuda_graphs: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make a server run it."""
        return {
            "RETORT_BACKEND": "onnxruntime",
            "RETORT_PROVIDER": self.provider,
            "RETORT_PRECISION": self.precision,
            "RETORT_CUDA_GRAPHS": str(self.cuda_graphs).lower(),
        }

    def load(self, bundle: Bundle, cache: Path) -> tuple[str, Forward, GoldenReport, bool]:
        """Its name and forward pass, the golden report, and whether CUDA graphs are recorded.

        Raises `BackendUnavailable` or `BundleError`.
        """
        info = BackendInfo("onnxruntime", self.provider, self.precision)
        wish = RuntimeOptions(cuda_graphs=self.cuda_graphs)
        backend, golden = load_compared(info, bundle, bundle.encoder(), wish, cache)
        recorded = bool(getattr(backend, "cuda_graphs", False))
        name = f"ONNX Runtime {info.provider} {info.precision}{', CUDA graphs' * recorded}"
        return name, backend.infer, golden, recorded


VARIANTS: dict[str, dict[str, Variant]] = {
    "cuda": {
        "fp32": Variant("cuda", "fp32"),
        "fp16": Variant("cuda", "fp16"),
        "fp16-graphs": Variant("cuda", "fp16", cuda_graphs=True),
        "tensorrt-fp16": Variant("tensorrt", "fp16"),
    },
    "cpu": {"fp32": Variant("cpu", "fp32")},
}


def torch_encoder(name: str, size: str, device: str, vocabulary: int) -> tuple[str, Forward]:
    """A BERT of `size`, LAYERSxWIDTH, with a linear head in PyTorch: fp16 on a GPU, fp32 on a CPU.

    Attention heads are 64 wide, as BERT's are. Raises `ValueError` for another form of size.
    """
    import torch

    found = re.fullmatch(r"(\d+)x(\d+)", size)
    if found is None or not int(found[1]) or not int(found[2]):
        raise ValueError(f"{size!r} is not the size of an encoder: write it as 12x768")
    layers, width = int(found[1]), int(found[2])
    kind, precision = (torch.float16, "fp16") if device == "cuda" else (torch.float32, "fp32")
    bert = random_bert(vocabulary, layers, width, max(1, width // HEAD_WIDTH))
    model = bert.eval().to(device, kind)

    def forward(batch: Batch) -> object:
        ids, mask, types = (torch.from_numpy(array).to(device) for array in batch.arrays)
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
        # Waits for the device.
        return logits.float().cpu()

    return f"PyTorch {precision} {name}, {size}", forward


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """What it was measured on."""
    import onnxruntime

    versions = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    gpu = None
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", f"--query-gpu={GPU}", "--format=csv,noheader"]
        gpu = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    manifest = options.read.manifest
    return {
        "machine": describe_machine(),
        "gpu": gpu,
        "python": sys.version.split()[0],
        "versions": versions,
        "providers": onnxruntime.get_available_providers(),
        "bundle": f"{manifest.name} {manifest.version}",
        "passages": options.passages,
        "tokens": options.tokens,
    }


def probe(options: argparse.Namespace) -> dict[str, Any]:
    """Load a variant and score the golden pairs. Raises whatever keeps it from running."""
    start = perf_counter()
    variant = VARIANTS[options.device][options.variant]
    name, _, golden, recorded = variant.load(options.read, options.out / "cache")
    return {
        "name": name,
        "seconds": perf_counter() - start,
        "cuda_graphs": recorded,
        "passed": golden.passed,
        "golden": asdict(golden),
    }


def bare(options: argparse.Namespace) -> dict[str, Any]:
    """Time, in turn, every variant whose probe passed, and PyTorch."""
    size = options.read.manifest.architecture
    forwards: dict[str, Forward] = {}
    for name, variant in VARIANTS[options.device].items():
        file = options.out / "parts" / f"probe-{name}.json"
        if file.is_file() and json.loads(file.read_text())["passed"]:
            label, forward, *_ = variant.load(options.read, options.out / "cache")
            forwards[label] = forward
    if options.torch:
        encoders = [("student", f"{size.layers}x{size.width}")]
        encoders += [("teacher", text) for text in options.teachers]
        for encoder, text in encoders:
            label, forward = torch_encoder(encoder, text, options.device, size.vocabulary)
            forwards[label] = forward
    if not forwards:
        raise SystemExit("nothing to time: no probe passed, and PyTorch is left out")
    batches = {str(n): same_batch(n, options.tokens, 0) for n in options.passages}
    for forward in forwards.values():
        for batch in batches.values():
            forward(batch)
    rounds: list[dict[str, Any]] = [{} for _ in range(options.rounds)]
    for number, name in in_turn(list(forwards), options.rounds):
        found = rounds[number]
        found[name] = {n: timed(forwards[name], b, options.seconds) for n, b in batches.items()}
        if len(found) == len(forwards):
            _write(options.out, "bare", {"rounds": rounds[: number + 1]})
    return {"rounds": rounds}


def timed(forward: Forward, batch: Batch, seconds: float) -> dict[str, float]:
    """Pairs per second with as many callers as the server has slots, and p50 with one, in ms."""
    alone = forward_times(forward, [batch], seconds / 2)
    rate = bare_rate(forward, [batch], seconds / 2, SLOTS)
    return {"pairs_per_second": rate, "p50_ms": percentile(alone, 50) * 1e3}


def http(options: argparse.Namespace) -> dict[str, Any]:
    """A server of one variant: many clients and one, and the bare loop of the same batches."""
    from retort.loadtest.experiments.bench import run_bench
    from retort.loadtest.options import BenchOptions

    os.environ |= VARIANTS[options.device][options.variant].environment
    os.environ["RETORT_CACHE_DIR"] = str(options.out / "cache")
    found: dict[str, Measurement] = {}
    for passages in options.passages:
        asked = BenchOptions(
            bundle=options.teacher or options.bundle,
            clients=options.clients,
            passages=passages,
            tokens=options.tokens,
            rounds=options.rounds,
            seconds=options.seconds,
            pairs=options.pairs,
            cross_encoder=False,
        )
        found[str(passages)] = run_bench(asked, lambda line: print(line, flush=True))
        plain: dict[str, Any] = BENCHES.dump_python(found, mode="json")
        _write(options.out, options.name, plain)
    return plain


def write_report(out: Path) -> None:
    """Write `gpu.md`, `gpu.json` and `record.json` into `out` from what lies in `out`/parts.

    `record.json` is a record as docs/measured has them. A part that failed is shown with the end of
    what it printed; the others stand without it.
    """
    parts = {
        file.stem: json.loads(file.read_text(encoding="utf-8"))
        for file in sorted((out / "parts").glob("*.json"))
    }
    failed = {
        file.stem: file.read_text(encoding="utf-8", errors="replace").strip()
        for file in sorted((out / "parts").glob("*.failed"))
    }
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


def measurement(parts: dict[str, Any]) -> Measurement:
    """The record of the parts that are there."""
    found = parts.get("machine", {})
    versions = ", ".join(f"{name} {text}" for name, text in found.get("versions", {}).items())
    facts = (
        f"GPU: {found.get('gpu') or 'none'}",
        f"Versions: {versions or 'unknown'}",
        f"Pairs of {found.get('tokens')} tokens",
    )
    probes: list[tuple[Cell, ...]] = [
        (
            name.removeprefix("probe-"),
            "reproduced" if part["passed"] else "**not reproduced**",
            part["golden"]["max_difference"],
            part["golden"]["tolerance"],
            "yes" if part["cuda_graphs"] else "no",
            part["seconds"],
        )
        for name, part in parts.items()
        if name.startswith("probe-")
    ]
    servers = [
        _server(f"{name.removeprefix('http-')}, {size} passages", bench)
        for name, part in parts.items()
        if name.startswith("http-")
        for size, bench in BENCHES.validate_python(part).items()
    ]
    tables = (
        Table("probes", PROBE_COLUMNS, tuple(probes), "Whether the student runs and scores right"),
        *_bare(parts.get("bare", {}).get("rounds", [])),
        Table("servers", SERVER_COLUMNS, tuple(servers), "Over HTTP"),
    )
    setup = Setup.now(found.get("bundle", "unknown"), "loadtest/gpu.sh")
    return Measurement("gpu", "gpu", setup, facts, tuple(each for each in tables if each.rows))


def _bare(rounds: Sequence[dict[str, Any]]) -> Iterator[Table]:
    """For each number of passages: rates, ratios to PyTorch's student within a round, latency."""
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
            Column(f"{size} passages"), Column("pairs/s", "pairs/s"),
            Column(f"over {base}", "ratio"), Column("p50 of one pass, ms", "ms"),
        )  # fmt: skip
        yield Table(f"bare {size}", columns, rows, f"Forward passes of {size} pairs, in turn")


def _server(label: str, bench: Measurement) -> tuple[Cell, ...]:
    rate, share = bench.table("rates").rows[1][1], bench.table("ratios").rows[0][1]
    busy, idle, _ = bench.table("latencies").rows
    return label, rate, share, idle[1], busy[3], busy[-1], idle[-1]


def _write(out: Path, name: str, found: dict[str, Any]) -> None:
    parts = out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    part = parts / f"{name}.part"
    part.write_text(json.dumps(found, indent=2), encoding="utf-8")
    part.replace(parts / f"{name}.json")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; `name` is that of the part's file, `read` the bundle."""
    parser = argparse.ArgumentParser(
        prog="python -m retort.loadtest.experiments.gpu", description=__doc__
    )
    parser.add_argument("part", choices=[*PARTS, "report"])
    names = sorted({name for variants in VARIANTS.values() for name in variants})
    parser.add_argument("variant", nargs="?", choices=names)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", choices=sorted(VARIANTS), default="cuda")
    parser.add_argument("--bundle", default="retort-small")
    parser.add_argument("--teacher", default="", help="bundle of a teacher, for the part http")
    parser.add_argument("--pairs", type=Path, help="query<TAB>passage lines, for the part http")
    parser.add_argument("--passages", type=int, nargs="+", default=[10, 100])
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--teachers", nargs="*", default=["12x768", "24x1024"])
    parser.add_argument("--torch", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args(arguments)
    options.name = options.part
    if options.part in ("probe", "http"):
        variants = VARIANTS[options.device]
        if options.variant not in variants:
            parser.error(f"{options.part} on {options.device} takes one of {[*variants]}")
        options.name += f"-{options.variant}{'-teacher' * bool(options.teacher)}"
    return options


PARTS = {"machine": machine, "probe": probe, "bare": bare, "http": http}


def main() -> None:
    """Run one part and keep its result."""
    options = parse(sys.argv[1:])
    if options.part == "report":
        write_report(options.out)
        return
    options.read = read_bundle(find_bundle(options.bundle))
    found = PARTS[options.part](options)
    _write(options.out, options.name, found)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
