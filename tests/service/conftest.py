"""Fixtures of the service: a bundle whose model is a function."""

from __future__ import annotations

import pytest

from retort.models.bundle import Bundle
from tests.fake_bundle import make_fake_bundle


@pytest.fixture(scope="session")
def fake_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle whose golden scores are those of `tests.fake_bundle.overlap`."""
    return make_fake_bundle(tmp_path_factory.mktemp("fake") / "fake")
