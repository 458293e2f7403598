"""The builder of a graph: collects nodes and weights, and makes a checked ONNX model of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from retort.models.layout import INPUTS
from retort.models.runtime.base import OUTPUT

FloatArray = NDArray[np.float32]

# ONNX Runtime (1.31) fuses BERT's attention only where MatMul and Unsqueeze are those of opset 12
# and layer normalisation is spelled out; it then fuses that too, as OpenVINO does.
OPSET = 12
IR_VERSION = 7


class GraphBuilder:
    """Collects nodes and initializers; `op` names and adds one node."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.shapes: list[onnx.ValueInfoProto] = []

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node with one output and return that output's name."""
        output = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def weight(self, name: str, values: NDArray[np.generic]) -> str:
        """Add an initializer under `name`."""
        self.initializers[name] = numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name

    def shape(self, name: str, shape: Sequence[str | int]) -> None:
        """State a float32 value's shape where inference loses it: fusions ask for it."""
        self.shapes.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def scalar(self, value: float) -> str:
        """A float32 constant, shared by all who ask for the same value."""
        return self.weight(f"scalar_{value:g}", np.asarray(value, dtype=np.float32))

    def integers(self, *values: int) -> str:
        """An int64 vector, shared by all who ask for the same values."""
        name = "integers_" + "_".join(map(str, values))
        return self.weight(name, np.asarray(values, dtype=np.int64))

    def index(self, value: int) -> str:
        """An int64 constant without dimensions, shared by all who ask for the same value."""
        return self.weight(f"index_{value}", np.asarray(value, dtype=np.int64))

    def first(self, hidden: str) -> str:
        """The state of `[CLS]`: hidden (batch, sequence, width) to (batch, width)."""
        return self.op("Gather", hidden, self.index(0), axis=1)

    def finish(self, heads: int, title: str) -> onnx.ModelProto:
        """Make the nodes collected so far, which wrote `OUTPUT` (batch, heads), a checked model."""
        shape = ["batch", "sequence"]
        graph = helper.make_graph(
            self.nodes,
            title,
            [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in INPUTS],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", heads])],
            list(self.initializers.values()),
            value_info=self.shapes,
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], producer_name="retort")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        return model
