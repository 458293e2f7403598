"""Opening a source: which format a file or folder has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from retort.bulk.output import Added
from retort.bulk.sources import Source
from retort.fields import OwnField
from retort.rows import DataError

FORMS = (".tsv", ".jsonl", ".parquet")


def open_source(path: Path, columns: Mapping[OwnField, str], added: Added) -> Source:
    """The source at `path`: a `.tsv` or `.jsonl`, gzipped or not, a `.parquet`, or a folder of it.

    `columns` are those that the user names; `added` is what the output adds. Raises `DataError`
    for anything else, and for columns that are missing or already there; `ImportError` for Parquet
    without pyarrow.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    form = form_of(path)
    if form == ".parquet":
        from retort.bulk.formats.parquet import ParquetFiles

        return ParquetFiles(path, columns, added)
    if form == ".tsv":
        from retort.bulk.formats.tsv import TsvFile

        return TsvFile(path, columns, added)
    from retort.bulk.formats.jsonl import JsonlFile

    return JsonlFile(path, columns, added)


def form_of(path: Path) -> str:
    """The format that a name ends with; a folder, or a name without an ending, is Parquet's.

    Raises `DataError` for others.
    """
    name = path.name.lower()
    form = Path(name.removesuffix(".gz")).suffix
    if path.is_dir() or (not form and not path.is_file()):
        return ".parquet"
    if form not in FORMS or (form == ".parquet" and name.endswith(".gz")):
        raise DataError(
            f"{path}: a file to rank ends in .tsv or .jsonl, perhaps with .gz, or in .parquet; or "
            "it is a folder of Parquet files"
        )
    return form
