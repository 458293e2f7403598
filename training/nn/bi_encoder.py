"""The bi-encoder: query and passage encoded apart, mean-pooled, compared by cosine.

Its score is knowledge of topics that a cross-encoder fine-tuned on near misses forgets, and it is
cheap to ask: each text is encoded once, however many pairs it stands in.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertModel


class BiEncoder(nn.Module):
    """Mean pooling over all tokens of a text, then L2 norm."""

    def __init__(self, encoder: BertModel) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids (batch, sequence) to unit vectors (batch, width)."""
        hidden = self.encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=torch.zeros_like(input_ids),
        ).last_hidden_state.float()
        mask = attention_mask.to(hidden.dtype)
        return F.normalize(torch.einsum("bs,bsw->bw", mask, hidden), dim=-1)


def split_segments(
    input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, cls_id: int
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Token ids of a pair batch to those of its queries and of its passages, each with its mask.

    A query is segment 0 as it stands, `[CLS] … [SEP]`; a passage gets a `[CLS]` of its own.
    """
    query_mask = attention_mask * (1 - token_type_ids)
    width = int(query_mask.sum(1).max())
    queries = input_ids[:, :width] * query_mask[:, :width]
    starts = query_mask.sum(1)
    lengths = token_type_ids.sum(1)
    room = int(lengths.max())
    offsets = torch.arange(room, device=input_ids.device)
    mask = (offsets[None, :] < lengths[:, None]).long()
    places = (starts[:, None] + offsets[None, :]).clamp_max(input_ids.shape[1] - 1)
    passages = input_ids.gather(1, places) * mask
    ones = torch.ones_like(mask[:, :1])
    passages = torch.cat([ones * cls_id, passages], dim=1)
    return (queries, query_mask[:, :width]), (passages, torch.cat([ones, mask], dim=1))


def in_batch_loss(queries: Tensor, passages: Tensor, positive: Tensor, scale: float) -> Tensor:
    """InfoNCE: each positive's query against every passage of the batch, cosines times `scale`.

    `queries`, `passages` (batch, width) unit vectors; `positive` (batch,) bool: rows that hold a
    right answer. Rows that hold none serve as negatives for all.
    """
    if not positive.any():
        return queries.sum() * 0.0
    scores = scale * queries[positive] @ passages.T
    return F.cross_entropy(scores, positive.nonzero().squeeze(1))
