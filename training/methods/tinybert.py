"""TinyBERT: states and attention of a deeper teacher, then its scores (Jiao et al., EMNLP 2020).

With M layers in the student, N in the teacher, H^0 the embeddings, H^j the states after layer j and
A^j the attention scores of layer j before mask and softmax, a stage with `match: states` learns

    L_hidn = sum_{j=0..M} MSE(W H_S^j, H_T^{g(j)})     L_attn = sum_{j=1..M} MSE(A_S^j, A_T^{g(j)})
    g(j)   = ceil(j N / M)

and one with `match: scores` mean_i CE(z_T,i / T, z_S,i / T). For N a multiple of M, g is that of
Jiao et al. and of Meta-KD, j N / M; they have no other case. W is one map from the student's width
to the teacher's, which starts as the identity where they are equal. The first stage leaves the
student's head alone. The second has no labels unless its alpha is below 1, and sums over classes
where the official code averages (twice its loss).

Every loss is one number per pair, so that pairs can be weighed (`meta_kd.py`), and a mean over the
pair's tokens. The official codes count padding in, as zeros, which makes a pair's loss depend on
its neighbours. The teacher's states are too many to keep (a pair's are a thousand times its score):
the teacher runs in every step of the first stage, in evaluation mode and without gradient. Its
scores come from the store like any other's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from transformers import BertModel

from retort.training.methods.method import Examples, Material, Method, MethodError
from retort.training.nn.batching import TokenBatch
from retort.training.nn.losses import pointwise, soft_cross_entropy
from retort.training.nn.student import Student, load_student
from retort.training.recipes.methods import TinyBertOptions
from retort.training.recipes.parts.stage import Stage
from retort.training.recipes.parts.teacher import TeacherRef


@dataclass(frozen=True, slots=True)
class Trace:
    """What an encoder went through.

    N + 1 `hidden` states (batch, sequence, width), and the `queries` and `keys` of N layers,
    (batch, heads, sequence, width / heads).
    """

    hidden: tuple[Tensor, ...]
    queries: tuple[Tensor, ...]
    keys: tuple[Tensor, ...]

    def attention(self, layer: int) -> Tensor:
        """Scores (batch, heads, sequence, sequence) of a layer counted from 1, before the mask."""
        query, key = self.queries[layer - 1], self.keys[layer - 1]
        scores: Tensor = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        return scores


def trace(
    encoder: BertModel, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
) -> Trace:
    """Run the encoder on inputs (batch, sequence) and keep what it went through."""
    heads = encoder.config.num_attention_heads
    queries: list[Tensor] = []
    keys: list[Tensor] = []
    handles = []
    # Queries and keys are taken on their way: whatever computes the attention, these are its terms.
    for layer in range(encoder.config.num_hidden_layers):
        for name, kept in (("query", queries), ("key", keys)):
            module = encoder.get_submodule(f"encoder.layer.{layer}.attention.self.{name}")
            handles.append(module.register_forward_hook(_keep(kept, heads)))
    try:
        outputs = encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            output_hidden_states=True,
        )
    finally:
        for handle in handles:
            handle.remove()
    return Trace(tuple(outputs.hidden_states), tuple(queries), tuple(keys))


def _keep(kept: list[Tensor], heads: int) -> Callable[[nn.Module, object, Tensor], None]:
    def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
        batch, sequence, width = output.shape
        kept.append(output.view(batch, sequence, heads, width // heads).transpose(1, 2))

    return hook


def teacher_layer(layer: int, student_layers: int, teacher_layers: int) -> int:
    """g(layer). Raises `MethodError` for a student deeper than its teacher.

    Example: `[teacher_layer(j, 3, 6) for j in range(4)]` is `[0, 2, 4, 6]`.
    """
    if student_layers > teacher_layers:
        raise MethodError(
            f"the student has {student_layers} layers and the teacher {teacher_layers}: a student "
            "whose states are matched is at most as deep as its teacher"
        )
    return -(-layer * teacher_layers // student_layers)


def hidden_losses(mapped: tuple[Tensor, ...], teacher: Trace, attention_mask: Tensor) -> Tensor:
    """L_hidn (batch,) of the student's M + 1 states, already of the teacher's width."""
    mask = attention_mask.float()
    depth, teacher_depth = len(mapped) - 1, len(teacher.hidden) - 1
    total = mask.new_zeros(len(mask))
    for layer, states in enumerate(mapped):
        target = teacher.hidden[teacher_layer(layer, depth, teacher_depth)]
        square = (states.float() - target.float()).pow(2).mean(-1)
        total = total + (square * mask).sum(1) / mask.sum(1)
    return total


def attention_losses(scores: tuple[Tensor, ...], teacher: Trace, attention_mask: Tensor) -> Tensor:
    """L_attn (batch,) of the student's M attention scores (batch, heads, sequence, sequence).

    Raises `MethodError` unless student and teacher have equally many attention heads.
    """
    mask = attention_mask.float()
    both = mask[:, :, None] * mask[:, None, :]
    total = mask.new_zeros(len(mask))
    for layer, own in enumerate(scores, start=1):
        target = teacher.attention(teacher_layer(layer, len(scores), len(teacher.keys)))
        if own.shape[1] != target.shape[1]:
            raise MethodError(
                f"the student has {own.shape[1]} attention heads and the teacher "
                f"{target.shape[1]}: set options.attention=false"
            )
        square = (own.float() - target.float()).pow(2).mean(1)
        total = total + (square * both).sum((1, 2)) / both.sum((1, 2))
    return total


class Mapped(NamedTuple):
    """A student's states on the teacher's terms.

    M + 1 `hidden` (batch, sequence, width), M attention `scores` (batch, heads, sequence, sequence)
    and, in Meta-KD, `z` for each domain, (batch, domains, width).
    """

    hidden: tuple[Tensor, ...]
    scores: tuple[Tensor, ...]
    z: Tensor | None = None


class StateStudent(nn.Module):
    """A student with the map that the first stage trains too and that nobody needs later.

    What is drawn is drawn from `generator`: a run that goes on must start this stage as it was
    started.
    """

    def __init__(
        self, student: Student, width: int, attention: bool, generator: torch.Generator
    ) -> None:
        super().__init__()
        own = student.config.hidden_size
        self.student = student
        self.attention = attention
        self.fit = nn.Linear(own, width)
        nn.init.zeros_(self.fit.bias)
        if own == width:
            nn.init.eye_(self.fit.weight)
        else:
            nn.init.normal_(self.fit.weight, std=own**-0.5, generator=generator)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Mapped:
        """Inputs of shape (batch, sequence)."""
        return self.mapped(trace(self.student.encoder, input_ids, attention_mask, token_type_ids))

    def mapped(self, seen: Trace) -> Mapped:
        """What the student went through, on the teacher's terms."""
        layers = range(1, len(seen.keys) + 1) if self.attention else ()
        return Mapped(
            tuple(self.fit(states) for states in seen.hidden),
            tuple(seen.attention(layer) for layer in layers),
        )


