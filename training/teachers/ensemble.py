"""The ensemble: one or several teachers that read one pair batch and give one logit each.

It takes a student's place when a bundle is made: the same inputs, logits (batch, heads), a gain and
a shift per head. Its score is therefore the mean of the heads' sigmoids too (TMKD, equation 6),
each calibrated to a probability, and `spread` is how far its members disagree.

A bi-encoder inside it scores a pair as it scores the two texts apart: query and passage are cut out
of the pair, and the passage gets a `[CLS]` of its own. Only truncation may differ: a pair leaves a
passage less room than a text alone has.

Members are named as scorers are (`scorers.py`): a checkpoint with one head, a bi-encoder, or a BERT
sequence classifier.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, BertModel

from retort.models.encoding import Truncation
from retort.models.layout import bert_layout
from retort.training.nn.backbone import (
    BackboneError,
    load_backbone,
    read_config,
    tokenizer_file,
)
from retort.training.nn.encoders import BiEncoder, split_segments
from retort.training.nn.student import Head, Student, load_student
from retort.training.teachers.classifier import LoadedClassifier, load_classifier
from retort.training.teachers.scoring.scorer import Spec, parse

# What an ensemble's pair may hold where no member says: what the checkpoints here learned with.
DEFAULT_TRUNCATION = Truncation(128, 48)

MemberKind = Literal["cross-encoder", "bi-encoder", "hub-cross-encoder"]


class EnsembleError(ValueError):
    """Teachers that cannot be one ensemble."""


class CrossMember(nn.Module):
    """A cross-encoder checkpoint of ours, with one head."""

    kind: MemberKind = "cross-encoder"

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student
        self.config: BertConfig = student.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """A pair batch (batch, sequence) to logits (batch,)."""
        logits: Tensor = self.student(input_ids, attention_mask, token_type_ids)
        return logits[:, 0]


class BiMember(nn.Module):
    """A bi-encoder that is given pairs: the cosine of a pair's two texts."""

    kind: MemberKind = "bi-encoder"

    def __init__(self, encoder: BertModel) -> None:
        super().__init__()
        self.bi_encoder = BiEncoder(encoder)
        self.config: BertConfig = encoder.config

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """A pair batch (batch, sequence) to cosines (batch,)."""
        cls_id = int(input_ids[0, 0])
        query, passage = split_segments(input_ids, attention_mask, token_type_ids, cls_id)
        cosines: Tensor = (self.bi_encoder(*query) * self.bi_encoder(*passage)).sum(-1)
        return cosines


