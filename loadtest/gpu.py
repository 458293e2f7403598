"""The GPU measurement, part by part; `loadtest/gpu.sh` runs each in a process of its own.

    python -m retort.loadtest.gpu machine --out DIR
    python -m retort.loadtest.gpu probe fp16-graphs --out DIR      does it run, does it score right
    python -m retort.loadtest.gpu bare --out DIR                   forward passes, taking turns
    python -m retort.loadtest.gpu http fp16-graphs --out DIR       a server beside its bare loop
    python -m retort.loadtest.gpu report --out DIR              gpu.md and gpu.json of what is there

A part leaves DIR/parts/NAME.json, `bare` after every round: what stops it later costs the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from retort.loadtest.bench import bare_rate, forward_times
from retort.loadtest.figures import percentile
from retort.loadtest.gpu_contenders import VARIANTS, Contender, Shape, load_variant, torch_encoder
from retort.loadtest.gpu_report import write_report
from retort.loadtest.machine import describe_machine
from retort.models.bundle import Bundle, read_bundle
from retort.models.encoding import Batch
from retort.models.find import find_bundle

PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnx", "torch", "transformers", "tokenizers")
SLOTS = 2  # as the server has on a GPU
GPU = "name,driver_version,memory.total,clocks.max.sm,power.limit"


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """What it was measured on."""
    import onnxruntime

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    gpu = None
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", f"--query-gpu={GPU}", "--format=csv,noheader"]
        gpu = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "machine": describe_machine(),
        "gpu": gpu,
        "python": sys.version.split()[0],
        "versions": versions,
        "providers": onnxruntime.get_available_providers(),
        "bundle": _described(_bundle(options)),
        "passages": options.passages,
        "tokens": options.tokens,
    }


def probe(options: argparse.Namespace) -> dict[str, Any]:
    """Load a variant and score the golden pairs. Raises what keeps it from running."""
    start = perf_counter()
    variant = VARIANTS[options.device][options.variant]
    contender, golden, recorded = load_variant(variant, _bundle(options), _cache(options))
    return {
        "name": contender.name,
        "seconds": perf_counter() - start,
        "cuda_graphs": recorded,
        "passed": golden.passed,
        "golden": asdict(golden),
    }


def bare(options: argparse.Namespace) -> dict[str, Any]:
    """Time all that the probes found sound, and PyTorch, in turn, every other round backwards."""
    bundle = _bundle(options)
    contenders = _contenders(options, bundle)
    if not contenders:
        raise SystemExit("nothing to time: no probe passed, and PyTorch is not to be timed")
    batches = {n: made_up(bundle, n, options.tokens) for n in options.passages}
    for contender in contenders:
        for batch in batches.values():
            contender.forward(batch)
    rounds: list[dict[str, Any]] = []
    for number in range(options.rounds):
        found: dict[str, Any] = {}
        for contender in contenders[:: -1 if number % 2 else 1]:
            found[contender.name] = {
                str(n): timed(contender, batch, options.seconds) for n, batch in batches.items()
            }
        rounds.append(found)
        _write(options.out, "bare", {"rounds": rounds})
    return {"rounds": rounds}


def timed(contender: Contender, batch: Batch, seconds: float) -> dict[str, float]:
    """Pairs a second with as many callers as the server has slots, and p50 with one, in ms."""
    alone = forward_times(contender.forward, [batch], seconds / 2)
    rate = bare_rate(contender.forward, [batch], seconds / 2, SLOTS)
    return {"pairs_per_second": rate, "p50_ms": percentile(alone, 50) * 1e3}


def http(options: argparse.Namespace) -> dict[str, Any]:
    """A server of one variant: many clients and one, beside the bare loop of the same batches."""
    from retort.loadtest.run import Options, run_bench

    os.environ |= VARIANTS[options.device][options.variant].settings
    os.environ["RETORT_CACHE_DIR"] = str(_cache(options))
    found: dict[str, Any] = {}
    name = f"http-{options.variant}{'-teacher' if options.teacher else ''}"
    for passages in options.passages:
        asked = Options(
            bundle=options.teacher or options.bundle,
            clients=options.clients,
            passages=passages,
            tokens=options.tokens,
            rounds=options.rounds,
            seconds=options.seconds,
            pairs=options.pairs,
            cross_encoder=False,
            command="loadtest/gpu.sh",
        )
        report = run_bench(asked, lambda step: print(step, flush=True))
        found[str(passages)] = report.to_json()
        _write(options.out, name, found)
    return found


def made_up(bundle: Bundle, rows: int, tokens: int) -> Batch:
    """A batch of `rows` pairs of exactly `tokens` random tokens, half of them the passage's."""
    size = bundle.manifest.architecture.vocabulary
    ids = np.random.default_rng(0).integers(size // 2, size, (rows, tokens), dtype=np.int64)
    types = np.zeros_like(ids)
    types[:, tokens // 2 :] = 1
    return Batch(ids, np.ones_like(ids), types)


def _contenders(options: argparse.Namespace, bundle: Bundle) -> list[Contender]:
    found = []
    for name, variant in VARIANTS[options.device].items():
        file = options.out / "parts" / f"probe-{name}.json"
        if file.is_file() and json.loads(file.read_text())["passed"]:
            contender, _, recorded = load_variant(variant, bundle, _cache(options))
            graphs = ", CUDA graphs" if recorded else ""
            found.append(Contender(f"{contender.name}{graphs}", contender.forward))
    if options.torch:
        found.append(torch_encoder("student", Shape.of(bundle.manifest), options.device))
        found += [
            torch_encoder("teacher", Shape.parse(text), options.device) for text in options.teachers
        ]
    return found


def _bundle(options: argparse.Namespace) -> Bundle:
    return read_bundle(find_bundle(options.bundle))


def _described(bundle: Bundle) -> str:
    return f"{bundle.manifest.name} {bundle.manifest.version}"


def _cache(options: argparse.Namespace) -> Path:
    kept: Path = options.out / "cache"
    return kept


def _write(out: Path, name: str, found: dict[str, Any]) -> None:
    parts = out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    part = parts / f"{name}.part"
    part.write_text(json.dumps(found, indent=2), encoding="utf-8")
    part.replace(parts / f"{name}.json")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m retort.loadtest.gpu", description=__doc__)
    parser.add_argument("part", choices=["machine", "probe", "bare", "http", "report"])
    parser.add_argument(
        "variant", nargs="?", choices=sorted({v for d in VARIANTS.values() for v in d})
    )
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
    if options.part in ("probe", "http") and options.variant not in VARIANTS[options.device]:
        parser.error(
            f"{options.part} on {options.device} wants one of {[*VARIANTS[options.device]]}"
        )
    return options


def main() -> None:
    """Run one part and keep what it found."""
    options = parse(sys.argv[1:])
    if options.part == "report":
        write_report(options.out)
    elif options.part == "http":
        http(options)
    else:
        found = {"machine": machine, "probe": probe, "bare": bare}[options.part](options)
        name = f"probe-{options.variant}" if options.part == "probe" else options.part
        _write(options.out, name, found)
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
