"""Tiny teachers of every kind in a folder, as a training run and the hub would leave them."""

from __future__ import annotations

from pathlib import Path

import torch

from retort.models.encoding import Truncation
from retort.training.nn.backbone import load_backbone
from retort.training.nn.student import Head, save_student, take_layers
from tests.training.backbones import save_backbone, save_cross_encoder


def save_checkpoint(folder: Path, backbone: Path, heads: int = 1, seed: int = 1) -> Path:
    """A checkpoint cut whole from `backbone`; its layers moved a little, its heads at random."""
    loaded = load_backbone(str(backbone))
    torch.manual_seed(seed)
    names = [Head("golden"), *(Head(f"soft-{n}", teacher=str(n)) for n in range(heads - 1))]
    student = take_layers(loaded.encoder, [0, 1], names)
    with torch.no_grad():
        for parameter in student.encoder.encoder.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
        for index in range(heads):
            student.get_parameter(f"head_bank.{index}.linear.weight").normal_(0.0, 0.5)
    save_student(folder, student, loaded.tokenizer_path, Truncation(48, 16), {"name": "t"})
    return folder


def save_teachers(folder: Path) -> list[str]:
    """Four members: a cross-encoder, a backbone and a checkpoint as bi-encoders, a classifier."""
    backbone = save_backbone(folder / "backbone")
    checkpoint = save_checkpoint(folder / "ce", backbone)
    hub = save_cross_encoder(folder / "hub", 2)
    return [
        str(checkpoint),
        f"bi-encoder:{backbone}",
        f"answers=bi-encoder:{checkpoint}",
        f"hub-cross-encoder:{hub}",
    ]
