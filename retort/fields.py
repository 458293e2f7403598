"""Fields of pairs in files of one's own: which column holds which, and what a value may be.

Columns go by their usual names, in any case, or by those that the user gives. Training reads such
files, and `retort rank` scores them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from retort.rows import short

OwnField = Literal["query", "passage", "label", "query_id", "passage_id"]

NAMES: dict[OwnField, tuple[str, ...]] = {
    "query": ("query", "question", "q", "query_text", "question_text"),
    "passage": (
        "passage", "answer", "text", "document", "doc", "sentence", "paragraph",
        "passage_text", "answer_text", "document_text",
    ),
    "label": (
        "label", "score", "relevance", "relevance_label", "grade", "rating", "rel",
        "judgment", "judgement",
    ),
    "query_id": ("query_id", "queryid", "qid", "question_id", "questionid"),
    "passage_id": (
        "passage_id", "passageid", "pid", "answer_id", "document_id", "doc_id", "docid",
        "sentence_id",
    ),
}  # fmt: skip
REQUIRED: tuple[OwnField, ...] = ("query", "passage")
# In a header of Retort's own tables; what it says is no part of a pair.
_TABLE = "source"
ADVICE = "name the columns with --columns query=NAME,passage=NAME"


class ColumnsError(ValueError):
    """Columns are missing, unknown, or not to be told apart."""


class SameFieldError(ColumnsError):
    """Two columns can both be one field."""


def columns_given(options: Sequence[str]) -> dict[OwnField, str]:
    """What `--columns` says: the columns by field. Raises `ValueError` for a field there is not.

    >>> columns_given(["query=Frage,passage=Antwort"])
    {'query': 'Frage', 'passage': 'Antwort'}
    """
    named: dict[OwnField, str] = {}
    for item in [item for option in options for item in option.split(",")]:
        wanted, _, name = item.partition("=")
        field = next((field for field in NAMES if field == wanted.strip()), None)
        if field is None or not name.strip():
            raise ValueError(
                f"--columns {item!r}: write FIELD=NAME, with a FIELD of {', '.join(NAMES)}"
            )
        named[field] = name.strip()
    return named


def columns_of(
    names: Sequence[str],
    given: Mapping[OwnField, str],
    *,
    others: bool = False,
    advice: str = ADVICE,
) -> dict[OwnField, str]:
    """By field the one of `names` that holds it; a field that no column holds is left out.

    `given` are the columns that the user names. Raises `ColumnsError` where query or passage have
    no column or any field has two, and for a column of no field, which may be a misspelt label:
    unless the user names columns, or `others` says that they may be there.
    """
    found: dict[OwnField, str] = {}
    for field, wanted in given.items():
        hits = [name for name in names if name == wanted] or [
            name for name in names if _plain(name) == _plain(wanted)
        ]
        if hits:
            found[field] = hits[0]
    named = set(found.values())
    for field, usual in NAMES.items():
        hits = [name for name in names if _plain(name) in usual and name not in named]
        if field in given or not hits:
            continue
        if len(hits) > 1:
            raise SameFieldError(
                f"the columns {' and '.join(hits)} can both be the {field}: {advice}"
            )
        found[field] = hits[0]
    for field in REQUIRED:
        if field not in found:
            wanted = given.get(field, field)
            raise ColumnsError(f"no column {wanted!r} among {', '.join(names)}: {advice}")
    unknown = [n for n in names if n not in found.values() and _plain(n) != _TABLE]
    if unknown and not given and not others:
        raise ColumnsError(
            f"unknown columns {', '.join(unknown)}: leave them out, or {advice}; others are then "
            "left aside"
        )
    return found


def is_header(row: Sequence[str], given: Mapping[OwnField, str], advice: str = ADVICE) -> bool:
    """Whether the first row of a file names columns: a query and a passage, or what is `given`.

    Raises `ColumnsError` for a row that names one of the two alone.
    """
    if given:
        return True
    plain = {_plain(name) for name in row}
    query, passage = (not plain.isdisjoint(NAMES[field]) for field in REQUIRED)
    if query and passage:
        return True
    labelled = not plain.isdisjoint(NAMES["label"])
    if plain & {"query", "question"} or ((query or passage) and labelled):
        raise ColumnsError(
            f"{', '.join(row)} seems to be a header, but not of a query and a passage: {advice}"
        )
    return False


def checked_text(field: str, value: object) -> str:
    """The text of a query or a passage. Raises `ValueError` that says why it is none."""
    if value is None:
        raise ValueError(f"the {field} is null: give a text")
    if not isinstance(value, str):
        raise ValueError(f"the {field} is {short(value, 60)}, not a text")
    whole_text(field, value)
    # A zero-width space is a character that nobody sees, and no blank to Python.
    if not any(character.isprintable() and character != " " for character in value):
        raise ValueError(f"the {field} is empty")
    return value


def checked_query(value: object) -> str:
    """The text of a query. Raises `ValueError` for none, and for one that asks nothing.

    Of other scripts' signs a tokenizer has the last word, when the row is scored.
    """
    query = checked_text("query", value)
    if query.isascii() and not any(map(str.isalnum, query)):
        raise ValueError(f"the query is {short(query, 60)}: it has no letter and no digit")
    return query


def checked_id(field: str, value: object) -> str:
    """An id as text, "" where there is none. Whole numbers lose what a float makes of them."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, str | int | float):
        raise ValueError(f"the {field} is {short(value, 60)}: give a text or a number")
    return whole_text(field, str(value))


def whole_text(field: str, value: str) -> str:
    """The text itself. Raises `ValueError` for half a surrogate pair, which UTF-8 cannot hold."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"the {field} has half of a surrogate pair, {value[error.start]!r}, at character "
            f"{error.start}: write it whole"
        ) from error
    return value


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")