class HubMember(nn.Module):
    """A BERT sequence classifier: pooler and classifier on the last hidden state of `[CLS]`.

    `weight` (width,) and `bias` are the classifier's, of two outputs the second less the first.
    """

    kind: MemberKind = "hub-cross-encoder"

    def __init__(self, encoder: BertModel, pooler: nn.Linear, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooler = pooler
        self.config: BertConfig = encoder.config
        self.register_buffer("weight", weight.detach().clone())
        self.register_buffer("bias", bias.detach().clone())

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """A pair batch (batch, sequence) to logits (batch,)."""
        hidden = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state
        pooled = torch.tanh(self.pooler(hidden[:, 0]))
        logits: Tensor = pooled @ self.get_buffer("weight") + self.get_buffer("bias")
        return logits


Member = CrossMember | BiMember | HubMember


class Ensemble(nn.Module):
    """Members under their names: token ids in, calibrated logits (batch, members) out."""

    gain: Tensor
    shift: Tensor

    def __init__(self, members: Sequence[tuple[str, Member]]) -> None:
        super().__init__()
        names = [name for name, _ in members]
        if not names or len(set(names)) < len(names):
            raise EnsembleError(
                f"members are named {', '.join(names) or 'not at all'}: give each one name, "
                "as in NAME=WHAT"
            )
        self.heads = tuple(Head(name) for name in names)
        self.members = nn.ModuleList(member for _, member in members)
        self.parts: tuple[Member, ...] = tuple(member for _, member in members)
        self.register_buffer("gain", torch.ones(len(names)))
        self.register_buffer("shift", torch.zeros(len(names)))

    @property
    def configs(self) -> tuple[BertConfig, ...]:
        """Each member's encoder."""
        return tuple(part.config for part in self.parts)

    @property
    def uncalibrated(self) -> tuple[str, ...]:
        """Members whose raw output is no logit of a probability: calibration has to make it one."""
        return tuple(
            head.name
            for head, part in zip(self.heads, self.parts, strict=True)
            if part.kind == "bi-encoder"
        )

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Inputs of shape (batch, sequence), int64; logits (batch, members), float32."""
        columns = [part(input_ids, attention_mask, token_type_ids) for part in self.parts]
        return torch.stack(columns, dim=-1).float() * self.gain + self.shift


@dataclass(frozen=True, slots=True)
class LoadedEnsemble:
    """An ensemble in evaluation mode and what belongs to it."""

    ensemble: Ensemble
    tokenizer_path: Path
    truncation: Truncation


@dataclass(frozen=True, slots=True)
class _Loaded:
    name: str
    member: Member
    tokenizer_path: Path
    truncation: Truncation | None = None


def load_ensemble(
    specs: Sequence[str], max_length: int | None = None, max_query_tokens: int | None = None
) -> LoadedEnsemble:
    """The ensemble of the members that `specs` name, read by one tokenizer.

    A pair and its query may be as long, in tokens, as is said here, or else as the longest that a
    member learned with. Raises `EnsembleError`, `CheckpointError` or `BackboneError`.
    """
    loaded = [_load(parse(spec)) for spec in specs]
    ensemble = Ensemble([(item.name, item.member) for item in loaded])
    first = loaded[0]
    for other in loaded[1:]:
        if _rules(other.tokenizer_path) != _rules(first.tokenizer_path):
            raise EnsembleError(
                f"{other.name} has another tokenizer than {first.name}: one graph reads one kind "
                "of token ids; export them apart"
            )
    learned = [item.truncation for item in loaded if item.truncation] or [DEFAULT_TRUNCATION]
    longest = max_length or max(item.max_length for item in learned)
    chosen = Truncation(
        longest,
        max_query_tokens or min(max(item.max_query_tokens for item in learned), longest // 2),
    )
    for item in loaded:
        room = item.member.config.max_position_embeddings
        if chosen.max_length > room:
            raise EnsembleError(
                f"max_length is {chosen.max_length}, and {item.name} has positions for {room} "
                "tokens: give a smaller --max-length"
            )
    return LoadedEnsemble(ensemble.eval(), first.tokenizer_path, chosen)


def _rules(path: Path) -> list[Any]:
    """What of a tokenizer decides token ids; padding and truncation do not."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return [content.get(part) for part in ("normalizer", "pre_tokenizer", "model")]


def _load(spec: Spec) -> _Loaded:
    if spec.kind == "bi-encoder":
        backbone = load_backbone(spec.path)
        bi = BiMember(backbone.encoder)
        return _Loaded(spec.name, bi, backbone.tokenizer_path, backbone.truncation)
    if spec.kind == "hub-cross-encoder":
        return _hub(spec.name, spec.path)
    loaded = load_student(Path(spec.path))
    if len(loaded.student.heads) != 1:
        raise EnsembleError(
            f"{spec.name} has {len(loaded.student.heads)} heads: a member of an ensemble has one; "
            "export this checkpoint alone"
        )
    member = CrossMember(loaded.student)
    return _Loaded(spec.name, member, loaded.tokenizer_path, loaded.truncation)


def _hub(name: str, place: str) -> _Loaded:
    known = load_classifier(name, place)
    member = bert_member(known)
    if member is None or known.layout != bert_layout(known.tokenizer):
        raise BackboneError(
            f"{place}: a {known.classifier.config.model_type} model; one graph of several teachers "
            "is written for BERT alone, laid out as BERT's pairs are. Export it as a bundle of its "
            "own"
        )
    return _Loaded(name, member, tokenizer_file(read_config(place)[0]), known.truncation)


def bert_member(known: LoadedClassifier) -> HubMember | None:
    """A BERT with one output, or two, as a member; None for any other model."""
    model = known.classifier.model
    if not isinstance(model, BertForSequenceClassification) or model.bert.pooler is None:
        return None
    rows, offsets = model.classifier.weight, model.classifier.bias
    if len(rows) > 2:
        return None
    wanted = known.classifier.wanted
    weight, bias = rows[wanted], offsets[wanted]
    if len(rows) == 2:
        weight, bias = weight - rows[1 - wanted], bias - offsets[1 - wanted]
    return HubMember(model.bert, model.bert.pooler.dense, weight, bias)
