"""Scorers: models that score pairs, named by `[NAME=][KIND:]PLACE` and loaded here alone.

    cross-encoder:FOLDER       a checkpoint of `retort teach`, its mean logit
    bi-encoder:PLACE           a checkpoint's encoder, or a backbone: the cosine of the two texts
    hub-cross-encoder:PLACE    any sequence classifier, by folder or hub name
    PLACE                      a student, by its checkpoint's folder, or a bundle by path or name:
                               probabilities (TMKD equation 6); a bundle's are calibrated, and it
                               reads long passages in windows, as it is served

Teachers and checkpoints read what training reads of a pair: as much as fits.

A recipe's teacher has the same name, kind and place. A scorer's identity is the hash of its weights
and of how it is asked, so that a score can be kept indefinitely: a retrained teacher, another
length or another backend is another identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from retort.failures import reading
from retort.models.bundle import Bundle, find_bundle, read_bundle
from retort.models.encoding import PairEncoder, Truncation
from retort.models.errors import BundleError
from retort.models.reading.windows import READING, Reading
from retort.models.runtime.options import RuntimeOptions
from retort.models.scores import combine
from retort.ranker import Ranker
from retort.training.data.pairs import Pair
from retort.training.nn.backbone import load_backbone, locate_backbone
from retort.training.nn.encoders import BiEncoder
from retort.training.nn.inference import (
    Function,
    Model,
    backend_name,
    compile_module,
    compiled_model,
    run,
    student_model,
)
from retort.training.nn.student import Student, load_student
from retort.training.recipes.files import Place, is_checkpoint
from retort.training.recipes.recipe import TeacherRef
from retort.training.teachers.given import load_given

Scores = NDArray[np.float32] | NDArray[np.float64]

TEACHERS = ("cross-encoder", "bi-encoder", "hub-cross-encoder")
MODEL = "model"  # a student, wherever no kind is named

BI_ENCODER_TOKENS = 128
BLOCK_PAIRS = 1_024
FLOAT32 = RuntimeOptions(backend="onnxruntime", provider="cpu", precision="fp32")
VECTORS_KEPT = 500_000  # texts; at width 384 under a gigabyte


class UnknownScorerError(ValueError):
    """There is no such scorer, or it has no scores of a set."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a command line says of a scorer."""

    name: str
    kind: str
    path: str


Reference = Spec | TeacherRef  # what names a scorer


def parse(text: str) -> Spec:
    """`[NAME=][KIND:]PLACE` in its parts. Nothing is looked up.

    Without a name it goes by the last part of its place.

    >>> parse("bi=bi-encoder:package:gt")
    Spec(name='bi', kind='bi-encoder', path='package:gt')
    >>> parse("runs/teachers/ce")
    Spec(name='ce', kind='model', path='runs/teachers/ce')
    """
    before, equals, rest = text.partition("=")
    what = rest if equals else before
    kind, colon, place = what.partition(":")
    if not colon or kind not in TEACHERS:
        kind, place = MODEL, what
    short = place.rstrip("/").replace(":", "/").rpartition("/")[2]
    return Spec(before if equals else short, kind, place)


@dataclass(frozen=True)
class Scorer:
    """A model that scores pairs.

    `identity` is the content hash of weights, length and backend; "" where scores are not kept by
    it. Scores are `probabilities`, else logits or cosines. `block_pairs` is how many pairs to score
    per call; more where pairs share texts.
    """

    name: str
    identity: str
    probabilities: ClassVar[bool] = False
    block_pairs: ClassVar[int] = 8_192

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> Scores:
        """One score per pair, (pairs,); higher is better."""
        raise NotImplementedError


def load_scorer(reference: Reference) -> Scorer:
    """The scorer that a `Spec` or a recipe's teacher names.

    Raises `UnknownScorerError`, `CheckpointError`, `BackboneError` or `Unreadable`.
    """
    place = Place("", reference.path, "teacher", reference.kind)
    if reference.kind in TEACHERS and (fault := place.fault()):
        raise UnknownScorerError(f"{reference.name}={reference.path}: {fault}")
    with reading(reference.path, f"a {reference.kind}"):
        if reference.kind == "cross-encoder":
            return load_cross_encoder(reference)
        if reference.kind == "bi-encoder":
            return _bi_encoder(reference)
        if reference.kind == "hub-cross-encoder":
            return _hub_cross_encoder(reference)
        return _model(reference)


