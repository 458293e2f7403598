"""Needed modules: one that is not there is told by name."""

from __future__ import annotations

import pytest

from retort.loadtest.needed import need


def test_what_is_not_installed_is_told() -> None:
    need("locust", "json")
    with pytest.raises(ModuleNotFoundError, match="'no_such_module'") as told:
        need("json", "no_such_module")
    assert told.value.name == "no_such_module"
