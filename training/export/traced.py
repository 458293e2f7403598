"""The graph of a classifier: PyTorch's own exporter, for architectures that are not written here.

What it writes is not trimmed to `[CLS]` and fuses less than the student's graph does. PyTorch's
earlier exporter, which traces, made graphs of most architectures that scored wrongly at shapes
other than the example's.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import torch
from onnx import TensorProto, helper

from retort.models.runtime.base import OUTPUT
from retort.training.export.encoder import UnsupportedStudentError
from retort.training.teachers.classifier import Classifier

OPSET = 18
AXES = ("batch", "sequence")
# No axis of 1: the exporter would take that for a fixed size.
EXAMPLE = (3, 12)


def trace_graph(classifier: Classifier) -> onnx.ModelProto:
    """The graph of a classifier with float32 weights.

    Raises `UnsupportedStudentError` for an architecture that the exporter cannot express.
    """
    inputs = classifier.layout.inputs
    example = torch.ones(EXAMPLE, dtype=torch.int64)
    dynamic = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    try:
        with _quiet():
            program = torch.onnx.export(
                classifier,
                tuple(example.clone() for _ in inputs),
                dynamo=True,
                input_names=list(inputs),
                output_names=[OUTPUT],
                dynamic_shapes=tuple(dynamic for _ in inputs),
                opset_version=OPSET,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise UnsupportedStudentError(
            f"a {classifier.config.model_type} model: PyTorch's exporter makes no graph of it that "
            "takes pairs of every length; it can still label pairs and be evaluated"
        ) from error
    assert program is not None
    model = program.model_proto
    _forget_source(model)
    _name_axes(model)
    return model


def _forget_source(model: onnx.ModelProto) -> None:
    """Leave out, in place, where in whose files each node comes from: half of a small graph."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.ClearField("metadata_props")
    # Shapes with names that the exporter made up; a runtime infers them again.
    graph.ClearField("value_info")


def _name_axes(model: onnx.ModelProto) -> None:
    """Give inputs and logits the axes' names in place; the exporter makes some up."""
    graph = model.graph
    for value in graph.input:
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.INT64, AXES))
    graph.output[0].CopyFrom(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [AXES[0], 1]))


@contextmanager
def _quiet() -> Iterator[None]:
    """Neither the exporter's warnings nor its log: what is wrong shows in its exception."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
