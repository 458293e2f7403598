from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from retort.models.bundle import (
    Bundle,
    find_bundle,
    list_bundles,
    read_bundle,
    write_bundle,
)
from retort.models.errors import (
    BundleError,
    BundleNotFound,
    DamagedFile,
    InvalidGolden,
    InvalidManifest,
    MissingFile,
    UnknownSchema,
)
from retort.models.files import MIB, hash_file
from tests.fake_bundle import golden_pairs, make_encoder, make_fake_bundle, make_manifest


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_fake_bundle(tmp_path / "fake")


def edit_manifest(bundle: Bundle, edit: Callable[[dict[str, object]], None]) -> None:
    path = bundle.folder / "manifest.json"
    raw = json.loads(path.read_text())
    edit(raw)
    path.write_text(json.dumps(raw))


def test_what_is_written_is_read_back(bundle: Bundle) -> None:
    again = read_bundle(bundle.folder)
    assert again.manifest == bundle.manifest
    assert again.digest == bundle.digest == hash_file(bundle.folder / "manifest.json", MIB)
    assert list(again.golden) == golden_pairs(make_encoder())
    assert again.encoder().truncation == bundle.manifest.truncation


def test_the_manifest_holds_every_other_files_hash(bundle: Bundle) -> None:
    others = {path.name for path in bundle.folder.iterdir()} - {"manifest.json"}
    assert set(bundle.manifest.files) == others
    for name, expected in bundle.manifest.files.items():
        assert hash_file(bundle.folder / name, MIB) == expected


def test_writing_replaces_a_bundle_and_leaves_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "fake"
    make_fake_bundle(folder, "first")
    make_fake_bundle(folder, "second")
    assert read_bundle(folder).manifest.name == "second"
    assert {path.name for path in folder.parent.iterdir()} == {"fake", "fake-source"}


def test_a_failed_write_keeps_the_old_bundle(bundle: Bundle) -> None:
    with pytest.raises(InvalidGolden, match="3 golden pairs, from 64"):
        write_bundle(
            bundle.folder,
            manifest=make_manifest(),
            graph=bundle.graph_path,
            tokenizer=bundle.tokenizer_path,
            golden=bundle.golden[:3],
        )
    assert read_bundle(bundle.folder).digest == bundle.digest


def test_other_files_are_not_overwritten(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="holds files but no bundle"):
        write_bundle(
            tmp_path / "mine",
            manifest=make_manifest(),
            graph=bundle.graph_path,
            tokenizer=bundle.tokenizer_path,
            golden=bundle.golden,
        )


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "golden.jsonl", "README.md"])
def test_a_missing_file_is_named(bundle: Bundle, name: str) -> None:
    (bundle.folder / name).unlink()
    with pytest.raises(MissingFile, match=name):
        read_bundle(bundle.folder)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "golden.jsonl", "README.md"])
def test_a_damaged_file_is_named(bundle: Bundle, name: str) -> None:
    with (bundle.folder / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(DamagedFile, match=name):
        read_bundle(bundle.folder)


def test_no_folder_and_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFound, match="nowhere"):
        read_bundle(tmp_path / "nowhere")
    with pytest.raises(MissingFile, match=r"manifest\.json"):
        read_bundle(tmp_path)


def test_an_unknown_schema_version(bundle: Bundle) -> None:
    edit_manifest(bundle, lambda raw: raw.update(schema_version=2))
    with pytest.raises(UnknownSchema, match="schema_version is 2, this release reads 1"):
        read_bundle(bundle.folder)


def test_unknown_fields_are_refused(bundle: Bundle) -> None:
    edit_manifest(bundle, lambda raw: raw.update(colour="blue"))
    with pytest.raises(InvalidManifest, match="colour"):
        read_bundle(bundle.folder)


def test_a_manifest_that_is_no_json(bundle: Bundle) -> None:
    (bundle.folder / "manifest.json").write_text("{")
    with pytest.raises(InvalidManifest, match="not JSON"):
        read_bundle(bundle.folder)


def test_a_manifest_may_not_leave_out_a_file_or_point_outside(bundle: Bundle) -> None:
    files = dict(bundle.manifest.files)
    edit_manifest(bundle, lambda raw: raw.update(files={"model.onnx": files["model.onnx"]}))
    with pytest.raises(DamagedFile, match="no sha256 for"):
        read_bundle(bundle.folder)
    edit_manifest(bundle, lambda raw: raw.update(files={**files, "../secret": "00"}))
    with pytest.raises(DamagedFile, match="no part of a bundle"):
        read_bundle(bundle.folder)


def test_golden_pairs_have_a_logit_for_each_head(bundle: Bundle) -> None:
    manifest = make_manifest()
    with pytest.raises(InvalidGolden, match=r"\[2\] logits, the manifest has 1"):
        write_bundle(
            bundle.folder,
            manifest=manifest.model_copy(update={"heads": manifest.heads[:1]}),
            graph=bundle.graph_path,
            tokenizer=bundle.tokenizer_path,
            golden=bundle.golden,
        )


def test_by_path(tmp_path: Path) -> None:
    bundle = make_fake_bundle(tmp_path / "mine")
    assert find_bundle(str(bundle.folder)) == bundle.folder


def test_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_fake_bundle(tmp_path / "mine")
    monkeypatch.setenv("RETORT_MODELS", f"/nowhere:{tmp_path}")
    assert find_bundle("mine") == bundle.folder
    assert list_bundles()["mine"] == bundle.folder


def test_not_found_lists_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_fake_bundle(tmp_path / "mine")
    monkeypatch.setenv("RETORT_MODELS", str(tmp_path))
    with pytest.raises(BundleNotFound, match=r"yours.*there are: mine"):
        find_bundle("yours")


def test_a_folder_that_is_no_bundle_is_left_to_the_reader(tmp_path: Path) -> None:
    assert find_bundle(tmp_path) == tmp_path


def test_bundles_made_in_this_checkout_are_found_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_fake_bundle(tmp_path / "teacher")
    monkeypatch.setattr("retort.models.bundle.MADE", tmp_path)
    assert find_bundle("teacher") == bundle.folder
    # One that ships goes before one of the same name that was made here.
    make_fake_bundle(tmp_path / "shipped" / "teacher")
    monkeypatch.setattr("retort.models.bundle.SHIPPED", tmp_path / "shipped")
    assert find_bundle("teacher") == tmp_path / "shipped" / "teacher"
