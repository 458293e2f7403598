"""A tiny backbone in a folder, as the hub would hold one: two layers, width 32, random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
)

from retort.cross_encoder import fast_tokenizer
from tests.tiny_texts import make_tokenizer


def tiny_config(vocabulary: int, positions: int = 64) -> BertConfig:
    """Two layers, width 32."""
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
        initializer_range=0.1,  # a random encoder that tells words apart learns in seconds
    )


def save_backbone(folder: Path, positions: int = 64) -> Path:
    """An encoder without a head, with positions for so many tokens."""
    torch.manual_seed(3)
    tokenizer = make_tokenizer()
    folder.mkdir(parents=True)
    BertModel(tiny_config(tokenizer.get_vocab_size(), positions)).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def save_cross_encoder(folder: Path, outputs: int) -> Path:
    """A sequence classifier with its own tokenizer, as a hub cross-encoder is."""
    torch.manual_seed(4)
    tokenizer = make_tokenizer()
    config = tiny_config(tokenizer.get_vocab_size())
    config.num_labels = outputs
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save(str(folder / "plain.json"))
    fast_tokenizer(folder / "plain.json", 64).save_pretrained(folder)
    return folder
