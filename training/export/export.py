"""Export: a student, or an ensemble of teachers, written as an ONNX graph, small on disk.

Its calibration is folded in.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import onnx

from retort.models.encoding import Truncation
from retort.models.manifest import Range, ShapeProfile
from retort.training.export.graph import build_graph, reads_first_alone
from retort.training.export.graph_builder import FloatArray
from retort.training.export.graph_ensemble import build_ensemble_graph
from retort.training.export.storage import Storage, shrink
from retort.training.nn.ensemble import CrossMember, Ensemble
from retort.training.nn.student import Student


def export_graph(
    student: Student | Ensemble, path: Path, storage: Storage = "int8"
) -> onnx.ModelProto:
    """Write `student`, or the teachers that stand in its place, to `path`; return the graph.

    The file appears whole or not at all. Raises `UnsupportedStudentError` or `StorageError`.
    """
    weights: dict[str, FloatArray] = {
        name: value.detach().float().cpu().numpy().astype(np.float32)
        for name, value in student.state_dict().items()
    }
    if isinstance(student, Ensemble):
        full = build_ensemble_graph(student, weights)
    else:
        full = build_graph(student.config, student.heads, weights)
    model = shrink(full, storage)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(model.SerializeToString(deterministic=True))
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return model


def is_trimmed(student: Student | Ensemble) -> bool:
    """Whether the last layer of every encoder in its graph is computed for `[CLS]` alone."""
    if isinstance(student, Student):
        return reads_first_alone(student.heads)
    return all(
        reads_first_alone(part.student.heads)
        if isinstance(part, CrossMember)
        else part.kind != "bi-encoder"
        for part in student.parts
    )


def shape_profiles(truncation: Truncation) -> tuple[ShapeProfile, ...]:
    """Shapes that TensorRT builds engines for: one for few pairs, one for many.

    An engine is fastest near its `opt` shape, so a single passage and a full batch get one each.
    """
    longest = truncation.max_length
    sequence = Range(min=min(8, longest), opt=min(128, longest), max=longest)
    return (
        ShapeProfile(batch=Range(min=1, opt=10, max=16), sequence=sequence),
        ShapeProfile(batch=Range(min=16, opt=64, max=256), sequence=sequence),
    )
