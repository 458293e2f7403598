"""The encoder of a graph: BERT's embeddings and layers, operator by operator.

Where only the last state of `[CLS]` is read, the last layer is trimmed. Only `[CLS]` is a query
there, so query, attention output, dense layers and norms are computed for it alone, and with one
query, keys and values need not be computed either (see `attend_first`): almost nothing is left of
the layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from onnx import TensorProto
from transformers import BertConfig

from retort.training.export.builder import FloatArray, GraphBuilder
from retort.training.nn.encoders import is_bi_lstm

# Added to the attention scores of padding: far below any score, and still finite in float16.
MASKED = -10000.0


class UnsupportedStudentError(ValueError):
    """The student's configuration has something that the graph cannot express."""


def check_config(config: BertConfig) -> None:
    """Raise `UnsupportedStudentError` for an encoder that the graph would get wrong."""
    if is_bi_lstm(config):
        raise UnsupportedStudentError(
            "a Bi-LSTM student is for comparison alone: export one of kind encoder"
        )
    if config.hidden_act != "gelu":
        raise UnsupportedStudentError(
            f'hidden_act is "{config.hidden_act}": the exporter writes "gelu" alone'
        )
    if getattr(config, "position_embedding_type", None) not in (None, "absolute"):
        raise UnsupportedStudentError(
            f'position_embedding_type is "{config.position_embedding_type}": use "absolute"'
        )
    if config.hidden_size % config.num_attention_heads:
        raise UnsupportedStudentError(
            f"width {config.hidden_size} does not divide into {config.num_attention_heads} "
            "attention heads"
        )


