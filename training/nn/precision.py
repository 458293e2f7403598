"""The precision in which models are trained and labels are made: bf16 where it is native.

A CPU without bf16 instructions imitates them, in PyTorch at a twentieth of the speed of fp32.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch

Precision = Literal["auto", "bf16", "no", "fp16"]
MixedPrecision = Literal["bf16", "no", "fp16"]  # as accelerate calls them; no is fp32


@cache
def has_bf16() -> bool:
    """Whether the device that trains here multiplies in bf16."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    from retort.models.runtime.openvino import quiet_openvino

    capabilities: list[str] = (
        quiet_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    )
    return "BF16" in capabilities


def chosen(precision: Precision) -> MixedPrecision:
    """What a recipe's precision is on this machine."""
    if precision == "auto":
        return "bf16" if has_bf16() else "no"
    return precision
