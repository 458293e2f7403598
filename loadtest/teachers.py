"""The teachers: PyTorch fp32 models of sentence-transformers, as most teams serve their rankers.

A teacher is named by its kind and its place:

    cross-encoder:PLACE   CrossEncoder.predict on (query, passage)
    bi-encoder:PLACE      SentenceTransformer.encode, half of 1 + the cosine

A place is a folder that sentence-transformers can load, a checkpoint of `retort teach`, or
`package:NAME`, a Python package that carries a model. A backbone without a head of its own, as a
package brings it, gets one of random weights: it takes as long as a taught one, so it serves for
timing, and its scores mean nothing.

Here alone the load test needs torch (extra `train`).
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from retort.loadtest.cross_encoder import classifier_of, load_cross_encoder, pair_tokenizer

PREDICT_BATCH = 32  # the library's default
KINDS = ("cross-encoder", "bi-encoder")


class Teacher(Protocol):
    """Scores the passages of one query."""

    @property
    def name(self) -> str:
        """Kind and place."""

    @property
    def shape_only(self) -> bool:
        """Whether its weights are random, so that its scores mean nothing."""

    def score(self, query: str, passages: Sequence[str]) -> list[float]:
        """One score from 0 to 1 for each passage; higher is better."""


@dataclass(frozen=True)
class CrossEncoderTeacher:
    """A `CrossEncoder`; with one output its `predict` gives probabilities."""

    name: str
    model: Any
    shape_only: bool

    def score(self, query: str, passages: Sequence[str]) -> list[float]:
        """One `predict` call for the request."""
        pairs = [(query, passage) for passage in passages]
        found = self.model.predict(pairs, batch_size=PREDICT_BATCH, show_progress_bar=False)
        return [float(score) for score in found]


@dataclass(frozen=True)
class BiEncoderTeacher:
    """A `SentenceTransformer`; query and passages are encoded in one call."""

    name: str
    model: Any
    shape_only: bool = False

    def score(self, query: str, passages: Sequence[str]) -> list[float]:
        """Cosines, moved from -1 … 1 to 0 … 1."""
        vectors = self.model.encode(
            [query, *passages],
            batch_size=PREDICT_BATCH,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return [float((1 + cosine) / 2) for cosine in vectors[1:] @ vectors[0]]


@dataclass(frozen=True)
class Ensemble:
    """One or several teachers; a score is the mean of theirs."""

    members: tuple[Teacher, ...]

    @property
    def name(self) -> str:
        """The members' names."""
        return " + ".join(member.name for member in self.members)

    @property
    def shape_only(self) -> bool:
        """Whether some member's scores mean nothing."""
        return any(member.shape_only for member in self.members)

    def score(self, query: str, passages: Sequence[str]) -> list[float]:
        """Each member in turn."""
        found = [member.score(query, passages) for member in self.members]
        return [sum(column) / len(found) for column in zip(*found, strict=True)]


def load_teacher(spec: str, max_length: int) -> Teacher:
    """The teacher that `spec` names, pairs cut at `max_length` tokens.

    Raises `ValueError` for a name of no known kind or a place without a model, and
    `ModuleNotFoundError` without the extra `train`.
    """
    kind, colon, place = spec.partition(":")
    if kind not in KINDS or not colon or not place:
        raise ValueError(f"teacher {spec!r}: expected one of {', '.join(KINDS)}, a colon, a place")
    # Nothing here may ask a hub, whatever the library would like to look up.
    os.environ["HF_HUB_OFFLINE"] = "1"
    folder = _folder(place)
    transformers: Any = import_module("transformers")
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    if kind == "bi-encoder":
        return BiEncoderTeacher(spec, _bi_encoder(folder, max_length))
    if (folder / "student.json").is_file():
        model = _from_checkpoint(folder, max_length)
        return CrossEncoderTeacher(spec, model, shape_only=False)
    import_module("torch").manual_seed(0)  # the fresh head, if it needs one
    sentence_transformers: Any = import_module("sentence_transformers")
    model = sentence_transformers.CrossEncoder(
        str(folder), num_labels=1, device="cpu", max_length=max_length
    )
    return CrossEncoderTeacher(spec, model, shape_only=not _has_head(folder))


def _folder(place: str) -> Path:
    folder = Path(place)
    if place.startswith("package:"):
        from retort.training.nn.backbone import locate_backbone

        folder = Path(locate_backbone(place))  # a BackboneError is a ValueError
    if not any((folder / name).is_file() for name in ("config.json", "student.json")):
        raise ValueError(f"{place}: no folder with a config.json or a student.json in it")
    return folder


def _has_head(folder: Path) -> bool:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return any("SequenceClassification" in name for name in config.get("architectures") or ())


def _from_checkpoint(folder: Path, max_length: int) -> Any:
    from retort.training.nn.checkpoint import load_student

    loaded = load_student(folder)
    return load_cross_encoder(classifier_of(loaded.student), loaded.tokenizer_path, max_length)


def _bi_encoder(folder: Path, max_length: int) -> Any:
    if not (folder / "student.json").is_file():
        return _sentence_transformer(folder, max_length)
    from retort.training.nn.checkpoint import load_student

    loaded = load_student(folder)
    transformers: Any = import_module("transformers")
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=pair_tokenizer(loaded.tokenizer_path),
        model_max_length=max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as work:
        loaded.student.encoder.save_pretrained(work)
        tokenizer.save_pretrained(work)
        # Of a folder that says no more, the library takes the mean over the tokens.
        return _sentence_transformer(Path(work), max_length)


def _sentence_transformer(folder: Path, max_length: int) -> Any:
    sentence_transformers: Any = import_module("sentence_transformers")
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    model.max_seq_length = max_length
    return model