class Encoder:
    """Writes an encoder: embeddings, then layer after layer.

    `scope` goes before the names of its weights where a graph holds several encoders.
    """

    def __init__(
        self,
        builder: GraphBuilder,
        config: BertConfig,
        weights: Mapping[str, FloatArray],
        scope: str = "",
    ) -> None:
        self.builder = builder
        self.config = config
        self.weights = weights
        self.scope = scope

    def weight(self, name: str) -> str:
        """The encoder's weight `name` as an initializer."""
        return self.builder.weight(f"{self.scope}{name}", self.weights[name])

    def matrix(self, prefix: str) -> str:
        """The weights of a linear map as an initializer (in, out)."""
        name = f"{prefix}.weight"
        return self.builder.weight(f"{self.scope}{name}", self.weights[name].T)

    def norm(self, value: str, prefix: str) -> str:
        b = self.builder
        scale, bias = self.weight(f"{prefix}.weight"), self.weight(f"{prefix}.bias")
        epsilon = b.scalar(float(self.config.layer_norm_eps))
        centred = b.op("Sub", value, b.op("ReduceMean", value, axes=[-1], keepdims=1))
        variance = b.op("ReduceMean", b.op("Pow", centred, b.scalar(2.0)), axes=[-1], keepdims=1)
        unit = b.op("Div", centred, b.op("Sqrt", b.op("Add", variance, epsilon)))
        return b.op("Add", b.op("Mul", unit, scale), bias)

    def linear(self, value: str, prefix: str) -> str:
        b = self.builder
        bias = self.weight(f"{prefix}.bias")
        return b.op("Add", b.op("MatMul", value, self.matrix(prefix)), bias)

    def embed(
        self,
        ids: str = "input_ids",
        types: str = "token_type_ids",
        positions: str = "",
        length: str = "sequence",
    ) -> str:
        """Embeddings of `ids` (batch, `length`); `positions` are 0, 1, 2 … where none are given."""
        b = self.builder
        prefix = "encoder.embeddings"
        tables = {
            kind: self.weight(f"{prefix}.{kind}.weight")
            for kind in ("word_embeddings", "position_embeddings", "token_type_embeddings")
        }
        words = b.op("Gather", tables["word_embeddings"], ids, axis=0)
        where = positions or self.positions(ids)
        placed = b.op("Gather", tables["position_embeddings"], where, axis=0)
        typed = b.op("Gather", tables["token_type_embeddings"], types, axis=0)
        total = b.op("Add", b.op("Add", words, placed), typed)
        b.shape(total, ["batch", length, self.config.hidden_size])
        return self.norm(total, f"{prefix}.LayerNorm")

    def positions(self, ids: str) -> str:
        """0, 1, 2 … for each row of `ids`: (batch, sequence).

        One row or a slice of the table would do, but in this form ONNX Runtime knows positions and
        fuses look-ups, sums and norm into one operator.
        """
        b = self.builder
        end = b.op("Gather", b.op("Shape", ids), b.index(1), axis=0)
        row = b.op("Unsqueeze", b.op("Range", b.index(0), end, b.index(1)), axes=[0])
        return b.op("Expand", row, b.op("Shape", ids))

    def attention_bias(self) -> str:
        """0 where the mask is 1 and `MASKED` where it is 0, (batch, 1, 1, sequence)."""
        b = self.builder
        mask = b.op("Unsqueeze", b.op("Unsqueeze", "attention_mask", axes=[1]), axes=[2])
        present = b.op("Cast", mask, to=TensorProto.FLOAT)
        return b.op("Mul", b.op("Sub", b.scalar(1.0), present), b.scalar(MASKED))

    def split_heads(self, value: str, perm: Sequence[int]) -> str:
        heads = self.config.num_attention_heads
        shape = self.builder.integers(0, 0, heads, self.config.hidden_size // heads)
        return self.builder.op("Transpose", self.builder.op("Reshape", value, shape), perm=perm)

    def attend(self, hidden: str, bias: str, prefix: str) -> str:
        """Self-attention with its residual connection and norm: (batch, sequence, width)."""
        b = self.builder
        query = self.split_heads(self.linear(hidden, f"{prefix}.self.query"), (0, 2, 1, 3))
        key = self.split_heads(self.linear(hidden, f"{prefix}.self.key"), (0, 2, 3, 1))
        value = self.split_heads(self.linear(hidden, f"{prefix}.self.value"), (0, 2, 1, 3))
        scale = math.sqrt(self.config.hidden_size // self.config.num_attention_heads)
        scores = b.op("Add", b.op("Div", b.op("MatMul", query, key), b.scalar(scale)), bias)
        mixed = b.op("MatMul", b.op("Softmax", scores, axis=3), value)
        rows = b.op("Transpose", mixed, perm=(0, 2, 1, 3))
        joined = b.op("Reshape", rows, b.integers(0, 0, self.config.hidden_size))
        output = self.linear(joined, f"{prefix}.output.dense")
        return self.norm(b.op("Add", output, hidden), f"{prefix}.output.LayerNorm")

    def attend_first(self, hidden: str, bias: str, prefix: str) -> str:
        """What `attend` gives for `[CLS]` alone, (batch, 1, width), without keys and values.

        Weights move to the side of the one asking token: with its query q, the states H and the
        softmax a, q (H Wk)' is (q Wk') H', and a (H Wv) is (a H) Wv. The key's bias adds the same
        to every score, which changes no softmax; the value's bias is added whole, as a sums to 1.
        """
        b = self.builder
        width, heads = self.config.hidden_size, self.config.num_attention_heads
        size = width // heads
        first = b.op("Slice", hidden, b.integers(0), b.integers(1), b.integers(1))
        b.shape(first, ["batch", 1, width])
        query = b.op("Div", self.linear(first, f"{prefix}.self.query"), b.scalar(math.sqrt(size)))
        by_head = b.op("Reshape", query, b.integers(0, heads, size))
        key = self.by_head(f"{prefix}.self.key")
        asking = b.op("MatMul", b.op("Transpose", by_head, perm=(1, 0, 2)), key)
        asking = b.op("Transpose", asking, perm=(1, 0, 2))  # (batch, heads, width)
        scores = b.op("MatMul", asking, b.op("Transpose", hidden, perm=(0, 2, 1)))
        shares = b.op("Softmax", b.op("Add", scores, b.op("Squeeze", bias, axes=[1])), axis=2)
        mixed = b.op("Transpose", b.op("MatMul", shares, hidden), perm=(1, 0, 2))
        value = b.op("Transpose", self.by_head(f"{prefix}.self.value"), perm=(0, 2, 1))
        rows = b.op("Transpose", b.op("MatMul", mixed, value), perm=(1, 0, 2))
        joined = b.op("Reshape", rows, b.integers(0, 1, width))
        attended = b.op("Add", joined, self.weight(f"{prefix}.self.value.bias"))
        output = self.linear(attended, f"{prefix}.output.dense")
        return self.norm(b.op("Add", output, first), f"{prefix}.output.LayerNorm")

    def by_head(self, prefix: str) -> str:
        """The weights of a linear map as (attention heads, size, width), folded at load."""
        b = self.builder
        heads, width = self.config.num_attention_heads, self.config.hidden_size
        rows = b.op("Transpose", self.matrix(prefix), perm=(1, 0))
        return b.op("Reshape", rows, b.integers(heads, width // heads, width))

    def gelu(self, value: str) -> str:
        b = self.builder
        error = b.op("Erf", b.op("Div", value, b.scalar(math.sqrt(2.0))))
        return b.op("Mul", b.op("Mul", value, b.op("Add", error, b.scalar(1.0))), b.scalar(0.5))

    def write(self, *, trim: bool = False) -> str:
        """Write the whole encoder; returns the last hidden states (batch, sequence, width).

        Trimmed, these are those of `[CLS]` alone: (batch, 1, width).
        """
        return self.layers(self.embed(), self.attention_bias(), trim=trim)

    def layers(self, hidden: str, bias: str, *, trim: bool = False) -> str:
        """Write the layers alone; `bias` is added to the attention scores of each."""
        b = self.builder
        last = self.config.num_hidden_layers - 1
        for layer in range(self.config.num_hidden_layers):
            prefix = f"encoder.encoder.layer.{layer}"
            trimmed = trim and layer == last
            attend = self.attend_first if trimmed else self.attend
            attended = attend(hidden, bias, f"{prefix}.attention")
            wide = self.gelu(self.linear(attended, f"{prefix}.intermediate.dense"))
            narrow = self.linear(wide, f"{prefix}.output.dense")
            hidden = self.norm(b.op("Add", narrow, attended), f"{prefix}.output.LayerNorm")
        return hidden