def identity_of(teacher: TeacherRef) -> str:
    """Under which its scores are kept. Raises as `load_scorer` and `load_given`."""
    loaded = load_given(teacher) if teacher.kind == "given" else load_scorer(teacher)
    return loaded.identity


def content_identity(module: nn.Module, *facts: object) -> str:
    """16 hex digits of the hash of all weights and of the facts given."""
    return state_identity(module.state_dict(), *facts)


def state_identity(state: Mapping[str, Tensor], *facts: object) -> str:
    """As `content_identity`, of some weights by name."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(state.items()):
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
        logits, first = self.student.forward_first(input_ids, attention_mask, token_type_ids)
        return torch.cat([logits.mean(-1, keepdim=True), first], dim=-1)


@dataclass(frozen=True)
class CrossEncoder(Scorer):
    """A checkpoint of ours: the mean of its logits, and its `[CLS]` vector where it is wanted."""

    module: Student
    encoder: PairEncoder
    model: Model = field(repr=False)

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> NDArray[np.float32]:
        """Logits (pairs,)."""
        return self.represent(pairs, progress)[0]

    def represent(
        self, pairs: Sequence[Pair], progress: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Logits (pairs,) and `[CLS]` vectors (pairs, width)."""
        rows = run(self.model, self.encoder, pairs, progress=self.name if progress else "")
        return rows[:, 0], rows[:, 1:]


def load_cross_encoder(reference: Reference) -> CrossEncoder:
    """A checkpoint's folder as a teacher. Raises `CheckpointError`."""
    loaded = load_student(Path(reference.path))
    return CrossEncoder(
        reference.name,
        content_identity(loaded.student, loaded.truncation, backend_name()),
        loaded.student,
        loaded.encoder(),
        compiled_model(_LogitAndState(loaded.student)),
    )


@dataclass(frozen=True)
class BiEncoderScorer(Scorer):
    """Cosine of query and passage; a text is encoded once, however many pairs it is part of."""

    block_pairs: ClassVar[int] = 65_536

    module: BiEncoder
    encoder: PairEncoder
    function: Function = field(repr=False)
    _vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> NDArray[np.float32]:
        """Cosines (pairs,)."""
        if len(self._vectors) > VECTORS_KEPT:
            self._vectors.clear()
        self._embed({pair.query for pair in pairs}, progress)
        self._embed({pair.passage for pair in pairs}, progress)
        vectors = self._vectors
        return np.array(
            [vectors[pair.query] @ vectors[pair.passage] for pair in pairs], dtype=np.float32
        )

    def query_vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (texts, width) of queries."""
        self._embed(set(texts), progress=True)
        return np.stack([self._vectors[text] for text in texts])

    def passage_vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors (texts, width) of passages, read as queries are."""
        return self.query_vectors(texts)

    def _embed(self, texts: set[str], progress: bool) -> None:
        (cls,), (sep,) = self.encoder.layout.before, self.encoder.layout.after
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


def load_embedder(place: str) -> BiEncoderScorer:
    """A bi-encoder for its vectors, by the place of a teacher. Raises as `load_scorer`."""
    return _bi_encoder(Spec("dense_teacher", "bi-encoder", place))


def _bi_encoder(reference: Reference) -> BiEncoderScorer:
    backbone = load_backbone(reference.path)
    module = BiEncoder(backbone.encoder)
    return BiEncoderScorer(
        reference.name,
        content_identity(module, "cosine", BI_ENCODER_TOKENS, backend_name()),
        module,
        PairEncoder.from_file(backbone.tokenizer_path, Truncation(256, 128)),
        compile_module(module, ("input_ids", "attention_mask")),
    )


