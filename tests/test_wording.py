"""Wording: numbers and their nouns."""

from __future__ import annotations

import pytest

from retort.wording import counted


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 teachers"), (1, "1 teacher"), (2, "2 teachers")]
)
def test_a_noun_is_plural_unless_there_is_one(number: int, words: str) -> None:
    assert counted(number, "teacher") == words
