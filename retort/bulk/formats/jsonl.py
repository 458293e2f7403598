"""JSON lines as a source: an object per line, of a pair or of a query with a list of passages."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retort.bulk.formats.text import TextFile
from retort.bulk.output import Added, Ranked
from retort.bulk.sources import Row, group_of
from retort.fields import (
    OwnField,
    SameFieldError,
    checked_id,
    checked_query,
    checked_text,
    columns_of,
    whole_text,
)
from retort.ranked import id_of, text_of
from retort.rows import ColumnsFault, json_object

LIST = "passages"
MOST_KINDS = 1_000  # of objects, by their fields, whose columns are remembered


class JsonlFile(TextFile):
    """A `.jsonl`. A line `{"query": …, "passages": […]}` is as `POST /score` takes it."""

    def __init__(self, path: Path, columns: Mapping[OwnField, str], added: Added) -> None:
        super().__init__(path, columns, added)
        # The fields by the keys of an object, since lines of a file may differ.
        self._known: dict[tuple[str, ...], Mapping[OwnField, str]] = {}

    def _is_head(self, line: str) -> bool:
        return False

    def _parse(self, line: str) -> Row:
        row = json_object(line)
        if isinstance(row.get(LIST), list):
            return self._list(row)
        keys = tuple(row)
        if keys not in self._known:
            self.added.check("the object", keys)
            if len(self._known) == MOST_KINDS:
                self._known.clear()
            try:
                self._known[keys] = columns_of(keys, self.columns, others=True)
            except SameFieldError as error:
                raise ColumnsFault(f"the object: {error}") from error
        fields = self._known[keys]
        query = checked_query(row[fields["query"]])
        own = checked_id("query_id", row[fields["query_id"]]) if "query_id" in fields else ""
        return Row(query, (checked_text("passage", row[fields["passage"]]),), group_of(query, own))

    def _list(self, row: dict[str, Any]) -> Row:
        if self.added.results in row:
            raise ColumnsFault(
                f"it has {self.added.results} already, which the output adds: rename it, or name "
                "what is added with --prefix"
            )
        query = checked_query(row.get(self.columns.get("query", "query")))
        if not row[LIST]:
            raise ValueError("there is no passage in its list")
        # As with `POST /score`, a passage of a list may be empty: its score is 0.
        texts = tuple(
            whole_text(f"passage {index}", text_of(index, passage))
            for index, passage in enumerate(row[LIST])
        )
        return Row(query, texts, None)

    def _with_names(self, head: bytes) -> bytes:
        return head

    def _with_results(self, line: bytes, found: Ranked, start: int, stop: int) -> bytes:
        passages = json_object(line.removeprefix(codecs.BOM_UTF8).decode()).get(LIST)
        if isinstance(passages, list):
            best = sorted(range(len(passages)), key=lambda index: found.rank[start + index])
            added: dict[str, Any] = {
                self.added.results: [
                    _result(passages[index], index, found, start + index)
                    for index in best
                    if found.kept[start + index]
                ]
            }
        else:
            values = [array[start].item() for array in (found.score, found.spread, found.rank)]
            added = dict(zip(self.added.names, values, strict=False))
        # Escaped by the standard library, which takes any id that it has read.
        told = json.dumps(added, separators=(",", ":"))
        # What is there stays as it is, to the byte.
        return line.rstrip()[:-1].rstrip() + b"," + told[1:].encode()


def _result(passage: Any, index: int, found: Ranked, pair: int) -> dict[str, Any]:
    """A result as `POST /score` has it."""
    own = id_of(passage)
    return {
        "index": index,
        **({} if own is None else {"id": own}),
        "score": found.score[pair].item(),
        "spread": found.spread[pair].item(),
    }
