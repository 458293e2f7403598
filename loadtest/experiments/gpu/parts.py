"""The parts' files: what each part has found, or why it failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Found = dict[str, Any]


def write_part(out: Path, name: str, found: Found) -> None:
    """Keep what a part has found so far, in place of what it had found before."""
    folder = out / "parts"
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{name}.part"
    unfinished.write_text(json.dumps(found, indent=2), encoding="utf-8")
    unfinished.replace(folder / f"{name}.json")


def read_parts(out: Path) -> dict[str, Found]:
    """What every part has found that is there."""
    files = sorted((out / "parts").glob("*.json"))
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def read_failures(out: Path) -> dict[str, str]:
    """The end of what a part printed that failed."""
    files = sorted((out / "parts").glob("*.failed"))
    return {file.stem: file.read_text(encoding="utf-8", errors="replace").strip() for file in files}
