"""Bundle errors: what can be wrong with a bundle, each naming the file it is about.

BundleError
├── BundleNotFound
├── MissingFile
├── DamagedFile
├── UntrustedBundle
├── UnknownSchema
├── InvalidManifest
└── InvalidGolden

StartError              a sound bundle that cannot be run as asked
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class BundleError(Exception):
    """Something is wrong with a bundle; `path` is the file or folder at fault."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class BundleNotFound(BundleError):
    """There is no bundle of that name or at that path."""


class MissingFile(BundleError):
    """A file that belongs to the bundle is not there."""


class DamagedFile(BundleError):
    """A file is not what the manifest says it is, or nothing that a bundle may hold."""


class UntrustedBundle(BundleError):
    """The bundle is not signed, or not with the key that is trusted."""


class UnknownSchema(BundleError):
    """The manifest has a schema version that this release cannot read."""


class InvalidManifest(BundleError):
    """The manifest is not JSON, or a field of it is wrong."""


class InvalidGolden(BundleError):
    """The golden pairs are too few, or a line of them is wrong."""


class StartError(Exception):
    """A sound bundle cannot be run, or a server cannot start; the message says what to do."""


def mistakes(error: ValidationError) -> str:
    """The first field at fault, what is wrong with it, and how many more there are."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "the whole"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"field {where}: {first['msg']}{more}"
