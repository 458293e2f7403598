"""Bundling: from a student to a bundle that reads back, and what is refused on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from retort.models.bundle import read_bundle
from retort.models.encoding import PairEncoder, Truncation
from retort.models.errors import BundleNotFound
from retort.models.manifest import DataSource, ParityBounds, ShapeProfile
from retort.models.scores import Calibration, combine
from retort.training.data.pairs import Pair
from retort.training.evaluate.calibration import CalibrationError, map_heads
from retort.training.evaluate.measures import expected_calibration_error
from retort.training.export.bundling import (
    BundleSpec,
    build_bundle,
    calibrate,
    export_graph,
    golden_pairs,
    shape_profiles,
)
from retort.training.export.encoder import UnsupportedStudentError
from retort.training.export.parity import ParityError
from retort.training.nn.inference import graph_model, run, student_model
from retort.training.nn.student import Student

LOOSE = ParityBounds(
    top1_agreement=0.8, kendall_tau=0.8, max_score_difference=0.1, ndcg_change=0.05
)


def spec(**options: object) -> BundleSpec:
    values: dict[str, object] = {
        "name": "tiny",
        "version": "1.2.3",
        "methods": ("TMKD",),
        "data": (DataSource(name="SQuAD", licence="CC BY-SA 4.0"),),
        "bounds": LOOSE,
    }
    return BundleSpec(**{**values, **options})  # type: ignore[arg-type]


def test_a_bundle_scores_as_its_student_does(
    tiny_student: Student,
    tokenizer_path: Path,
    truncation: Truncation,
    encoder: PairEncoder,
    labelled_pairs: tuple[Pair, ...],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "tiny"
    build_bundle(folder, tiny_student, tokenizer_path, truncation, labelled_pairs, spec())
    bundle = read_bundle(folder)
    manifest = bundle.manifest
    assert (manifest.name, manifest.version, manifest.methods) == ("tiny", "1.2.3", ("TMKD",))
    assert [(head.kind, head.teacher) for head in manifest.heads] == [
        ("golden", None),
        ("soft", "cross"),
        ("soft", "bi"),
    ]
    assert manifest.precision.storage == "int8"
    assert manifest.truncation == truncation
    assert manifest.parity is not None
    assert manifest.parity.bounds == LOOSE
    assert (manifest.parity.pairs, manifest.parity.queries) == (180, 30)
    assert manifest.shape_profiles
    assert len(bundle.golden) >= 64

    pairs = [Pair(golden.query, golden.passage) for golden in bundle.golden]
    original = run(student_model(tiny_student), encoder, pairs)
    assert np.asarray([golden.logits for golden in bundle.golden]) == pytest.approx(
        original, abs=2e-5
    )
    served = combine(run(graph_model(bundle.graph_path), bundle.encoder(), pairs)).score
    assert served == pytest.approx([golden.score for golden in bundle.golden], abs=0.1)


def test_a_graph_that_fails_the_gate_leaves_no_bundle(
    tiny_student: Student,
    tokenizer_path: Path,
    truncation: Truncation,
    labelled_pairs: tuple[Pair, ...],
    tmp_path: Path,
) -> None:
    strict = LOOSE.model_copy(update={"max_score_difference": 0.0})
    with pytest.raises(ParityError, match="largest score difference"):
        build_bundle(
            tmp_path / "tiny",
            tiny_student,
            tokenizer_path,
            truncation,
            labelled_pairs,
            spec(bounds=strict),
        )
    with pytest.raises(BundleNotFound):
        read_bundle(tmp_path / "tiny")
    assert list(tmp_path.iterdir()) == []


def test_calibration_pairs_make_the_score_a_probability(
    tiny_student: Student,
    tokenizer_path: Path,
    truncation: Truncation,
    encoder: PairEncoder,
    labelled_pairs: tuple[Pair, ...],
    tmp_path: Path,
) -> None:
    with torch.no_grad():
        tiny_student.shift.add_(4.0)  # every score near one
    labels = [float(pair.label or 0.0) for pair in labelled_pairs]
    before = combine(run(student_model(tiny_student), encoder, labelled_pairs)).score
    bundle = build_bundle(
        tmp_path / "tiny",
        tiny_student,
        tokenizer_path,
        truncation,
        labelled_pairs,
        spec(storage="fp16"),
        calibration=[labelled_pairs],
    )
    logits = run(graph_model(bundle.graph_path), bundle.encoder(), labelled_pairs)
    after = combine(logits, bundle.manifest.calibration).score
    # The heads are what they were: the order cannot have changed.
    assert combine(logits).score == pytest.approx(before, abs=0.01)
    for pair in bundle.golden:
        assert pair.score == combine([pair.logits], bundle.manifest.calibration).score[0]
    assert expected_calibration_error(labels, before) > 0.5
    assert expected_calibration_error(labels, after) < 0.15


def test_golden_pairs_are_spread_over_the_scores() -> None:
    # Nine in ten pairs score near nothing; golden pairs must not.
    pairs = [Pair("q", f"passage {number}") for number in range(1000)]
    logits = np.concatenate([np.linspace(-9, -7, 900), np.linspace(-4, 4, 100)])[:, None]
    golden = golden_pairs(pairs, logits.astype(np.float32))
    scores = np.asarray([pair.score for pair in golden])
    assert len(golden) == 96
    assert len({pair.passage for pair in golden}) == 96
    assert (np.diff(scores) >= 0).all()
    assert np.histogram(scores, bins=8, range=(0, 1))[0].min() >= 5


def test_two_copies_of_a_pair_are_one_golden_pair() -> None:
    pairs = [Pair("q", f"passage {number % 63}") for number in range(500)]
    assert len(golden_pairs(pairs, np.zeros((500, 1), np.float32))) == 63


def test_golden_pairs_of_one_score_are_still_as_many() -> None:
    pairs = [Pair("q", f"passage {number}") for number in range(70)]
    assert len(golden_pairs(pairs, np.zeros((70, 2), np.float32))) == 70


def test_calibrate_goes_on_top_of_what_the_student_has(tiny_student: Student) -> None:
    ids = torch.tensor([[2, 10, 3, 11, 12, 3]])
    inputs = (ids, torch.ones_like(ids), torch.tensor([[0, 0, 0, 1, 1, 1]]))
    maps = [Calibration(2.0, 0.1), Calibration(0.5, -0.2), Calibration(3.0, 0.3)]
    with torch.no_grad():
        before = tiny_student(*inputs).numpy()
        calibrate(tiny_student, maps)
        after = tiny_student(*inputs).numpy()
    assert after == pytest.approx(map_heads(before, maps), rel=1e-5)


def test_gains_for_another_number_of_heads_are_refused(tiny_student: Student) -> None:
    with pytest.raises(CalibrationError, match="2 maps for 3 heads"):
        calibrate(tiny_student, [Calibration(), Calibration()])


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


@pytest.mark.parametrize("longest", [5, 64, 128, 256, 512])
def test_profiles_cover_every_shape_and_are_made_for_the_typical_ones(longest: int) -> None:
    profiles = shape_profiles(Truncation(max_length=longest, max_query_tokens=1))

    def having(batch: int, sequence: int) -> list[ShapeProfile]:
        return [
            profile
            for profile in profiles
            if profile.batch.min <= batch <= profile.batch.max
            and profile.sequence.min <= sequence <= profile.sequence.max
        ]

    for batch in (1, 16, 17, 64, 256):
        for sequence in {min(8, longest), min(128, longest), min(129, longest), longest}:
            assert having(batch, sequence)
    # Full windows and pairs of a paragraph are each what some engine is made for.
    for sequence in {min(128, longest), longest}:
        for batch in (10, 64):
            assert any(
                (profile.batch.opt, profile.sequence.opt) == (batch, sequence)
                for profile in having(batch, sequence)
            )
    assert len(profiles) == (2 if longest <= 128 else 4)