@dataclass(frozen=True)
class States:
    """What the first stage knows: the frozen teacher, and the seed of the map."""

    teacher: Student
    seed: int

    @torch.no_grad()
    def ask(self, batch: TokenBatch) -> Trace:
        """What the teacher goes through on a batch."""
        encoder = self.teacher.to(batch.input_ids.device).encoder
        return trace(encoder, *batch.inputs)


@dataclass(frozen=True)
class TinyBert(Method):
    """Both stages; `states` is set in a prepared stage of states alone."""

    options: TinyBertOptions = field(default_factory=TinyBertOptions)
    states: States | None = None

    def asked(self, stage: Stage) -> tuple[TeacherRef, ...]:
        """A stage that matches states reads no scores."""
        return () if stage.match == "states" else self.teachers

    def module(self, student: Student) -> nn.Module:
        """The student with its map in the first stage, alone in the second."""
        if self.states is None:
            return super().module(student)
        generator = torch.Generator().manual_seed(self.states.seed)
        width = self.states.teacher.config.hidden_size
        return StateStudent(student, width, self.options.attention, generator)

    def prepare(self, material: Material) -> Self:
        """In the first stage load the teacher. Raises `MethodError`."""
        if material.stage.match == "scores":
            return replace(self, states=None)
        return replace(self, states=States(self._teacher(material), material.seed))

    def _teacher(self, material: Material) -> Student:
        reference, stage = self.teachers[0], material.stage
        if stage.hidden:
            raise MethodError(
                f"a stage has match: states and hidden: {stage.hidden}; all hidden states are "
                "matched there anyway: leave hidden out"
            )
        loaded = load_student(Path(reference.path))
        if loaded.tokenizer_path.read_bytes() != material.tokenizer_path.read_bytes():
            raise MethodError(
                f"{reference.name} has another tokenizer than the student "
                f"({material.tokenizer_path}): states are matched token by token; cut both from "
                "one backbone"
            )
        return loaded.student.eval().requires_grad_(False)

    def loss(self, outputs: Any, batch: TokenBatch, examples: Examples, stage: Stage) -> Tensor:
        """The loss on states or on scores."""
        if self.states is not None:
            return self.state_losses(self.states, outputs, batch, examples).mean()
        logits = outputs[0][:, 0].float()
        soft = soft_cross_entropy(logits, examples.odds[:, 0], self.options.temperature).mean()
        if stage.alpha == 1.0:
            return soft
        golden = pointwise(logits, examples.labels, examples.groups)
        return (1 - stage.alpha) * golden + stage.alpha * soft

    def state_losses(
        self, states: States, outputs: Mapped, batch: TokenBatch, examples: Examples
    ) -> Tensor:
        """L_hidn + L_attn of each pair, (batch,)."""
        return layer_losses(outputs, states.ask(batch), batch.attention_mask)


def layer_losses(outputs: Mapped, seen: Trace, attention_mask: Tensor) -> Tensor:
    """L_hidn + L_attn of each pair, (batch,), the latter where attention is matched."""
    losses = hidden_losses(outputs.hidden, seen, attention_mask)
    if outputs.scores:
        losses = losses + attention_losses(outputs.scores, seen, attention_mask)
    return losses
