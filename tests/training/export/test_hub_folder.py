"""Students as folders of the hub, loaded by sentence-transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import AutoModelForSequenceClassification

from retort.models.bundle import Bundle
from retort.models.scores import Calibration, combine
from retort.training.data.pairs import Pair
from retort.training.export.bundling import BundleSpec, build_bundle
from retort.training.export.hub_folder import HubFolderError, mean_modules, write_hub_folder
from retort.training.export.samples import sample_pairs
from retort.training.nn.from_bundle import student_of
from retort.training.nn.inference import run, student_model
from retort.training.nn.student import Head, Student, save_student
from tests.tiny import HEADS, make_student
from tests.tiny_texts import golden_texts

PAIRS = [Pair(*texts) for texts in golden_texts() if len(" ".join(texts)) < 60]


def linear_student(bundle: Bundle, heads: int) -> Student:
    """A student with so many linear heads that differ, each with a gain of its own."""
    source = make_student(bundle.manifest.architecture.vocabulary, bundle.manifest.truncation)
    names = [Head("golden"), *(Head(f"soft-{n}", teacher=f"{n}") for n in range(heads - 1))]
    student = Student(source.config, names).eval()
    student.encoder.load_state_dict(source.encoder.state_dict())
    torch.manual_seed(5)
    with torch.no_grad():
        for head in student.head_bank:
            head.get_parameter("linear.weight").normal_(0.0, 1.0)
        student.gain.copy_(torch.linspace(0.5, 2.0, heads))
        student.shift.copy_(torch.linspace(-1.0, 1.0, heads))
    return student


def predicted(folder: Path) -> list[float]:
    model = CrossEncoder(str(folder), device="cpu")
    texts = [(pair.query, pair.passage) for pair in PAIRS]
    return [float(score) for score in model.predict(texts, show_progress_bar=False)]


@pytest.mark.parametrize("heads", [1, 2, 3, 4])
def test_a_checkpoint_gives_its_scores_there(
    heads: int, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    student, truncation = linear_student(tiny_bundle, heads), tiny_bundle.manifest.truncation
    save_student(tmp_path / "ck", student, tiny_bundle.tokenizer_path, truncation, {})
    made = write_hub_folder(str(tmp_path / "ck"), tmp_path / "hub", PAIRS)
    expected = combine(run(student_model(student), tiny_bundle.encoder(), PAIRS)).score
    assert np.std(expected) > 0.01
    assert predicted(made.folder) == pytest.approx(expected, abs=1e-5)
    assert made.max_difference < 1e-5
    assert made.pairs == len(PAIRS)


def test_a_single_head_is_a_classifier_that_transformers_loads(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    student, truncation = linear_student(tiny_bundle, 3), tiny_bundle.manifest.truncation
    save_student(tmp_path / "ck", student, tiny_bundle.tokenizer_path, truncation, {})
    made = write_hub_folder(str(tmp_path / "ck"), tmp_path / "hub", PAIRS, golden=True)
    assert made.heads == ("golden",)
    model = AutoModelForSequenceClassification.from_pretrained(made.folder)
    assert model.config.num_labels == 1
    logits = run(student_model(student), tiny_bundle.encoder(), PAIRS)[:, :1]
    assert predicted(made.folder) == pytest.approx(combine(logits).score, abs=1e-5)


def test_the_calibration_of_a_bundle_goes_with_it(tiny_bundle: Bundle, tmp_path: Path) -> None:
    student, truncation = linear_student(tiny_bundle, 3), tiny_bundle.manifest.truncation
    bundle = build_bundle(
        tmp_path / "plain", student, tiny_bundle.tokenizer_path, truncation, sample_pairs(),
        BundleSpec("plain", "1", storage="fp32"), calibration=[sample_pairs()],
    )  # fmt: skip
    known = bundle.manifest.calibration
    assert known is not None
    assert abs(known.gain - 1) > 0.1
    made = write_hub_folder(str(bundle.folder), tmp_path / "hub", PAIRS)
    logits = run(student_model(student), bundle.encoder(), PAIRS)
    assert predicted(made.folder) == pytest.approx(combine(logits, known).score, abs=1e-5)


def test_log_odds_of_the_mean_hold_for_extreme_logits() -> None:
    logits = torch.tensor([[30.0, -30.0, 3.0], [-12.0, -14.0, -13.0], [9.0, 8.0, 11.0]])
    known = Calibration(1.3, -0.4)
    modules = mean_modules(torch.eye(3), torch.zeros(3), known)
    features = {"sentence_embedding": logits}
    with torch.inference_mode():
        for module in modules:
            features = module(features)
    found = features["scores"].squeeze(-1).sigmoid().tolist()
    assert found == pytest.approx(combine(logits.numpy(), known).score, abs=1e-6)


def test_a_bundle_gives_its_student_back(tiny_bundle: Bundle) -> None:
    """Cosine heads too, as they are read by whoever starts from a bundle."""
    student = student_of(tiny_bundle)
    assert [head.kind for head in student.heads] == [head.kind for head in HEADS]
    golden = [Pair(pair.query, pair.passage) for pair in tiny_bundle.golden]
    logits = run(student_model(student), tiny_bundle.encoder(), golden)
    expected = np.array([pair.logits for pair in tiny_bundle.golden])
    assert logits == pytest.approx(expected, abs=1e-4)


def test_a_head_that_compares_the_texts_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(HubFolderError, match="the heads soft-bi compare the two texts"):
        write_hub_folder(str(tiny_bundle.folder), tmp_path / "hub", PAIRS)
    made = write_hub_folder(str(tiny_bundle.folder), tmp_path / "hub", PAIRS, golden=True)
    golden = [combine([pair.logits[:1]]).score[0] for pair in tiny_bundle.golden]
    texts = [Pair(pair.query, pair.passage) for pair in tiny_bundle.golden]
    expected = [golden[texts.index(pair)] for pair in PAIRS]
    assert predicted(made.folder) == pytest.approx(expected, abs=1e-4)


def test_a_folder_with_something_else_in_it_is_left_alone(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "letter.txt").write_text("dear")
    with pytest.raises(HubFolderError, match="holds files but no model"):
        write_hub_folder(str(tiny_bundle.folder), tmp_path / "hub", PAIRS, golden=True)
    assert (tmp_path / "hub" / "letter.txt").read_text() == "dear"
