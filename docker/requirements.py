"""Requirements: print those of `pyproject.toml`, with those of the extras that are named.

    python docker/requirements.py cpu,loadtest > requirements.txt

pip cannot install a project's requirements without the project, and an image needs them in a
layer of their own.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements(pyproject: str, extras: list[str]) -> list[str]:
    """The requirement lines of the project and of `extras`.

    Raises `SystemExit` if there is no such extra.
    """
    project = tomllib.loads(pyproject)["project"]
    known: dict[str, list[str]] = project["optional-dependencies"]
    if unknown := set(extras) - set(known):
        raise SystemExit(
            f"no extra {', '.join(sorted(unknown))} in pyproject.toml: it has {', '.join(known)}"
        )
    return [*project["dependencies"], *(line for extra in extras for line in known[extra])]


if __name__ == "__main__":
    text = Path("pyproject.toml").read_text(encoding="utf-8")
    print(*requirements(text, [name for name in sys.argv[1].split(",") if name]), sep="\n")
