"""The segments: token types worked out inside a graph, for a server that does not send them.

infinity-emb's ONNX engine encodes a pair without token types, and its runtime then fills in zeros,
so a BERT takes the passage for more of the query and ranks wrongly. A graph that finds the segments
itself, by the first [SEP], gets the right ranks out of that engine.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer

TYPES = "token_type_ids"


def with_own_segments(model: onnx.ModelProto, tokenizer: Tokenizer) -> onnx.ModelProto:
    """A copy without the input of token types: 1 from behind the first [SEP] to the padding.

    Raises `ValueError` if the tokenizer has no [SEP].
    """
    sep = tokenizer.token_to_id("[SEP]")
    if sep is None:
        raise ValueError("the tokenizer has no [SEP], by which segments could be found")
    mended = onnx.ModelProto()
    mended.CopyFrom(model)
    graph = mended.graph
    inputs = [value for value in graph.input if value.name != TYPES]
    nodes = [
        helper.make_node("Equal", ["input_ids", "segments.sep"], ["segments.is_sep"]),
        helper.make_node("Cast", ["segments.is_sep"], ["segments.one"], to=TensorProto.INT32),
        helper.make_node(
            "CumSum", ["segments.one", "segments.axis"], ["segments.before"], exclusive=1
        ),
        helper.make_node("Greater", ["segments.before", "segments.zero"], ["segments.second"]),
        helper.make_node("Cast", ["segments.second"], ["segments.types"], to=TensorProto.INT64),
        helper.make_node("Mul", ["segments.types", "attention_mask"], [TYPES]),
    ]
    constants: dict[str, NDArray[np.generic]] = {
        "segments.sep": np.array(sep, dtype=np.int64),
        "segments.axis": np.array(1, dtype=np.int32),
        "segments.zero": np.array(0, dtype=np.int32),
    }
    nodes += graph.node
    del graph.input[:], graph.node[:]
    graph.input.extend(inputs)
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in constants.items())
    onnx.checker.check_model(mended)
    return mended
