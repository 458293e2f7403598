"""The disagreement file, as the server writes it, becomes stage-1 pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retort.models.bundle import Bundle
from retort.service.shadow.disagreements import DisagreementFile
from retort.service.shadow.teacher import Sample, TeacherScores
from retort.training.data.catalog import read_any
from retort.training.data.readers.rows import BadRows, DataError
from retort.training.data.table import read_table

# Query, passages, the student's scores and the teacher's.
FOUND = (
    ("how tall is it", ["It is 330 metres.", "It is old."], [0.4, 0.5], [0.9, 0.1]),
    ("who wrote it", ["A play.", "By Shakespeare."], [0.6, 0.5], [0.1, 0.8]),
    # The same question again, with one passage more.
    ("how tall is it", ["It is old.", "Paris."], [0.5, 0.4], [0.1, 0.2]),
)


def write(path: Path, bundle: Bundle, *, texts: bool) -> Path:
    file, manifest = DisagreementFile(path, texts=texts, max_bytes=10_000), bundle.manifest
    for query, passages, student, teacher in FOUND:
        sample = Sample(query, passages, np.array(student), manifest)
        scores = TeacherScores(np.array(teacher), manifest.name, manifest.version)
        assert file.write(sample, scores)
    return path


def test_each_passage_with_its_query_is_a_pair_without_a_label(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    path = write(tmp_path / "disagreements.jsonl", tiny_bundle, texts=True)
    pairs = read_any(str(path), None, BadRows()).pairs
    assert [(pair.query, pair.passage) for pair in pairs] == [
        ("how tall is it", "It is 330 metres."),
        ("how tall is it", "It is old."),
        ("who wrote it", "A play."),
        ("who wrote it", "By Shakespeare."),
        ("how tall is it", "Paris."),
    ]
    assert {pair.label for pair in pairs} == {None}
    assert pairs[2].query_id == pairs[3].query_id != pairs[0].query_id


def test_a_stage_can_read_the_file_as_its_table(tiny_bundle: Bundle, tmp_path: Path) -> None:
    path = write(tmp_path / "disagreements.jsonl", tiny_bundle, texts=True)
    table = read_table(path)
    assert len(table) == 5
    assert set(table.sources) == {"disagreements.jsonl"}


def test_hashed_texts_are_refused_with_the_setting_that_writes_them(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    path = write(tmp_path / "disagreements.jsonl", tiny_bundle, texts=False)
    # Not a malformed row: leaving it out would leave nothing, in silence.
    with pytest.raises(DataError, match=r"line 1: the texts are hashed.*disagreement_texts"):
        read_any(str(path), None, BadRows(skip=True))


def test_a_malformed_record_is_named_or_left_out(tiny_bundle: Bundle, tmp_path: Path) -> None:
    path = write(tmp_path / "disagreements.jsonl", tiny_bundle, texts=True)
    with path.open("a") as file:
        file.write('{"query": "q", "passages": "not a list", "hashed": false}\n')
    with pytest.raises(DataError, match="line 4: expected a record with query, passages"):
        read_any(str(path), None, BadRows())
    bad = BadRows(skip=True)
    assert len(read_any(str(path), None, bad).pairs) == 5
    assert bad.places == [f"{path}:4"]
