"""The reference: what one would run without Retort, sentence-transformers' `CrossEncoder` in fp32.

It gets an encoder of the student's shape: as many layers, as wide, the same tokenizer and length.
Its head is one linear map on `[CLS]` behind BERT's pooler, where the student has a bank of heads;
both are far below 1% of the encoder's arithmetic. With a checkpoint folder it also gets the
student's own encoder weights; without one they are random, which takes as long.

Here alone the benchmark needs torch (extra `train`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

from retort.loadtest.cross_encoder import load_cross_encoder
from retort.loadtest.texts import Request
from retort.models.bundle import Bundle

PREDICT_BATCH = 32  # the library's default


class Reference:
    """A `CrossEncoder` on the CPU, PyTorch fp32, that scores requests as lists of text pairs."""

    def __init__(self, model: Any, weights: str) -> None:
        self._model = model
        self.weights = weights

    def describe(self) -> str:
        """The library, its engine and whose weights it runs."""
        sentence_transformers: Any = import_module("sentence_transformers")
        torch: Any = import_module("torch")
        return (
            f"sentence-transformers {sentence_transformers.__version__} CrossEncoder.predict, "
            f"PyTorch {torch.__version__} fp32, {torch.get_num_threads()} threads, "
            f"batch {PREDICT_BATCH}, {self.weights}"
        )

    def pairs_per_second(self, requests: Sequence[Request], seconds: float) -> float:
        """Score the requests, one `predict` call for all pairs, again and again for `seconds`."""
        pairs = [(request.query, text) for request in requests for text in request.passages]
        done = 0
        start = perf_counter()
        while (spent := perf_counter() - start) < seconds:
            self._model.predict(pairs, batch_size=PREDICT_BATCH, show_progress_bar=False)
            done += len(pairs)
        return done / spent


def load_reference(bundle: Bundle, checkpoint: Path | None = None) -> Reference:
    """Build the reference for a bundle, with the encoder weights of its training checkpoint.

    Raises `ModuleNotFoundError` without the extra `train`, and `ValueError` if the checkpoint is
    not of the bundle's shape.
    """
    # Nothing here may ask a hub, whatever the library would like to look up.
    os.environ["HF_HUB_OFFLINE"] = "1"
    # As plain modules: neither library's types are complete.
    transformers: Any = import_module("transformers")
    transformers.utils.logging.disable_progress_bar()

    encoder = _checked_encoder(checkpoint, bundle) if checkpoint is not None else None
    shape = encoder.config.to_dict() if encoder is not None else _shape(bundle)
    config = transformers.BertConfig.from_dict({**shape, "num_labels": 1})
    model = transformers.BertForSequenceClassification(config)
    if encoder is not None:
        # Not strict: the pooler is the reference's own.
        model.bert.load_state_dict(encoder.state_dict(), strict=False)
    cross_encoder = load_cross_encoder(
        model, bundle.tokenizer_path, bundle.manifest.truncation.max_length
    )
    weights = "encoder weights" if encoder is not None else "shape with random weights"
    return Reference(cross_encoder, f"the student's {weights}")


def _shape(bundle: Bundle) -> dict[str, int]:
    size = bundle.manifest.architecture
    return {
        "vocab_size": size.vocabulary,
        "hidden_size": size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.attention_heads,
        "intermediate_size": 4 * size.width,
        "max_position_embeddings": max(512, bundle.manifest.truncation.max_length),
    }


def _checked_encoder(checkpoint: Path, bundle: Bundle) -> Any:
    from retort.training.nn.checkpoint import load_student

    encoder = load_student(checkpoint).student.encoder
    size, found = bundle.manifest.architecture, encoder.config
    if (found.num_hidden_layers, found.hidden_size) != (size.layers, size.width):
        raise ValueError(
            f"{checkpoint} has {found.num_hidden_layers} layers of {found.hidden_size}, the "
            f"bundle {size.layers} of {size.width}: give the checkpoint it was exported from"
        )
    return encoder
