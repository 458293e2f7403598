"""The reference: every field has words, and its type and default are those of its model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel
from pydantic import Field as Has

from retort.training.recipes import reference
from retort.training.recipes.reference import BEGIN, END, Field, kinds, options, write_page


def test_every_field_of_every_kind_is_explained() -> None:
    parts = [*(part for parts in kinds().values() for part in parts), *options()]
    silent = [f"{p.heading}: {f.name}" for p in parts for f in p.fields if not f.meaning]
    assert silent == []
    assert len(parts) > 15
    headings = [part.heading.lower().replace("`", "") for part in parts]
    assert len(set(headings)) == len(headings), "two headings of one page have one anchor"


class Inner(BaseModel):
    share: float = Has(0.5, ge=0, lt=1, description="A share.")


class Outer(BaseModel):
    """With every shape of field that a recipe may have."""

    name: str
    size: Annotated[int, Has(ge=3)] = 3
    way: Literal["a", "no"] | list[str] = "no"
    one: Inner = Inner()
    several: list[Inner] | None = None
    by: dict[str, Inner] = {}
    plain: tuple[Path, ...] = ()
    flag: bool = True


def test_a_field_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(reference.KINDS, "corpus", ("Outer", Outer, "It tests."))
    outer, inner = kinds("corpus")["corpus"]
    assert outer.fields == (
        Field("name", "text", "required", ""),
        Field("size", "whole number, at least 3", "`3`", ""),
        Field("way", "`a` or `no` or list of texts", "`no`", ""),
        Field("one", "[`one`](#one)", "its defaults", ""),
        Field("several", "list of [`one`](#one) or none", "none", ""),
        Field("by", "[`one`](#one) by name", "`{}`", ""),
        Field("plain", "list of paths", "`[]`", ""),
        Field("flag", "true or false", "`true`", ""),
    )
    assert (inner.heading, inner.fields) == (
        "`one`",
        (Field("share", "number, at least 0, below 1", "`0.5`", "A share."),),
    )


def test_the_page_keeps_what_stands_around_the_reference(tmp_path: Path) -> None:
    page = tmp_path / "recipes.md"
    page.write_text(f"before\n{BEGIN}\nout of date\n{END}\nafter\n")
    write_page(page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "| `freeze_words` | true or false | `true` | Word embeddings stay as they are. |" in text
    assert "out of date" not in text
