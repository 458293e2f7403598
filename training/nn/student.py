"""The student: a shallow encoder with a golden head and one soft head per teacher.

TMKD (Yang et al., WSDM 2020) puts N+1 linear heads on the last hidden state of `[CLS]`
(equations 1 and 3). Two things differ here, both because the task is ranking:

* a head gives one logit, not two: `sigmoid(z)` is the two-class softmax with the other logit at 0;
* a soft head may have its teacher's own shape. A bi-encoder's score is a cosine of two mean-pooled
  texts, so the head that imitates one computes a cosine of the pair's two segments.

Example: a head list of `[Head("golden"), Head("soft-ce", teacher="ce"), Head("soft-bi",
kind="cosine", teacher="bi")]` gives logits of shape (batch, 3).

A checkpoint is the folder that holds a student, or a teacher of the student's shape.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from retort.failures import reading
from retort.models.bundle import TOKENIZER_FILE
from retort.models.encoding import PairEncoder, Truncation
from retort.training.nn.encoders import BiLstm, bi_lstm_config, is_bi_lstm
from retort.training.nn.first import encode_first
from retort.training.recipes.kinds import CHECKPOINT_FILE

WEIGHTS_FILE = "model.safetensors"

HeadKind = Literal["linear", "cosine"]


@dataclass(frozen=True, slots=True)
class Head:
    """One output of the student. `teacher` is None for the golden head alone."""

    name: str
    kind: HeadKind = "linear"
    teacher: str | None = None


def reads_first_alone(heads: Sequence[Head]) -> bool:
    """Whether `heads` read the last state of `[CLS]` and no other: then a layer is trimmed."""
    return all(head.kind == "linear" for head in heads)


class LinearHead(nn.Module):
    """One linear map on `h1`, the last hidden state of `[CLS]` (TMKD equations 1 and 3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def forward(self, hidden: Tensor, query_mask: Tensor, passage_mask: Tensor) -> Tensor:
        """Hidden states (batch, sequence, width) to logits (batch,)."""
        logits: Tensor = self.linear(hidden[:, 0])
        return logits.squeeze(-1)


class CosineHead(nn.Module):
    """An affine map on the cosine of mean-pooled query and passage tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(4.0))
        self.bias = nn.Parameter(torch.tensor(-1.0))

    def forward(self, hidden: Tensor, query_mask: Tensor, passage_mask: Tensor) -> Tensor:
        """Hidden states (batch, sequence, width) and float masks (batch, sequence) to (batch,)."""
        query = torch.einsum("bs,bsw->bw", query_mask, hidden)
        passage = torch.einsum("bs,bsw->bw", passage_mask, hidden)
        dot = (query * passage).sum(-1)
        norm = (query.pow(2).sum(-1) * passage.pow(2).sum(-1)).clamp_min(1e-12).sqrt()
        return self.scale * (dot / norm) + self.bias


_KINDS: dict[HeadKind, type[LinearHead] | type[CosineHead]] = {
    "linear": LinearHead,
    "cosine": CosineHead,
}


class Student(nn.Module):
    """Encoder and head bank: token ids in, logits (batch, heads) out."""

    gain: Tensor
    shift: Tensor

    def __init__(self, config: BertConfig, heads: Sequence[Head]) -> None:
        super().__init__()
        self.config = config
        self.heads = tuple(heads)
        # A Bi-LSTM is called as the encoder is, and gives the same thing.
        self.encoder: BertModel = (
            BiLstm(config)  # type: ignore[assignment]
            if is_bi_lstm(config)
            else BertModel(config, add_pooling_layer=False)
        )
        self.head_bank = nn.ModuleList(_KINDS[head.kind](config.hidden_size) for head in heads)
        # Each head's affine map to a probability, fitted on validation pairs and folded in at
        # export: logit' = gain * logit + shift.
        self.register_buffer("gain", torch.ones(len(heads)))
        self.register_buffer("shift", torch.zeros(len(heads)))

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Inputs of shape (batch, sequence), int64; logits (batch, heads), float32."""
        return self.forward_first(input_ids, attention_mask, token_type_ids)[0]

    def forward_first(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits (batch, heads) and the last hidden state of `[CLS]`, (batch, width).

        Where no head reads more, no more is computed.
        """
        if is_bi_lstm(self.config) or not reads_first_alone(self.heads):
            logits, hidden = self.forward_hidden(input_ids, attention_mask, token_type_ids)
            return logits, hidden[:, 0]
        first = encode_first(self.encoder, input_ids, attention_mask, token_type_ids).float()
        none = first.new_zeros(())
        return self._logits(first, none, none), first[:, 0]

    def forward_hidden(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits (batch, heads) and the last hidden states (batch, sequence, width)."""
        hidden = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state.float()
        mask = attention_mask.to(hidden.dtype)
        passage = token_type_ids.to(hidden.dtype) * mask
        return self._logits(hidden, mask - passage, passage), hidden

    def _logits(self, hidden: Tensor, query_mask: Tensor, passage_mask: Tensor) -> Tensor:
        columns = [head(hidden, query_mask, passage_mask) for head in self.head_bank]
        return torch.stack(columns, dim=-1) * self.gain + self.shift


class WithFirst(nn.Module):
    """A student whose forward pass gives the state of `[CLS]` too.

    A module of its own, because wrappers for several GPUs know nothing but `forward`.
    """

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `Student.forward_first`."""
        return self.student.forward_first(input_ids, attention_mask, token_type_ids)


def golden_alone(student: Student) -> Student:
    """The student with its golden head and no other, as `one_head`.

    Raises `ValueError` unless `student` has exactly one golden head.
    """
    golden = [index for index, head in enumerate(student.heads) if head.teacher is None]
    if len(golden) != 1:
        names = ", ".join(head.name for head in student.heads)
        raise ValueError(
            f"{len(golden)} golden heads among {names}: one head without a teacher is needed"
        )
    return one_head(student, golden[0])


def one_head(student: Student, index: int) -> Student:
    """The same encoder with this head alone, as its golden one; weights are shared, not copied."""
    alone = Student(student.config, [Head("golden", student.heads[index].kind)])
    alone.encoder = student.encoder
    alone.head_bank = nn.ModuleList([student.head_bank[index]])
    alone.gain, alone.shift = student.gain[[index]], student.shift[[index]]
    return alone.train(student.training)


def take_layers(source: BertModel, layers: Sequence[int], heads: Sequence[Head]) -> Student:
    """Build a student from the given layers of a deeper encoder.

    `layers` counts from 0. Raises `ValueError` for a layer that `source` does not have.
    """
    depth = source.config.num_hidden_layers
    if not layers or any(not 0 <= layer < depth for layer in layers):
        raise ValueError(f"layers {list(layers)} of an encoder with {depth}: use 0 to {depth - 1}")
    config = BertConfig.from_dict(source.config.to_dict())
    config.num_hidden_layers = len(layers)
    # As a checkpoint is loaded: a stage that goes on from one must add up the same way.
    config._attn_implementation = "eager"
    student = Student(config, heads)
    student.encoder.embeddings.load_state_dict(source.embeddings.state_dict())
    for target, layer in enumerate(layers):
        student.encoder.encoder.layer[target].load_state_dict(
            source.encoder.layer[layer].state_dict()
        )
    return student


def make_bi_lstm(source: BertModel, layers: int, units: int, heads: Sequence[Head]) -> Student:
    """A Bi-LSTM student over the word and segment embeddings of `source`."""
    student = Student(bi_lstm_config(source, layers, units), heads)
    for name in ("word_embeddings", "token_type_embeddings"):
        getattr(student.encoder.embeddings, name).load_state_dict(
            getattr(source.embeddings, name).state_dict()
        )
    return student


def narrow(wide: Student, width: int) -> Student:
    """Cut every hidden state to its first `width` dimensions, and every layer to fit.

    A crude pruning: better than random weights, much worse than the whole, which is what a weak
    teacher is for. Raises `ValueError` unless `width` is whole attention heads and below the width.
    """
    old = wide.config
    size = old.hidden_size // old.num_attention_heads
    if width % size or not 0 < width < old.hidden_size:
        raise ValueError(
            f"width {width} of an encoder {old.hidden_size} wide: give a multiple of {size} below"
        )
    config = BertConfig.from_dict(old.to_dict())
    config.hidden_size = width
    config.num_attention_heads = width // size
    config.intermediate_size = old.intermediate_size * width // old.hidden_size
    config._attn_implementation = "eager"
    student = Student(config, wide.heads)
    kept = wide.state_dict()
    state = {
        name: kept[name][tuple(slice(0, size) for size in value.shape)].clone()
        for name, value in student.state_dict().items()
    }
    student.load_state_dict(state)
    return student


def check_length(student: Student, truncation: Truncation) -> None:
    """Raise `ValueError` if the encoder has no positions for pairs as long as `truncation` says."""
    if not is_bi_lstm(student.config):
        check_positions(student.config.max_position_embeddings, truncation)


def check_positions(positions: int, truncation: Truncation) -> None:
    """Raise `ValueError` where so many positions are too few for a pair's tokens."""
    if truncation.max_length > positions:
        raise ValueError(
            f"max_length is {truncation.max_length}, and the encoder has positions for {positions} "
            "tokens: give a smaller max_length, or a backbone that reads more"
        )


class CheckpointError(ValueError):
    """A checkpoint folder is missing or incomplete."""


@dataclass(frozen=True, slots=True)
class LoadedStudent:
    """A student in evaluation mode and what belongs to it."""

    student: Student
    tokenizer_path: Path
    truncation: Truncation
    meta: dict[str, Any]

    def encoder(self) -> PairEncoder:
        """The pair encoder that the student was trained with."""
        with reading(self.tokenizer_path, "a tokenizer"):
            return PairEncoder.from_file(self.tokenizer_path, self.truncation)


def save_student(
    folder: Path,
    student: Student,
    tokenizer_path: Path,
    truncation: Truncation,
    meta: Mapping[str, Any],
) -> None:
    """Write the checkpoint; it takes an older one's place when it is whole."""
    state = {
        name: value.detach().contiguous().clone() for name, value in student.state_dict().items()
    }
    description = {
        "config": student.config.to_dict(),
        "heads": [asdict(head) for head in student.heads],
        "truncation": asdict(truncation),
        "meta": dict(meta),
    }
    with replacing(folder) as whole:
        save_file(state, whole / WEIGHTS_FILE)
        shutil.copyfile(tokenizer_path, whole / TOKENIZER_FILE)
        (whole / CHECKPOINT_FILE).write_text(json.dumps(description, indent=1) + "\n")


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """An empty folder to write into, which takes the place and name of `folder` at the end."""
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    yield temporary
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def load_student(folder: Path) -> LoadedStudent:
    """Raises `CheckpointError` naming what is missing."""
    for name in (CHECKPOINT_FILE, WEIGHTS_FILE, TOKENIZER_FILE):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name}: missing; is this a checkpoint folder?")
    with reading(folder, "a checkpoint"):
        description = json.loads((folder / CHECKPOINT_FILE).read_text())
        config = BertConfig.from_dict(description["config"])
        config._attn_implementation = "eager"
        student = Student(config, [Head(**head) for head in description["heads"]])
        student.load_state_dict(load_file(folder / WEIGHTS_FILE))
        return LoadedStudent(
            student.eval(),
            folder / TOKENIZER_FILE,
            Truncation(**description["truncation"]),
            description["meta"],
        )
