"""Layer maps: what is traced is what the encoder did, and the losses are the formulas'."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import BertConfig, BertModel

from retort.training.methods.method import MethodError
from retort.training.methods.tinybert import (
    Trace,
    attention_losses,
    hidden_losses,
    teacher_layer,
    trace,
)

Floats = NDArray[np.float64]
LENGTHS = (9, 4, 6)


def encoder(layers: int, seed: int, heads: int = 2) -> BertModel:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=32, max_position_embeddings=16, initializer_range=0.3,
    )  # fmt: skip
    config._attn_implementation = "eager"
    model = BertModel(config, add_pooling_layer=False)
    model.eval()
    return model


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    ids = torch.randint(4, 40, (len(LENGTHS), max(LENGTHS)))
    mask = torch.tensor([[int(place < length) for place in range(9)] for length in LENGTHS])
    return ids, mask, torch.zeros_like(ids)


def array(tensor: torch.Tensor) -> Floats:
    result: Floats = tensor.detach().numpy().astype(np.float64)
    return result


def numpy_attention(model: BertModel, hidden: Floats, layer: int) -> Floats:
    """Scores of a layer from the weights alone, (batch, heads, sequence, sequence)."""
    own = model.get_submodule(f"encoder.layer.{layer - 1}.attention.self")
    heads = model.config.num_attention_heads
    size = hidden.shape[-1] // heads
    terms = []
    for name in ("query", "key"):
        weight = array(own.get_parameter(f"{name}.weight"))
        terms.append(hidden @ weight.T + array(own.get_parameter(f"{name}.bias")))
    scores = np.empty((len(hidden), heads, hidden.shape[1], hidden.shape[1]))
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for row in range(len(hidden)):
            scores[row, head] = terms[0][row][:, part] @ terms[1][row][:, part].T / np.sqrt(size)
    return scores


def test_the_trace_is_what_the_encoder_did() -> None:
    model = encoder(3, seed=2)
    ids, mask, types = inputs()
    seen = trace(model, ids, mask, types)
    whole = model(
        input_ids=ids, attention_mask=mask, token_type_ids=types, output_hidden_states=True,
        output_attentions=True,
    )  # fmt: skip
    assert len(seen.hidden) == 4
    for own, other in zip(seen.hidden, whole.hidden_states, strict=True):
        assert torch.equal(own, other)
    unseen = (1 - mask)[:, None, None, :].bool()
    for layer in (1, 2, 3):
        scores = seen.attention(layer)
        softmax = scores.masked_fill(unseen, -torch.inf).softmax(-1)
        assert torch.allclose(softmax, whole.attentions[layer - 1], atol=1e-6)
        by_hand = numpy_attention(model, array(seen.hidden[layer - 1]), layer)
        np.testing.assert_allclose(array(scores), by_hand, atol=1e-5)
    assert not model.get_submodule("encoder.layer.0.attention.self.query")._forward_hooks


def mean_square(own: Floats, other: Floats) -> float:
    return float(((own - other) ** 2).mean())


def test_both_losses_against_numpy_over_each_pairs_own_tokens() -> None:
    student, teacher = encoder(2, seed=3), encoder(4, seed=4)
    ids, mask, types = inputs()
    own, other = trace(student, ids, mask, types), trace(teacher, ids, mask, types)
    hidden = hidden_losses(own.hidden, other, mask)
    attention = attention_losses((own.attention(1), own.attention(2)), other, mask)
    for row, length in enumerate(LENGTHS):
        expected = sum(
            mean_square(array(own.hidden[j])[row, :length], array(other.hidden[k])[row, :length])
            for j, k in ((0, 0), (1, 2), (2, 4))
        )
        assert hidden[row].item() == pytest.approx(expected, rel=1e-6)
        expected = sum(
            mean_square(
                numpy_attention(student, array(own.hidden[j - 1]), j)[row, :, :length, :length],
                numpy_attention(teacher, array(other.hidden[k - 1]), k)[row, :, :length, :length],
            )
            for j, k in ((1, 2), (2, 4))
        )
        assert attention[row].item() == pytest.approx(expected, rel=1e-6)


def test_a_pairs_loss_does_not_depend_on_its_neighbours() -> None:
    student, teacher = encoder(1, seed=3), encoder(2, seed=4)

    def losses(rows: list[int], width: int) -> torch.Tensor:
        ids, mask, types = (tensor[rows, :width] for tensor in inputs())
        own, other = trace(student, ids, mask, types), trace(teacher, ids, mask, types)
        scores = (own.attention(1),)
        return hidden_losses(own.hidden, other, mask) + attention_losses(scores, other, mask)

    together = losses([0, 1, 2], 9)
    assert torch.allclose(losses([1], 4), together[1:2], rtol=1e-5)


def test_layers_are_laid_on_layers() -> None:
    assert [teacher_layer(j, 3, 6) for j in range(4)] == [0, 2, 4, 6]
    assert [teacher_layer(j, 4, 6) for j in range(5)] == [0, 2, 3, 5, 6]
    assert [teacher_layer(j, 6, 6) for j in range(7)] == list(range(7))
    with pytest.raises(MethodError, match="the student has 4 layers and the teacher 3"):
        teacher_layer(0, 4, 3)


def test_unequal_attention_heads_are_refused() -> None:
    ids, mask, types = inputs()
    own, other = (trace(encoder(1, 3, heads), ids, mask, types) for heads in (2, 4))
    with pytest.raises(MethodError, match="2 attention heads and the teacher 4: set options"):
        attention_losses((own.attention(1),), other, mask)


def test_a_trace_that_fails_leaves_no_hooks() -> None:
    model = encoder(1, seed=2)
    ids, mask, types = inputs()
    with pytest.raises(IndexError):
        trace(model, ids + 100, mask, types)
    assert not model.get_submodule("encoder.layer.0.attention.self.key")._forward_hooks
    assert isinstance(trace(model, ids, mask, types), Trace)
