"""A tiny cross-encoder of random weights, in a folder as sentence-transformers save theirs."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification

from retort.cross_encoder import load_cross_encoder
from tests.tiny_texts import make_tokenizer


def save_tiny_teacher(folder: Path) -> Path:
    """Write it to `folder`, which must be new."""
    tokenizer = make_tokenizer()
    torch.manual_seed(3)
    model = BertForSequenceClassification(
        BertConfig.from_dict(
            {
                "vocab_size": tokenizer.get_vocab_size(),
                "hidden_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "intermediate_size": 64,
                "max_position_embeddings": 64,
                "num_labels": 1,
            }
        )
    )
    file = folder.parent / f"{folder.name}-tokenizer.json"
    tokenizer.save(str(file))
    load_cross_encoder(model, file, 64).save_pretrained(str(folder))
    return folder
