"""A checkpoint that learned what is measured is told, by the tables that it recorded."""

from __future__ import annotations

import json
from pathlib import Path

from retort.models.encoding import Truncation
from retort.training.data.evaluation_set import EvaluationSet, write_pairs
from retort.training.data.pairs import Pair
from retort.training.data.table import PairTable, table_digest, table_queries, write_table
from retort.training.nn.student import Student, save_student
from retort.training.teachers.learned import leak_warnings, learned_from

MEASURED = [Pair(f"Where is city {n}?", "here", float(n % 2)) for n in range(10)]
SET = EvaluationSet("mine", tuple(MEASURED))


def save(
    folder: Path, student: Student, tokenizer: Path, truncation: Truncation, **meta: object
) -> Path:
    save_student(folder, student, tokenizer, truncation, meta)
    return folder


def test_a_students_and_a_teachers_tables_are_looked_up(
    tmp_path: Path, tiny_student: Student, tokenizer_path: Path, truncation: Truncation
) -> None:
    leaking, clean = tmp_path / "leaking.parquet", tmp_path / "clean.jsonl"
    pairs = [Pair("where is CITY 3", "x", None), Pair("where is city 4", "y", 1.0)]
    write_table(leaking, PairTable([*pairs, Pair("else", "z")], ("a", "b", "a")))
    write_pairs(clean, [Pair("else", "z", 1.0)])
    parts = (tiny_student, tokenizer_path, truncation)
    stages = [
        {"plan": {"table": str(clean)}, "table": table_digest(clean)},
        {"plan": {"table": str(leaking)}, "table": table_digest(leaking)},
    ]
    student = save(tmp_path / "student", *parts, stages=stages, recipe={})
    teacher = save(
        tmp_path / "teacher", *parts,
        recipe={"table": str(leaking), "sources": ["b"]}, table=table_digest(leaking),
    )  # fmt: skip
    systems = {
        "student": str(student), "teacher": f"cross-encoder:{teacher}",
        "both": "ensemble:student,teacher", "kept": "scores.npz", "shipped": "retort-small",
    }  # fmt: skip
    lines = leak_warnings(systems, [SET])
    assert len(lines) == 2
    assert lines[0].startswith(f"warning: student learned from {leaking}: 2 of the 10 queries")
    assert lines[1].startswith(f"warning: teacher learned from {leaking}: 1 of the 10 queries")
    assert leak_warnings(systems, [EvaluationSet("other", (Pair("new", "p", 1.0),))]) == []


def test_a_student_learned_what_it_began_from_learned(
    tmp_path: Path, tiny_student: Student, tokenizer_path: Path, truncation: Truncation
) -> None:
    table = tmp_path / "table.jsonl"
    write_pairs(table, MEASURED[:3])
    parts = (tiny_student, tokenizer_path, truncation)
    first = save(tmp_path / "first", *parts, recipe={"table": str(table)}, table="then")
    second = save(tmp_path / "second", *parts, recipe={"student": {"init": str(first)}})
    assert [item.table for item in learned_from(second)] == [table]
    (line,) = leak_warnings({"s": str(second)}, [SET])
    assert "which has changed since: 3 of the 10 queries of mine" in line
    table.unlink()
    (line,) = leak_warnings({"s": str(second)}, [SET])
    assert "not there any more" in line


def test_a_teacher_in_the_hubs_shape_has_its_record_too(tmp_path: Path) -> None:
    table = tmp_path / "table.jsonl"
    write_pairs(table, MEASURED[:2])
    record = {"recipe": {"table": str(table)}, "table": table_digest(table)}
    (tmp_path / "taught.json").write_text(json.dumps(record))
    (line,) = leak_warnings({"t": f"hub-cross-encoder:{tmp_path}"}, [SET])
    assert "2 of the 10 queries of mine" in line


def test_the_queries_of_a_table_are_read_without_its_passages(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, PairTable([Pair("a", "1"), Pair("b", "2"), Pair("a", "3")], ("x", "y", "x")))
    assert table_queries(path) == ["a", "b"]
    assert table_queries(path, ("x",)) == ["a"]
    write_pairs(tmp_path / "own.jsonl", [Pair("c", "1"), Pair("c", "2")])
    assert table_queries(tmp_path / "own.jsonl") == ["c"]
