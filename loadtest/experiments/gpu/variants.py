"""The variants: ways to run a bundle's student in ONNX Runtime, by provider and precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retort.loadtest.bare import Forward
from retort.models.bundle import Bundle
from retort.models.runtime.base import BackendInfo, Precision
from retort.models.runtime.choose import load_compared
from retort.models.runtime.golden import GoldenReport
from retort.models.runtime.options import RuntimeOptions

# Besides the variants, servers of a null bundle are measured.
NULL = "null"


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
