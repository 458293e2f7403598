"""Layer maps: a student's states and attention against a deeper teacher's (TinyBERT, as Meta-KD).

With M layers in the student, N in the teacher, H^0 the embeddings, H^j the states after layer j and
A^j the attention scores of layer j before mask and softmax,

    L_hidn = sum_{j=0..M} MSE(W H_S^j, H_T^{g(j)})     L_attn = sum_{j=1..M} MSE(A_S^j, A_T^{g(j)})
    g(j)   = ceil(j N / M)

which for N a multiple of M is Jiao et al. 2020 and Meta-KD's j N / M; they have no other case.

Every loss is one number a pair, so that pairs can be weighed, and a mean over the pair's tokens.
The official codes count padding in, as zeros, which makes a pair's loss depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from transformers import BertModel


class LayerMapError(ValueError):
    """A student's layers cannot be laid on a teacher's."""


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
    """g(layer). Raises `LayerMapError` for a student deeper than its teacher.

    Example: `[teacher_layer(j, 3, 6) for j in range(4)]` is `[0, 2, 4, 6]`.
    """
    if student_layers > teacher_layers:
        raise LayerMapError(
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

    Raises `LayerMapError` unless student and teacher have equally many attention heads.
    """
    mask = attention_mask.float()
    both = mask[:, :, None] * mask[:, None, :]
    total = mask.new_zeros(len(mask))
    for layer, own in enumerate(scores, start=1):
        target = teacher.attention(teacher_layer(layer, len(scores), len(teacher.keys)))
        if own.shape[1] != target.shape[1]:
            raise LayerMapError(
                f"the student has {own.shape[1]} attention heads and the teacher "
                f"{target.shape[1]}: set options.attention=false"
            )
        square = (own.float() - target.float()).pow(2).mean(1)
        total = total + (square * both).sum((1, 2)) / both.sum((1, 2))
    return total
