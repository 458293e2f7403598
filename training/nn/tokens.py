"""The token table: pairs tokenized once, ready to be gathered into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retort.models.encoding import EncodedPair, PairEncoder
from retort.training.data.pairs import Pair


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Tensors of shape (batch, sequence), int64, and the rows of the table they came from."""

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor
    rows: Tensor

    def to(self, device: torch.device) -> TokenBatch:
        """The same batch on another device."""
        return TokenBatch(
            self.input_ids.to(device, non_blocking=True),
            self.attention_mask.to(device, non_blocking=True),
            self.token_type_ids.to(device, non_blocking=True),
            self.rows.to(device, non_blocking=True),
        )


class TokenTable:
    """Encoded pairs by row number."""

    def __init__(self, encoder: PairEncoder, pairs: Sequence[Pair]) -> None:
        self.encoder = encoder
        queries = {
            text: encoder.encode_query(text) for text in dict.fromkeys(p.query for p in pairs)
        }
        texts = list(dict.fromkeys(p.passage for p in pairs))
        passages = dict(zip(texts, encoder.encode_passages(texts), strict=True))
        self._pairs: list[EncodedPair] = [
            encoder.join(queries[pair.query], passages[pair.passage]) for pair in pairs
        ]
        self.lengths: NDArray[np.int64] = np.array([len(pair) for pair in self._pairs], np.int64)

    def __len__(self) -> int:
        return len(self._pairs)

    def gather(self, rows: NDArray[np.int64]) -> TokenBatch:
        """The given rows as one padded batch, in the order given."""
        batch = self.encoder.collate([self._pairs[row] for row in rows])
        return TokenBatch(
            torch.from_numpy(batch.input_ids),
            torch.from_numpy(batch.attention_mask),
            torch.from_numpy(batch.token_type_ids),
            torch.from_numpy(rows),
        )
