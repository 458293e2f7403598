"""What all tests share: a tiny bundle, the real thing in everything but size."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from models.bundle import Bundle, read_bundle

CHECKED_IN = Path(__file__).parent / "tiny-bundle"


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle in `tests/tiny-bundle`, or a student with random weights, exported on the spot."""
    if CHECKED_IN.is_dir():
        return read_bundle(CHECKED_IN)
    from tests.tiny import make_tiny_bundle

    return make_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(autouse=True)
def own_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No test sees the caller's RETORT_ variables or writes into the caller's cache."""
    for name in list(os.environ):
        if name.startswith("RETORT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
