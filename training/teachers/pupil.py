"""The pupil: a teacher before its first step; what is trained, how it reads, how it is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from retort.models.encoding import PairEncoder


@dataclass(frozen=True, slots=True)
class Pupil:
    """`module` takes ids, mask and token types (batch, sequence); `save` writes its folder whole.

    `identity` is the content hash of what it starts from, and `about` says in a few words what
    that is.
    """

    module: nn.Module
    encoder: PairEncoder
    identity: str
    about: str
    save: Callable[[Path, dict[str, object]], None]
