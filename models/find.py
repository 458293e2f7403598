"""Finding a bundle: a path, or a name in one of the folders where bundles are kept."""

from __future__ import annotations

import os
from pathlib import Path

from retort.models.errors import BundleNotFound
from retort.models.manifest import MANIFEST_FILE

SHIPPED = Path(__file__).resolve().parent
# In a checkout: bundles made here and not committed, a teacher's for instance.
MADE = SHIPPED.parent / "runs" / "bundles"
ENVIRONMENT_VARIABLE = "RETORT_MODELS"


def bundle_folders() -> list[Path]:
    """Where bundles are looked for by name: `RETORT_MODELS`, those that ship, those made here."""
    extra = os.environ.get(ENVIRONMENT_VARIABLE, "")
    return [*(Path(part) for part in extra.split(os.pathsep) if part), SHIPPED, MADE]


def list_bundles() -> dict[str, Path]:
    """Every bundle that can be found by name; the first folder that has a name wins."""
    found: dict[str, Path] = {}
    for folder in bundle_folders():
        for manifest in sorted(folder.glob(f"*/{MANIFEST_FILE}")):
            found.setdefault(manifest.parent.name, manifest.parent)
    return found


def find_bundle(name_or_path: str | Path) -> Path:
    """Find a bundle by name or path; the folder may still fail to verify.

    Raises `BundleNotFound` with the names that there are.
    """
    path = Path(name_or_path)
    if (path / MANIFEST_FILE).is_file():
        return path
    bundles = list_bundles()
    if str(name_or_path) in bundles:
        return bundles[str(name_or_path)]
    if path.is_dir():
        # A folder that was meant, but is no bundle: reading it says what it lacks.
        return path
    names = ", ".join(bundles) or "none"
    raise BundleNotFound(
        path,
        f"no bundle of that name or path; by name there are: {names} "
        f"({ENVIRONMENT_VARIABLE} adds a folder of bundles)",
    )
