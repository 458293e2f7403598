from __future__ import annotations

from pathlib import Path

import pytest

from retort.models.errors import BundleNotFound
from retort.models.find import find_bundle, list_bundles
from tests.fake_bundle import make_fake_bundle


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
    monkeypatch.setattr("retort.models.find.MADE", tmp_path)
    assert find_bundle("teacher") == bundle.folder
    # One that ships goes before one of the same name that was made here.
    make_fake_bundle(tmp_path / "shipped" / "teacher")
    monkeypatch.setattr("retort.models.find.SHIPPED", tmp_path / "shipped")
    assert find_bundle("teacher") == tmp_path / "shipped" / "teacher"
