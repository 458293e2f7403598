from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from retort.loadtest.gpu import made_up
from retort.loadtest.gpu_contenders import VARIANTS, Shape, load_variant, torch_encoder
from retort.models.bundle import Bundle
from retort.models.runtime.base import BackendUnavailable
from retort.models.runtime.choose import CANDIDATES
from retort.service.settings import load_settings


@pytest.mark.parametrize("name", sorted(VARIANTS["cuda"]))
def test_a_server_runs_what_the_bare_loop_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    variant = VARIANTS["cuda"][name]
    for variable, value in variant.settings.items():
        monkeypatch.setenv(variable, value)
    wish = load_settings().wish
    assert (wish.provider, wish.precision) == (variant.provider, variant.precision)
    assert wish.cuda_graphs is variant.cuda_graphs
    assert sum(wish.allows(info) for info in CANDIDATES) == 1


def test_a_variant_is_checked_against_the_golden_pairs(tiny_bundle: Bundle, tmp_path: Path) -> None:
    contender, golden, recorded = load_variant(VARIANTS["cpu"]["fp32"], tiny_bundle, tmp_path)
    assert contender.name == "ONNX Runtime cpu fp32"
    assert golden.passed
    assert not recorded
    logits = contender.forward(made_up(tiny_bundle, 3, 20))
    assert isinstance(logits, np.ndarray)
    assert logits.shape == (3, len(tiny_bundle.manifest.heads))


def test_one_that_does_not_run_here_is_told(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable):
        load_variant(VARIANTS["cuda"]["tensorrt-fp16"], tiny_bundle, tmp_path)


def test_sizes_are_read() -> None:
    assert Shape.parse("12x768") == Shape(12, 768, 12)
    with pytest.raises(ValueError, match="'large' is no size of an encoder"):
        Shape.parse("large")


def test_pytorch_answers_every_pair(tiny_bundle: Bundle) -> None:
    contender = torch_encoder("student", Shape.of(tiny_bundle.manifest), "cpu")
    assert contender.name == "PyTorch fp32 student, 2x32"
    logits = contender.forward(made_up(tiny_bundle, 3, 20))
    assert isinstance(logits, torch.Tensor)
    assert len(logits) == 3
