"""Export: the file appears whole or not at all, with profiles that TensorRT can use."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import onnx
import pytest

from retort.models.encoding import Truncation
from retort.training.export.export import export_graph, shape_profiles
from retort.training.export.graph_encoder import UnsupportedStudentError
from retort.training.nn.student import Student


def test_the_file_holds_the_graph_and_its_weights(tiny_student: Student, tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.onnx"
    export_graph(tiny_student, path)
    onnx.checker.check_model(onnx.load(path, load_external_data=False))
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]


def test_an_export_that_fails_leaves_the_old_file(tiny_student: Student, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")
    tiny_student.config.hidden_act = "relu"
    with pytest.raises(UnsupportedStudentError):
        export_graph(tiny_student, path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_a_student_in_bf16_is_exported_as_fp32(tiny_student: Student, tmp_path: Path) -> None:
    model = export_graph(tiny_student.bfloat16(), tmp_path / "model.onnx", "fp32")
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert kinds == {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}


@pytest.mark.parametrize("longest", [5, 64, 192, 512])
def test_profiles_reach_from_one_pair_to_the_longest(longest: int) -> None:
    profiles = shape_profiles(Truncation(max_length=longest, max_query_tokens=1))
    assert min(profile.batch.min for profile in profiles) == 1
    assert all(profile.sequence.max == longest for profile in profiles)
    # No batch size between the smallest and the largest falls between two profiles.
    for first, second in pairwise(profiles):
        assert second.batch.min <= first.batch.max + 1
