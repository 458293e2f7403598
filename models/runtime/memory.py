"""The memory of a choice: which backend won, for one bundle, machine and set of versions."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from retort.models.runtime.base import BackendInfo

logger = logging.getLogger("retort")

ENGINES = ("onnxruntime", "onnxruntime-gpu", "openvino")


def choice_file(cache: Path, parts: Sequence[str]) -> Path:
    """The file of a choice that depends on `parts`, this machine and the engines' versions."""
    text = json.dumps([*parts, *_machine(), _versions()])
    return cache / f"backend-{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def recall(path: Path) -> BackendInfo | None:
    """The backend that was kept at `path`; None if there is none that can be read."""
    try:
        return BackendInfo(**json.loads(path.read_text(encoding="utf-8"))["choice"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(path: Path, info: BackendInfo, pairs_per_second: dict[str, float]) -> None:
    """Keep a choice at `path`. A folder that cannot be written costs the memory, not the start."""
    text = json.dumps({"choice": asdict(info), "pairs_per_second": pairs_per_second}, indent=2)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as problem:
        logger.warning("the choice of backend is not kept: %s", problem)


def _versions() -> dict[str, str]:
    found = {}
    for package in ENGINES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _machine() -> list[str]:
    gpus = [str(path) for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]
    return [platform.machine(), _cpu(), str(os.cpu_count()), *gpus]


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags"))}))
