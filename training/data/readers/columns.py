"""Which column of a file of one's own holds which field of a pair.

Columns go by their usual names, in any case, or by those that the user gives (`FileLayout`). A
column that nobody knows is refused, as it may be a misspelt label, unless the user names columns.
"""

from __future__ import annotations

from collections.abc import Sequence

from retort.training.recipes.corpus import FileLayout, OwnField

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
ADVICE = (
    "name the columns with --columns query=NAME,passage=NAME,label=NAME (or `files` in a recipe)"
)


class ColumnsError(ValueError):
    """Columns are missing, unknown, or not to be told apart."""


def columns_of(names: Sequence[str], layout: FileLayout) -> dict[OwnField, str]:
    """By field the one of `names` that holds it; a field that no column holds is left out.

    Raises `ColumnsError` where query or passage have no column or any field has two, and for a
    column of no field, unless `layout` names columns.
    """
    found: dict[OwnField, str] = {}
    for field, wanted in layout.columns.items():
        hits = [name for name in names if name == wanted] or [
            name for name in names if _plain(name) == _plain(wanted)
        ]
        if hits:
            found[field] = hits[0]
    named = set(found.values())
    for field, usual in NAMES.items():
        hits = [name for name in names if _plain(name) in usual and name not in named]
        if field in layout.columns or not hits:
            continue
        if len(hits) > 1:
            raise ColumnsError(
                f"the columns {' and '.join(hits)} can both be the {field}: {ADVICE}"
            )
        found[field] = hits[0]
    for field in REQUIRED:
        if field not in found:
            wanted = layout.columns.get(field, field)
            raise ColumnsError(f"no column {wanted!r} among {', '.join(names)}: {ADVICE}")
    unknown = [n for n in names if n not in found.values() and _plain(n) != _TABLE]
    if unknown and not layout.columns:
        raise ColumnsError(
            f"unknown columns {', '.join(unknown)}: leave them out, or {ADVICE}; others are then "
            "left aside"
        )
    return found


def is_header(row: Sequence[str], layout: FileLayout) -> bool:
    """Whether the first row of a file names columns: a query and a passage, or what `layout` says.

    Raises `ColumnsError` for a row that names one of the two alone.
    """
    if layout.columns:
        return True
    plain = {_plain(name) for name in row}
    query, passage = (not plain.isdisjoint(NAMES[field]) for field in REQUIRED)
    if query and passage:
        return True
    labelled = not plain.isdisjoint(NAMES["label"])
    if plain & {"query", "question"} or ((query or passage) and labelled):
        raise ColumnsError(
            f"{', '.join(row)} seems to be a header, but not of a query and a passage: {ADVICE}"
        )
    return False


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")
