"""The tree keeps the rules of CONTRIBUTING.md that no linter knows."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOST_BYTES = 45 * 2**20  # of a clone, without its history
ROOMS = ("retort", "loadtest", "models", "service", "training")


def test_folders_have_at_most_sixteen_modules() -> None:
    """A folder is one stage, or alternatives behind one protocol; past sixteen it is two things."""
    modules = [module for room in ROOMS for module in (ROOT / room).rglob("*.py")]
    counts = Counter(str(module.parent.relative_to(ROOT)) for module in modules)
    assert {folder: count for folder, count in counts.items() if count > 16} == {}


def test_the_rooms_are_links() -> None:
    for room in ROOMS[1:]:
        link = ROOT / "retort" / room
        assert link.is_symlink()
        assert link.readlink() == Path("..") / room


def test_a_clone_stays_small() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    # lstat: the rooms are links. A file that is being removed is not there.
    sizes = [path.lstat().st_size for path in files if path.is_symlink() or path.exists()]
    assert sum(sizes) < MOST_BYTES