@dataclass(frozen=True)
class HubCrossEncoder(Scorer):
    """Any sequence-classification model with its own tokenizer, by folder or hub name.

    One output is the logit; of two, the difference of the second and the first.
    """

    module: nn.Module
    tokenizer: Any
    max_length: int

    @torch.inference_mode()
    def score(self, pairs: Sequence[Pair], progress: bool = False) -> NDArray[np.float32]:
        """Logits (pairs,)."""
        order = np.argsort([len(p.query) + len(p.passage) for p in pairs], kind="stable")
        device = next(self.module.parameters()).device
        scores = np.zeros(len(pairs), dtype=np.float32)
        bar = tqdm(total=len(pairs), desc=self.name, disable=not progress, mininterval=10)
        for start in range(0, len(pairs), 32):
            rows = order[start : start + 32]
            inputs = self.tokenizer(
                [pairs[row].query for row in rows], [pairs[row].passage for row in rows],
                truncation="only_second", max_length=self.max_length, padding=True,
                return_tensors="pt",
            ).to(device)  # fmt: skip
            logits = self.module(**inputs).logits.float()
            values = logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
            scores[rows] = values.cpu().numpy()
            bar.update(len(rows))
        return scores


def _hub_cross_encoder(reference: Reference) -> HubCrossEncoder:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    place = locate_backbone(reference.path)
    model = AutoModelForSequenceClassification.from_pretrained(place).eval()
    tokenizer = AutoTokenizer.from_pretrained(place)
    if torch.cuda.is_available():
        model = model.cuda()
    limit = min(int(tokenizer.model_max_length), 512)
    identity = content_identity(model, "hub", limit)
    return HubCrossEncoder(reference.name, identity, model, tokenizer, limit)


@dataclass(frozen=True)
class StudentScorer(Scorer):
    """A student's checkpoint in float32: its probabilities (TMKD equation 6)."""

    probabilities: ClassVar[bool] = True

    model: Model
    encoder: PairEncoder

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> NDArray[np.float64]:
        """Probabilities (pairs,)."""
        logits = run(self.model, self.encoder, pairs, progress=self.name if progress else "")
        return combine(logits).score


@dataclass(frozen=True)
class BundleScorer(Scorer):
    """A bundle that reads as it is served; a pair that is there several times is scored once."""

    probabilities: ClassVar[bool] = True

    ranker: Ranker
    reading: Reading = READING

    def score(self, pairs: Sequence[Pair], progress: bool = False) -> NDArray[np.float64]:
        """Probabilities (pairs,)."""
        places: dict[tuple[str, str], int] = {}
        rows = [places.setdefault((p.query, p.passage), len(places)) for p in pairs]
        texts = list(places)
        # Pairs of like length share a batch, and a block is what there is to choose from.
        texts.sort(key=lambda text: len(text[1]))
        order = np.array([places[text] for text in texts])
        scores = np.zeros(len(texts))
        bar = tqdm(total=len(texts), desc=self.name, unit="pair", disable=not progress)
        for start in range(0, len(texts), BLOCK_PAIRS):
            block = texts[start : start + BLOCK_PAIRS]
            scores[order[start : start + len(block)]] = self.ranker.score(block, self.reading)
            bar.update(len(block))
        bar.close()
        return scores[rows]


def _model(reference: Reference) -> StudentScorer | BundleScorer:
    if is_checkpoint(reference.path):
        loaded = load_student(Path(reference.path))
        return StudentScorer(reference.name, "", student_model(loaded.student), loaded.encoder())
    try:
        bundle = read_bundle(find_bundle(reference.path))
    except BundleError as error:
        raise UnknownScorerError(
            f"{reference.name}={reference.path}: no checkpoint (student.json), no .npz of scores, "
            f"and no bundle ({error})"
        ) from error
    return load_bundle(reference.name, bundle)


def load_bundle(
    name: str, bundle: Bundle, reading: Reading = READING, options: RuntimeOptions = FLOAT32
) -> BundleScorer:
    """A bundle in ONNX Runtime and float32, or as `options` say.

    Raises `BundleError` for bad golden pairs, `StartError` if no backend can run it so.
    """
    return BundleScorer(name, "", Ranker(bundle, options), reading)
