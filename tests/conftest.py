"""What all tests share: two small bundles, and an environment of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from retort.models.bundle import Bundle, read_bundle
from tests.fake_bundle import make_fake_bundle

CHECKED_IN = Path(__file__).parent / "tiny-bundle"


@pytest.fixture(scope="session")
def tiny_bundle() -> Bundle:
    """The small trained bundle in `tests/tiny-bundle`; `python -m tests.tiny` makes it again."""
    return read_bundle(CHECKED_IN)


@pytest.fixture(scope="session")
def fake_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle without a graph, whose golden scores are those of `tests.fake_bundle.overlap`."""
    return make_fake_bundle(tmp_path_factory.mktemp("fake") / "fake")


@pytest.fixture(scope="session")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny RoBERTa that classifies pairs, of random weights."""
    # Not at the top: most tests need no PyTorch.
    from tests.architectures import save_cross_encoder

    return save_cross_encoder(tmp_path_factory.mktemp("hub") / "roberta", "roberta")


@pytest.fixture(scope="session")
def roberta_bundle(roberta: Path) -> Bundle:
    """The bundle of `roberta`."""
    from tests.cross_encoders import make_bundle

    return make_bundle(roberta, roberta.parent / "bundle")


@pytest.fixture(autouse=True)
def own_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No test sees the caller's RETORT_ variables or writes into the caller's cache."""
    for name in list(os.environ):
        if name.startswith("RETORT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
