"""The encoder where only the last state of `[CLS]` is read: its last layer is trimmed.

Only `[CLS]` asks there, so the last layer's query, dense layers and norms are computed for it
alone; keys and values still come from every token. The graph is trimmed in the same way
(`export/encoder.py`). With three layers that saves a third of a training step.

Query, key and value are one matrix product, as one large product keeps the cores busier than three
small ones. Attention is written out: on a CPU it was faster than `scaled_dot_product_attention`,
which a GPU uses.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import BertModel

# Added to the attention scores of padding.
MASKED = -10_000.0


def encode_first(
    encoder: BertModel, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
) -> Tensor:
    """Inputs (batch, sequence), int64, to the last state of `[CLS]`, (batch, 1, width)."""
    hidden: Tensor = encoder.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
    bias = (1 - attention_mask[:, None, None, :]) * MASKED
    layers: list[Any] = list(encoder.encoder.layer)
    for number, layer in enumerate(layers):
        asking = hidden[:, :1] if number == len(layers) - 1 else hidden
        mixed = _attend(layer.attention.self, asking, hidden, bias)
        attended = layer.attention.output(mixed, asking)
        hidden = layer.output(layer.intermediate(attended), attended)
    return hidden


def _attend(attention: Any, asking: Tensor, hidden: Tensor, bias: Tensor) -> Tensor:
    """What the tokens `asking` (batch, queries, width) take from `hidden` (batch, sequence, width).

    `bias` (batch, 1, 1, sequence) is added to the scores.
    """
    maps = attention.query, attention.key, attention.value
    if asking is hidden:
        weight = torch.cat([linear.weight for linear in maps])
        offset = torch.cat([linear.bias for linear in maps])
        query, key, value = F.linear(hidden, weight, offset).chunk(3, dim=-1)
    else:
        query, key, value = maps[0](asking), maps[1](hidden), maps[2](hidden)
    size = int(attention.attention_head_size)
    query, key, value = (
        part.unflatten(-1, (-1, size)).transpose(1, 2) for part in (query, key, value)
    )
    bias = bias.to(query.dtype)
    dropped = attention.dropout.p if attention.training else 0.0
    if query.is_cuda:
        mixed = F.scaled_dot_product_attention(query, key, value, bias, dropout_p=dropped)
    else:
        scores = (query / math.sqrt(size)) @ key.transpose(2, 3) + bias
        shares = attention.dropout(scores.softmax(-1, dtype=torch.float32).to(value.dtype))
        mixed = shares @ value
    return mixed.transpose(1, 2).flatten(2)
