"""Identity: the hash of a model's weights, of its tokenizer and of how it is asked.

It is the same on every machine and under every engine, so that labels made on a GPU serve on a CPU.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

# What a tokenizer is told for each call anew.
_OF_A_CALL = ("padding", "truncation")


class Weights:
    """The hash of some weights by name, from which identities are made by adding facts."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._digest = hashlib.blake2b(digest_size=8)
        for name, value in sorted(state.items()):
            self._digest.update(name.encode())
            # As bytes: numpy has no bf16.
            plain = value.detach().cpu().contiguous().reshape(-1)
            self._digest.update(plain.view(torch.uint8).numpy().tobytes())

    def identity(self, *facts: object) -> str:
        """16 hex digits of the hash of the weights and of the facts given."""
        digest = self._digest.copy()
        digest.update(repr(facts).encode())
        return digest.hexdigest()


def content_identity(module: nn.Module, *facts: object) -> str:
    """16 hex digits of the hash of all weights and of the facts given."""
    return state_identity(module.state_dict(), *facts)


def state_identity(state: Mapping[str, Tensor], *facts: object) -> str:
    """As `content_identity`, of some weights by name."""
    return Weights(state).identity(*facts)


def tokenizer_rules(tokenizer: Path | str) -> str:
    """What of a `tokenizer.json`, by its path or as text, decides the tokens of a text."""
    text = tokenizer.read_text(encoding="utf-8") if isinstance(tokenizer, Path) else tokenizer
    content = json.loads(text)
    return json.dumps(
        {part: value for part, value in content.items() if part not in _OF_A_CALL}, sort_keys=True
    )
