"""The folder: a bundle's student as Hugging Face libraries load it, golden head alone.

    config.json, model.safetensors    a BertForSequenceClassification with one label
    tokenizer.json and its settings   lays out a pair as the bundle does
    model.onnx                        the same as a graph, for a peer that runs ONNX

Its pooler is tanh of a linear map, where the student's head is linear on `[CLS]`. A pooler so small
that tanh is the identity, and a classifier so much larger, are that head to a hundred-thousandth.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from safetensors.numpy import save_file

from retort.loadtest.cross_encoder import SMALL, pair_tokenizer
from retort.loadtest.peers.weights import FloatArray, Weights
from retort.models.bundle import Bundle

POSITIONS = "encoder.embeddings.position_embeddings.weight"
SPECIAL = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}


def write_folder(folder: Path, bundle: Bundle, weights: Weights, graph: onnx.ModelProto) -> None:
    """Write the folder anew, with `graph` in it."""
    length = bundle.manifest.truncation.max_length
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_file(state_dict(weights, length), folder / "model.safetensors", {"format": "pt"})
    write_json(folder / "config.json", config(bundle, weights))
    pair_tokenizer(bundle.tokenizer_path).save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": length,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        **SPECIAL,
    }
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "special_tokens_map.json", SPECIAL)
    onnx.save(graph, str(folder / "model.onnx"))


def config(bundle: Bundle, weights: Weights) -> dict[str, Any]:
    """What `config.json` says. Positions end where the bundle cuts, so that all peers cut there."""
    size = bundle.manifest.architecture
    inner = weights.encoder["encoder.encoder.layer.0.intermediate.dense.bias"]
    return {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "vocab_size": size.vocabulary,
        "hidden_size": size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.attention_heads,
        "intermediate_size": len(inner),
        "max_position_embeddings": bundle.manifest.truncation.max_length,
        "type_vocab_size": 2,
        "layer_norm_eps": weights.norm_epsilon,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "pad_token_id": bundle.encoder().pad_id,
        "id2label": {"0": "relevant"},
        "label2id": {"relevant": 0},
    }


def state_dict(weights: Weights, length: int) -> dict[str, FloatArray]:
    """The arrays of a `BertForSequenceClassification` that gives the golden head's logit."""
    found = {f"bert.{name.removeprefix('encoder.')}": a for name, a in weights.encoder.items()}
    found[f"bert.{POSITIONS.removeprefix('encoder.')}"] = weights.encoder[POSITIONS][:length].copy()
    width = len(weights.head)
    found["bert.pooler.dense.weight"] = np.eye(width, dtype=np.float32) * np.float32(SMALL)
    found["bert.pooler.dense.bias"] = np.zeros(width, dtype=np.float32)
    found["classifier.weight"] = (weights.head / np.float32(SMALL)).reshape(1, -1)
    found["classifier.bias"] = np.array([weights.bias], dtype=np.float32)
    return found


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write `values` to `path`."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
