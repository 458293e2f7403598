"""The tree keeps the rules of CONTRIBUTING.md that no linter knows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
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
