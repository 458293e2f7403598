"""Teachers as scorers: cross-encoders, bi-encoders and any cross-encoder of the hub.

A teacher's identity is the hash of its weights and of how it is asked, so that a score can be
kept for ever: a retrained teacher, another length or another engine is another identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from retort.models.encoding import Batch, PairEncoder, Truncation
from retort.training.data.pairs import Pair
from retort.training.nn.backbone import load_backbone, locate_backbone
from retort.training.nn.bi_encoder import BiEncoder
from retort.training.nn.checkpoint import load_student
from retort.training.nn.inference import run
from retort.training.nn.student import Student
from retort.training.recipes.recipe import TeacherRef
from retort.training.teachers.engine import Function, compile_module, engine_name

Floats = NDArray[np.float32]

BI_ENCODER_TOKENS = 128
VECTORS_KEPT = 500_000  # texts; at width 384 under a gigabyte


class Teacher(Protocol):
    """Whatever scores pairs with one logit each."""

    @property
    def name(self) -> str:
        """What recipes and reports call it."""

    @property
    def identity(self) -> str:
        """Content hash of weights, length and engine."""

    @property
    def block_pairs(self) -> int:
        """How many pairs to ask at once; more where texts are shared between pairs."""

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> Floats:
        """Logits (pairs,), or cosines for a bi-encoder; higher is better."""


def content_identity(module: nn.Module, *facts: object) -> str:
    """16 hex digits of the hash of all weights and of the facts given."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    digest.update(repr(facts).encode())
    return digest.hexdigest()


class _LogitAndState(nn.Module):
    """A checkpoint's mean logit and its `[CLS]` vector side by side, (batch, 1 + width)."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        logits, hidden = self.student.forward_hidden(input_ids, attention_mask, token_type_ids)
        return torch.cat([logits.mean(-1, keepdim=True), hidden[:, 0]], dim=-1)


@dataclass(frozen=True)
class CrossEncoder:
    """A checkpoint of ours: the mean of its logits, and its `[CLS]` vector where it is wanted."""

    name: str
    identity: str
    encoder: PairEncoder
    function: Function
    block_pairs: int = 8_192

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> Floats:
        """Logits (pairs,)."""
        return self.represent(pairs, progress)[0]

    def represent(self, pairs: Sequence[Pair], progress: bool = False) -> tuple[Floats, Floats]:
        """Logits (pairs,) and `[CLS]` vectors (pairs, width)."""

        def model(batch: Batch) -> Floats:
            return self.function(batch.input_ids, batch.attention_mask, batch.token_type_ids)

        rows = run(model, self.encoder, pairs, progress=self.name if progress else "")
        return rows[:, 0], rows[:, 1:]


@dataclass(frozen=True)
class BiEncoderTeacher:
    """Cosine of query and passage; a text is encoded once, however many pairs it stands in."""

    name: str
    identity: str
    encoder: PairEncoder
    function: Function
    block_pairs: int = 65_536
    _vectors: dict[str, Floats] = field(default_factory=dict, repr=False)

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> Floats:
        """Cosines (pairs,)."""
        if len(self._vectors) > VECTORS_KEPT:
            self._vectors.clear()
        self._embed({pair.query for pair in pairs}, progress)
        self._embed({pair.passage for pair in pairs}, progress)
        vectors = self._vectors
        return np.array(
            [vectors[pair.query] @ vectors[pair.passage] for pair in pairs], dtype=np.float32
        )

    def _embed(self, texts: set[str], progress: bool) -> None:
        cls, sep = self.encoder.special_ids
        new = sorted(texts - self._vectors.keys(), key=lambda text: (len(text), text))
        bar = tqdm(total=len(new), desc=self.name, disable=not progress, mininterval=10)
        for start in range(0, len(new), 64):
            block = new[start : start + 64]
            encoded = [
                text.ids[: BI_ENCODER_TOKENS - 2] for text in self.encoder.encode_passages(block)
            ]
            width = max(len(ids) for ids in encoded) + 2
            ids = np.zeros((len(block), width), dtype=np.int64)
            mask = np.zeros_like(ids)
            for row, tokens in enumerate(encoded):
                ids[row, : len(tokens) + 2] = [cls, *tokens, sep]
                mask[row, : len(tokens) + 2] = 1
            self._vectors.update(zip(block, self.function(ids, mask), strict=True))
            bar.update(len(block))


@dataclass(frozen=True)
class HubCrossEncoder:
    """Any sequence-classification model with its own tokenizer, by folder or hub name.

    One output is the logit; of two, the difference of the second and the first.
    """

    name: str
    identity: str
    model: nn.Module
    tokenizer: object
    max_length: int
    block_pairs: int = 8_192

    @torch.inference_mode()
    def score(self, pairs: Sequence[Pair], progress: bool = False) -> Floats:
        """Logits (pairs,)."""
        order = np.argsort([len(p.query) + len(p.passage) for p in pairs], kind="stable")
        device = next(self.model.parameters()).device
        scores = np.zeros(len(pairs), dtype=np.float32)
        bar = tqdm(total=len(pairs), desc=self.name, disable=not progress, mininterval=10)
        for start in range(0, len(pairs), 32):
            rows = order[start : start + 32]
            inputs = self.tokenizer(  # type: ignore[operator]  # a tokenizer is callable
                [pairs[row].query for row in rows], [pairs[row].passage for row in rows],
                truncation="only_second", max_length=self.max_length, padding=True,
                return_tensors="pt",
            ).to(device)  # fmt: skip
            logits = self.model(**inputs).logits.float()
            values = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
            scores[rows] = values.cpu().numpy()
            bar.update(len(rows))
        return scores


def load_teacher(reference: TeacherRef) -> Teacher:
    """The teacher a recipe names. Raises `BackboneError` or `CheckpointError`."""
    engine = engine_name()
    if reference.kind == "hub-cross-encoder":
        return _hub(reference)
    folder = Path(reference.path)
    if reference.kind == "bi-encoder":
        if (folder / "student.json").is_file():
            loaded = load_student(folder)
            module, tokenizer_path = BiEncoder(loaded.student.encoder), loaded.tokenizer_path
        else:
            backbone = load_backbone(reference.path)
            module, tokenizer_path = BiEncoder(backbone.encoder), backbone.tokenizer_path
        encoder = PairEncoder.from_file(tokenizer_path, Truncation(256, 128))
        identity = content_identity(module, "cosine", BI_ENCODER_TOKENS, engine)
        function = compile_module(module, ("input_ids", "attention_mask"))
        return BiEncoderTeacher(reference.name, identity, encoder, function)
    loaded = load_student(folder)
    identity = content_identity(loaded.student, loaded.truncation, engine)
    inputs = ("input_ids", "attention_mask", "token_type_ids")
    function = compile_module(_LogitAndState(loaded.student), inputs)
    return CrossEncoder(reference.name, identity, loaded.encoder(), function)


def _hub(reference: TeacherRef) -> HubCrossEncoder:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    place = locate_backbone(reference.path)
    model = AutoModelForSequenceClassification.from_pretrained(place).eval()
    tokenizer = AutoTokenizer.from_pretrained(place)
    if torch.cuda.is_available():
        model = model.cuda()
    limit = min(int(tokenizer.model_max_length), 512)
    identity = content_identity(model, "hub", limit)
    return HubCrossEncoder(reference.name, identity, model, tokenizer, limit)
