"""The machine that a GPU is measured on."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from retort.loadtest.experiments.gpu.options import Options
from retort.loadtest.experiments.gpu.parts import Found
from retort.loadtest.servers import describe_machine
from retort.models.bundle import Bundle

PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnx", "torch", "transformers", "tokenizers")
GPU = "name,driver_version,memory.total,clocks.max.sm,power.limit"


def machine(options: Options, bundle: Bundle) -> Found:
    """What it is, the versions of what runs on it, and what is measured."""
    import onnxruntime

    versions = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
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
        "bundle": f"{bundle.manifest.name} {bundle.manifest.version}",
        "passages": options.passages,
        "tokens": options.tokens,
    }
