"""The reference: what one would run without Retort, sentence-transformers' `CrossEncoder` in fp32.

It has the student's own encoder and golden head, read from the bundle. A bundle whose weights no
`CrossEncoder` can have (an ensemble, a head that is not linear) gets random weights in its shape:
they take as long. This module needs the extra `train`.
"""

from __future__ import annotations

from importlib import import_module
from time import perf_counter
from typing import Any

from retort.cross_encoder import load_cross_encoder, stay_offline
from retort.loadtest.traffic import Traffic
from retort.models.bundle import Bundle

PREDICT_BATCH = 32  # the library's default


class Reference:
    """A `CrossEncoder` on the CPU, PyTorch fp32, that scores requests as lists of text pairs."""

    def __init__(self, model: Any, weights: str) -> None:
        self.model = model
        self._weights = weights

    def describe(self) -> str:
        """The library, its runtime and whose weights it has."""
        sentence_transformers: Any = import_module("sentence_transformers")
        torch: Any = import_module("torch")
        return (
            f"sentence-transformers {sentence_transformers.__version__} CrossEncoder.predict, "
            f"PyTorch {torch.__version__} fp32, {torch.get_num_threads()} threads, "
            f"batch {PREDICT_BATCH}, {self._weights}"
        )

    def pairs_per_second(self, traffic: Traffic, seconds: float) -> float:
        """Score the requests, one `predict` call for all pairs, again and again for `seconds`."""
        pairs = [(r.query, passage) for r in traffic.requests for passage in r.passages]
        done = 0
        start = perf_counter()
        while (spent := perf_counter() - start) < seconds:
            self.model.predict(pairs, batch_size=PREDICT_BATCH, show_progress_bar=False)
            done += len(pairs)
        return done / spent


def load_reference(bundle: Bundle) -> Reference:
    """Build the reference for a bundle. Raises `ModuleNotFoundError` without the extra `train`."""
    # As plain modules: neither library's types are complete.
    torch: Any = import_module("torch")
    transformers: Any = import_module("transformers")
    stay_offline()
    transformers.utils.logging.disable_progress_bar()
    from retort.loadtest.peers.convert import read_weights, state_dict

    length = bundle.manifest.truncation.max_length
    try:
        weights = read_weights(bundle)
    except ValueError:
        size = bundle.manifest.architecture
        heads, positions = size.attention_heads, max(512, length)
        model = random_bert(size.vocabulary, size.layers, size.width, heads, positions)
        described = "random weights in the student's shape"
    else:
        config = transformers.BertConfig(**weights.config, num_labels=1)
        model = transformers.BertForSequenceClassification(config)
        arrays = {name: torch.from_numpy(array) for name, array in state_dict(weights).items()}
        model.load_state_dict(arrays)
        described = "the student's encoder and golden head"
    cross_encoder = load_cross_encoder(model, bundle.tokenizer_path, length)
    return Reference(cross_encoder, described)


def random_bert(
    vocabulary: int, layers: int, width: int, attention_heads: int, positions: int = 512
) -> Any:
    """A `BertForSequenceClassification` of that shape, with one output and random weights."""
    transformers: Any = import_module("transformers")
    config = transformers.BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=attention_heads,
        intermediate_size=4 * width,
        max_position_embeddings=positions,
        num_labels=1,
    )
    return transformers.BertForSequenceClassification(config)
