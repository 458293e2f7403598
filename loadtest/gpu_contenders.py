"""Contenders: the forward passes that are timed beside each other on one GPU.

A student of a bundle in ONNX Runtime, by provider and precision, and encoders in PyTorch. Those
have random weights: how fast a matrix product is does not depend on what is in the matrix.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retort.loadtest.bench import Forward
from retort.models.bundle import Bundle
from retort.models.encoding import Batch
from retort.models.manifest import Manifest
from retort.models.runtime.base import BackendInfo, Precision
from retort.models.runtime.choose import Wish, load_compared
from retort.models.runtime.golden import GoldenReport

VOCABULARY, HEAD_WIDTH = 30_522, 64


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run a bundle: what `retort serve` would be told."""

    provider: str
    precision: Precision
    cuda_graphs: bool = False

    @property
    def settings(self) -> dict[str, str]:
        """The environment variables that make a server run it."""
        return {
            "RETORT_BACKEND": "onnxruntime",
            "RETORT_PROVIDER": self.provider,
            "RETORT_PRECISION": self.precision,
            "RETORT_CUDA_GRAPHS": str(self.cuda_graphs).lower(),
        }


VARIANTS: dict[str, dict[str, Variant]] = {
    "cuda": {
        "fp32": Variant("cuda", "fp32"),
        "fp16": Variant("cuda", "fp16"),
        "fp16-graphs": Variant("cuda", "fp16", cuda_graphs=True),
        "tensorrt-fp16": Variant("tensorrt", "fp16"),
    },
    "cpu": {"fp32": Variant("cpu", "fp32")},
}


@dataclass(frozen=True, slots=True)
class Contender:
    """A name for the table, and one forward pass, which returns when its scores are there."""

    name: str
    forward: Forward


def load_variant(
    variant: Variant, bundle: Bundle, cache: Path
) -> tuple[Contender, GoldenReport, bool]:
    """The bundle so run, its golden report, and whether CUDA graphs are recorded.

    Raises `BackendUnavailable` or `BundleError`.
    """
    info = BackendInfo("onnxruntime", variant.provider, variant.precision)
    wish = Wish(cuda_graphs=variant.cuda_graphs)
    backend, report = load_compared(info, bundle, bundle.encoder(), wish, cache)
    recorded = bool(getattr(backend, "cuda_graphs", False))
    return (
        Contender(f"ONNX Runtime {info.provider} {info.precision}", backend.infer),
        report,
        recorded,
    )


@dataclass(frozen=True, slots=True)
class Shape:
    """An encoder's size."""

    layers: int
    width: int
    attention_heads: int
    vocabulary: int = VOCABULARY

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Read `LAYERSxWIDTH`, with attention heads 64 wide as BERT's are.

        >>> Shape.parse("24x1024").attention_heads
        16

        Raises `ValueError` for anything else.
        """
        found = re.fullmatch(r"(\d+)x(\d+)", text)
        if found is None or not int(found[1]) or not int(found[2]):
            raise ValueError(f"{text!r} is no size of an encoder: write it as 12x768")
        layers, width = int(found[1]), int(found[2])
        return cls(layers, width, max(1, width // HEAD_WIDTH))

    @classmethod
    def of(cls, manifest: Manifest) -> Shape:
        """The size of a bundle's encoder."""
        size = manifest.architecture
        return cls(size.layers, size.width, size.attention_heads, size.vocabulary)


def torch_encoder(name: str, shape: Shape, device: str) -> Contender:
    """A BERT of that size with a linear head in PyTorch: fp16 on a GPU, fp32 on the CPU."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.attention_heads,
        intermediate_size=4 * shape.width,
    )
    kind = torch.float16 if device == "cuda" else torch.float32
    model: Any = BertForSequenceClassification(config).eval().to(device, kind)

    def forward(batch: Batch) -> object:
        arrays = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
        ids, mask, types = (torch.from_numpy(array).to(device) for array in arrays)
        with torch.inference_mode():
            logits = model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits
        # Waits for the device.
        return logits.float().cpu()

    precision = "fp16" if device == "cuda" else "fp32"
    return Contender(f"PyTorch {precision} {name}, {shape.layers}x{shape.width}", forward)
