"""Encoders that are not simply BERT: the bi-encoder over one, and the Bi-LSTM in its place.

The bi-encoder encodes query and passage apart and compares them by cosine. Its score is knowledge
of topics that a cross-encoder fine-tuned on near misses forgets, and it is cheap: each text is
encoded once, however many pairs it is part of.

The Bi-LSTM is TMKD's other student (Yang et al., WSDM 2020, section 4.2): two layers of 256 units
each way over word embeddings. Three things differ from the paper: the word pieces and embeddings
are the backbone's (the paper's are GloVe's), query and passage are read as one sequence, as the
encoder reads them, and the first hidden state is replaced by the final state of each direction, so
that the heads find there what they find at `[CLS]` of an encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import BertConfig, BertModel


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


@dataclass(frozen=True, slots=True)
class LstmStates:
    """`last_hidden_state` (batch, sequence, 2 units), under the encoder's name for it."""

    last_hidden_state: Tensor


class _Embeddings(nn.Module):
    """Named as the encoder's, so that whatever freezes its words freezes these."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(words, width)
        self.token_type_embeddings = nn.Embedding(2, width)


class BiLstm(nn.Module):
    """Token ids in, hidden states out; `config.hidden_size` is twice the units."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = _Embeddings(config.vocab_size, config.lstm_embedding)
        self.lstm = nn.LSTM(
            config.lstm_embedding, config.hidden_size // 2, config.lstm_layers,
            batch_first=True, bidirectional=True,
        )  # fmt: skip

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> LstmStates:
        """Inputs (batch, sequence), int64; padding is at the end."""
        embedded = self.embeddings.word_embeddings(input_ids)
        embedded = embedded + self.embeddings.token_type_embeddings(token_type_ids)
        lengths = attention_mask.sum(1).cpu()
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        states, _ = self.lstm(packed)
        hidden, _ = pad_packed_sequence(states, batch_first=True, total_length=input_ids.shape[1])
        units = hidden.shape[-1] // 2
        rows = torch.arange(len(hidden), device=hidden.device)
        last = hidden[rows, lengths.to(hidden.device) - 1, :units]
        ends = torch.cat([last, hidden[:, 0, units:]], dim=-1)
        return LstmStates(torch.cat([ends[:, None], hidden[:, 1:]], dim=1))


def is_bi_lstm(config: BertConfig) -> bool:
    """Whether a checkpoint's configuration is one of these."""
    return bool(getattr(config, "lstm_layers", 0))


def bi_lstm_config(source: BertModel, layers: int, units: int) -> BertConfig:
    """A configuration with the vocabulary and embedding width of `source`."""
    config = BertConfig.from_dict(source.config.to_dict())
    config.lstm_layers = layers
    config.lstm_embedding = source.config.hidden_size
    config.hidden_size = 2 * units
    config.num_hidden_layers = layers
    return config
