"""The ensemble: one or several teachers that read one pair batch and answer with one logit each.

It stands where a student stands when a bundle is made: the same inputs, logits (batch, heads), a
gain and a shift a head. Its score is therefore the mean of the heads' sigmoids too (TMKD, equation
6), each calibrated to a probability, and `spread` is what its members disagree about.

A bi-encoder inside it scores a pair as it scores the two texts apart: query and passage are cut out
of the pair, and the passage gets a `[CLS]` of its own. Only truncation may differ: a pair leaves a
passage less room than a text alone has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from retort.training.nn.bi_encoder import BiEncoder, split_segments
from retort.training.nn.student import Head, Student

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
