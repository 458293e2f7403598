"""Baselines: teachers in PyTorch fp32 by sentence-transformers, as most teams serve their rankers.

    cross-encoder:PLACE   CrossEncoder.predict on (query, passage)
    bi-encoder:PLACE      SentenceTransformer.encode, half of 1 + the cosine

A place is a folder that sentence-transformers can load, a checkpoint of `retort teach`, or
`package:NAME`, a Python package that carries a model. A backbone without a head of its own, as a
package brings it, gets one of random weights: it takes as long as a trained one, so it serves for
timing, and its scores mean nothing.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from sentence_transformers import CrossEncoder, SentenceTransformer
from torch import Tensor

from retort.cross_encoder import SMALL, fast_tokenizer, load_cross_encoder, stay_offline
from retort.training.nn.backbone import locate_backbone
from retort.training.nn.student import LinearHead, Student, load_student
from retort.training.recipes.kinds import CHECKPOINT_FILE, CONFIG_FILE, is_checkpoint, is_classifier
from retort.training.teachers.scoring.scorer import MODEL, Spec

PREDICT_BATCH = 32  # the library's default


@dataclass(frozen=True, slots=True)
class Baseline:
    """Scores the passages of one query, from 0 to 1 each.

    `shape_only` says that its weights are random, so that its scores mean nothing.
    """

    name: str
    shape_only: bool
    score: Callable[[str, Sequence[str]], list[float]] = field(repr=False)


def load_baseline(spec: Spec, max_length: int) -> Baseline:
    """The teacher that `spec` names, pairs cut at `max_length` tokens.

    Raises `ValueError` for a kind that has no baseline or a place without a model.
    """
    if spec.kind not in ("cross-encoder", "bi-encoder") or not spec.path:
        given = spec.path if spec.kind == MODEL else f"{spec.kind}:{spec.path}"
        raise ValueError(
            f"teacher {given!r}: expected one of cross-encoder, bi-encoder, a colon, a place"
        )
    stay_offline()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    folder = Path(locate_backbone(spec.path))
    if not is_checkpoint(folder) and not (folder / CONFIG_FILE).is_file():
        raise ValueError(
            f"{spec.path}: no folder with a {CONFIG_FILE} or a {CHECKPOINT_FILE} in it"
        )
    name = f"{spec.kind}:{spec.path}"
    if spec.kind == "bi-encoder":
        return Baseline(name, False, _by_cosine(_sentence_transformer(folder, max_length)))
    if is_checkpoint(folder):
        loaded = load_student(folder)
        model = load_cross_encoder(classifier_of(loaded.student), loaded.tokenizer_path, max_length)
        return Baseline(name, False, _by_predict(model))
    torch.manual_seed(0)  # the fresh head, if it needs one
    model = CrossEncoder(str(folder), num_labels=1, device="cpu", max_length=max_length)
    return Baseline(name, not _has_head(folder), _by_predict(model))


def _by_predict(model: CrossEncoder) -> Callable[[str, Sequence[str]], list[float]]:
    def score(query: str, passages: Sequence[str]) -> list[float]:
        pairs = [(query, passage) for passage in passages]
        found = model.predict(pairs, batch_size=PREDICT_BATCH, show_progress_bar=False)
        return [float(score) for score in found]

    return score


def _by_cosine(model: SentenceTransformer) -> Callable[[str, Sequence[str]], list[float]]:
    def score(query: str, passages: Sequence[str]) -> list[float]:
        vectors = model.encode(
            [query, *passages],
            batch_size=PREDICT_BATCH,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        return [float((1 + cosine) / 2) for cosine in vectors[1:] @ vectors[0]]

    return score


def _has_head(folder: Path) -> bool:
    config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    return is_classifier(config.get("architectures"))


def _sentence_transformer(folder: Path, max_length: int) -> SentenceTransformer:
    if is_checkpoint(folder):
        loaded = load_student(folder)
        with tempfile.TemporaryDirectory() as work:
            loaded.student.encoder.save_pretrained(work)
            fast_tokenizer(loaded.tokenizer_path, max_length).save_pretrained(work)
            # For a folder that says no more, the library takes the mean over the tokens.
            model = SentenceTransformer(work, device="cpu")
    else:
        model = SentenceTransformer(str(folder), device="cpu")
    model.max_seq_length = max_length
    return model


def classifier_of(student: Student) -> transformers.BertForSequenceClassification:
    """A `BertForSequenceClassification` that gives the mean logit of a checkpoint's linear heads.

    It has a pooler, tanh of a linear map, where a checkpoint's head is linear on `[CLS]`. The
    pooler made so small that tanh is the identity, and the classifier so much larger, are that
    head: tanh(x) differs from x by a share of x²/3, here about a hundred-thousandth. Raises
    `ValueError` for a head that is not linear.
    """
    weight, bias = linear_maps(student)
    # Without its two labels, as transformers warns of names that are not as many as the outputs.
    told = {k: v for k, v in student.config.to_dict().items() if k not in ("id2label", "label2id")}
    config = transformers.BertConfig.from_dict({**told, "num_labels": 1})
    model = transformers.BertForSequenceClassification(config)
    model.eval()
    model.bert.load_state_dict(student.encoder.state_dict(), strict=False)
    assert model.bert.pooler is not None
    with torch.no_grad():
        pooler = model.bert.pooler.dense
        pooler.weight.copy_(torch.eye(config.hidden_size) * SMALL)
        pooler.bias.zero_()
        model.classifier.weight.copy_(weight.mean(0, keepdim=True) / SMALL)
        model.classifier.bias.copy_(bias.mean(0, keepdim=True))
    return model


def linear_maps(student: Student) -> tuple[Tensor, Tensor]:
    """A checkpoint's heads as weight (heads, width) and bias (heads,), gain and shift folded in.

    Raises `ValueError` for a head that is not linear.
    """
    kinds = sorted({head.kind for head in student.heads} - {"linear"})
    if kinds:
        raise ValueError(f"the checkpoint has a {kinds[0]} head: a CrossEncoder has linear ones")
    maps = [head.linear for head in student.head_bank if isinstance(head, LinearHead)]
    weight = torch.cat([linear.weight for linear in maps]) * student.gain[:, None]
    return weight, torch.cat([linear.bias for linear in maps]) * student.gain + student.shift
