"""Shape bundles: random weights in the shape of well-known teachers, to be timed.

How long a pair takes depends on layers and width and not on what the weights have learned. So a
fresh clone, in which no teacher has been trained, can still compare the student with a teacher of
six layers and with a BERT-large on the same backend. Their scores mean nothing, and whatever is
measured with them says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from transformers import BertConfig

from retort.models.bundle import GRAPH_FILE, Bundle, read_bundle, write_bundle
from retort.models.errors import BundleError
from retort.models.golden import MIN_GOLDEN_PAIRS, GoldenPair
from retort.models.manifest import Architecture, HeadInfo, Manifest, WeightPrecision
from retort.models.scores import combine
from retort.training.export.bundling import export_graph
from retort.training.nn.student import Head, Student


@dataclass(frozen=True, slots=True)
class Shape:
    """An encoder's size."""

    name: str
    layers: int
    width: int
    attention_heads: int


SHAPES = {
    "minilm-l6": Shape("minilm-l6-untaught", layers=6, width=384, attention_heads=12),
    "bert-large": Shape("bert-large-untaught", layers=24, width=1024, attention_heads=16),
}


def shape_bundle(
    shape: Shape, like: Bundle, folder: Path, log: Callable[[str], None] = lambda text: None
) -> Bundle:
    """A bundle of that shape at `folder`, with the tokenizer, truncation and storage of `like`.

    One that is there already is used again. Raises `BundleError` if the folder holds something
    else.
    """
    manifest = _describe(shape, like)
    try:
        found = read_bundle(folder)
    except BundleError:
        pass
    else:
        same = ("name", "architecture", "truncation", "precision")
        if all(getattr(found.manifest, field) == getattr(manifest, field) for field in same):
            return found
    log(f"building {shape.name}, {shape.layers} layers of {shape.width}, random weights")
    return _build(manifest, like, folder)


def _describe(shape: Shape, like: Bundle) -> Manifest:
    return Manifest(
        name=shape.name,
        version="0",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        architecture=Architecture(
            layers=shape.layers,
            width=shape.width,
            attention_heads=shape.attention_heads,
            vocabulary=like.manifest.architecture.vocabulary,
            trimmed=True,  # its one head is linear
        ),
        truncation=like.manifest.truncation,
        heads=(HeadInfo(name="golden", kind="golden"),),
        precision=WeightPrecision(storage=like.manifest.precision.storage),
        methods=("random weights, for timing alone: the scores mean nothing",),
        shape_profiles=like.manifest.shape_profiles,
    )


def _build(manifest: Manifest, like: Bundle, folder: Path) -> Bundle:
    size = manifest.architecture
    torch.manual_seed(0)
    student = Student(
        BertConfig(
            vocab_size=size.vocabulary,
            hidden_size=size.width,
            num_hidden_layers=size.layers,
            num_attention_heads=size.attention_heads,
            intermediate_size=4 * size.width,
            max_position_embeddings=max(512, manifest.truncation.max_length),
            attn_implementation="eager",  # type: ignore[call-arg]  # one of the base class
        ),
        (Head("golden"),),
    ).eval()
    encoder = like.encoder()
    golden = []
    for number in range(MIN_GOLDEN_PAIRS):
        # Short ones: the server scores them all at start.
        texts = (f"which is number {number}", f"this is number {number * 7}")
        batch = encoder.collate(encoder.encode(texts[0], [texts[1]]))
        inputs = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
        with torch.inference_mode():
            logits = student(*map(torch.from_numpy, inputs))
        golden.append(
            GoldenPair(*texts, tuple(logits[0].tolist()), float(combine(logits.numpy()).score[0]))
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        graph = Path(work) / GRAPH_FILE
        export_graph(student, graph, manifest.precision.storage)
        return write_bundle(
            folder, manifest=manifest, graph=graph, tokenizer=like.tokenizer_path, golden=golden
        )
