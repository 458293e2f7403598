from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retort.models.reading.sentences import sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith came. He left.", ["Dr. Smith came.", "He left."]),
        ("B. R. Ambedkar was its architect. He was born in 1891.", 2),
        ("It costs $3.50 today. The U.S. Army paid.", 2),
        ("One\n\nTwo", ["One", "Two"]),
        ("Émile 😀 said so. He did.", ["Émile 😀 said so.", "He did."]),
        ("no end at all", ["no end at all"]),
        (" \n ", []),
        ("", []),
    ],
)
def test_sentences(text: str, expected: list[str] | int) -> None:
    found = [text[start:end] for start, end in sentences(text)]
    if isinstance(expected, int):
        assert len(found) == expected
    else:
        assert found == expected


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_offsets_are_of_the_text_and_leave_out_white_space_alone(text: str) -> None:
    spans = sentences(text)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    assert all(text[start:end] == text[start:end].strip() != "" for start, end in spans)
    kept = "".join(text[start:end] for start, end in spans)
    assert "".join(kept.split()) == "".join(text.split())
