"""TSV as a source: tab-separated columns under a header, or query, passage and perhaps a label."""

from __future__ import annotations

from retort.bulk.formats.text import TextFile
from retort.bulk.output import Ranked
from retort.bulk.sources import Row, group_of
from retort.fields import (
    REQUIRED,
    ColumnsError,
    checked_id,
    checked_query,
    checked_text,
    columns_of,
    is_header,
)
from retort.rows import BLANK_TSV, ColumnsFault, DataError
from retort.wording import counted


class TsvFile(TextFile):
    """A `.tsv`. Without a header it has two columns, or three, and its output none either."""

    _blank = BLANK_TSV.encode()
    _width: int | None = None
    _query, _passage = range(len(REQUIRED))
    _query_id: int | None = None

    def _is_head(self, line: str) -> bool:
        if not line.strip():
            raise ColumnsFault(
                f"{self.path}, line 1: it is blank: remove it, or name the columns there"
            )
        names = line.split("\t")
        try:
            if not is_header(names, self.columns):
                return False
            found = columns_of(names, self.columns, others=True)
        except ColumnsError as error:
            raise DataError(f"{self.path}, line 1: {error}") from error
        self.added.check(f"{self.path}, line 1", names)
        self._width = len(names)
        self._query, self._passage = (names.index(found[field]) for field in REQUIRED)
        if "query_id" in found:
            self._query_id = names.index(found["query_id"])
        return True

    def _parse(self, line: str) -> Row:
        cells = line.split("\t")
        if self._width is None and len(cells) not in (2, 3):
            raise ValueError(
                f"{counted(len(cells), 'column')}, where query, passage and perhaps a label are "
                "expected; others need a header that names all"
            )
        if self._width is not None and len(cells) != self._width:
            raise ValueError(f"{counted(len(cells), 'column')}, where the header has {self._width}")
        query = checked_query(cells[self._query])
        own = "" if self._query_id is None else checked_id("query_id", cells[self._query_id])
        passage = checked_text("passage", cells[self._passage])
        return Row(query, (passage,), group_of(query, own))

    def _with_names(self, head: bytes) -> bytes:
        return b"\t".join((head, *(name.encode() for name in self.added.names)))

    def _with_results(self, line: bytes, found: Ranked, start: int, stop: int) -> bytes:
        numbers = [repr(found.score[start].item()), repr(found.spread[start].item())]
        if self.added.ranked:
            numbers.append(str(found.rank[start]))
        return b"\t".join((line, *(number.encode() for number in numbers)))
