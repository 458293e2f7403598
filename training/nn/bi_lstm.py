"""The Bi-LSTM: TMKD's other student (Yang et al., WSDM 2020, section 4.2).

Two layers of 256 units each way over word embeddings. Three things differ from the paper: the word
pieces and embeddings are the backbone's (the paper's are GloVe's), query and passage are read as
one sequence, as the encoder reads them, and the first hidden state is replaced by what each
direction ends with, so that the heads find there what they find at `[CLS]` of an encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import BertConfig, BertModel


@dataclass(frozen=True, slots=True)
class States:
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

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> States:
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
        return States(torch.cat([ends[:, None], hidden[:, 1:]], dim=1))


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
