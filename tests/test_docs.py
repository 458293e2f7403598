"""The documents against the code: commands, options, targets and files that they name are there."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import COMMANDS, options

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def code(text: str) -> Iterator[str]:
    """Every line of shell code and every inline code span; lines ending in a backslash joined."""
    fence = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
    for language, block in fence.findall(text):
        if language in ("sh", "bash", "console"):
            yield from block.replace("\\\n", " ").splitlines()
    yield from re.findall(r"`([^`\n]+)`", fence.sub("", text))


def calls(text: str, program: str) -> Iterator[list[str]]:
    """The words after `program` wherever code calls it."""
    for line in code(text):
        found = re.match(rf"^(?:\$ )?(?:\.venv/bin/)?{program} +(.*)$", line.strip())
        if found:
            yield shlex.split(re.split(r";|\(about", found[1])[0], comments=True)


def retort_calls() -> list[tuple[str, list[str]]]:
    """Every call of `retort` in a document, a recipe's head, the Makefile or a command's help."""
    texts = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
    for recipe in sorted((ROOT / "recipes").rglob("*.yaml")):
        heads = re.findall(r"^# +(retort .*)", recipe.read_text(encoding="utf-8"), re.MULTILINE)
        texts[str(recipe.relative_to(ROOT))] = shell("\n".join(heads).replace(" && ", "\n"))
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    texts["Makefile"] = shell(re.sub(r"^.*\$\(BIN\)/retort", "retort", rules, flags=re.MULTILINE))
    helps = {f"retort {name} --help": as_code(c.help or "") for name, c in COMMANDS.items()}
    return [
        (place, call) for place, text in (texts | helps).items() for call in calls(text, "retort")
    ]


def as_code(help_text: str) -> str:
    """A command's help as a page: of an indented block, only `retort` begins a new command."""
    blocks = re.findall(r"(?:^    .*\n?)+", help_text, re.MULTILINE)
    blocks += re.findall(r"^Example: (retort .*)", help_text, re.MULTILINE)
    lines = re.sub(r"\n +(?!retort\b)", " ", "\n".join(block.strip() for block in blocks))
    return f"{help_text}\n{shell(lines)}"


def shell(lines: str) -> str:
    """A page that holds nothing but these lines of shell code."""
    return f"```sh\n{lines}\n```\n"


@pytest.mark.parametrize(("place", "call"), retort_calls())
def test_commands_and_options_exist(place: str, call: list[str]) -> None:
    if call[0].startswith("-"):
        assert call[0] in ("--help", "--version")
        return
    words = [word for word in call if not word.startswith("-")]
    name = next((n for n in (" ".join(words[:2]), words[0]) if n in COMMANDS), None)
    if name is None:
        # A group alone, as in `retort data --help`.
        assert any(known.startswith(f"{words[0]} ") for known in COMMANDS), f"{place}: {call}"
        return
    for word in call:
        if word.startswith("recipes/") and "$" not in word:
            assert (ROOT / word).is_file(), f"{place}: {word} is not there"
    flags = {word.partition("=")[0] for word in call if re.match(r"^--?[a-z]", word)}
    assert flags <= options(name), f"{place}: {flags - options(name)} of retort {name}"


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        for call in calls(page.read_text(encoding="utf-8"), "make"):
            wanted = [word for word in call if "=" not in word]
            assert set(wanted) <= targets, f"{page.name}: make {' '.join(call)}"


def test_every_target_is_explained() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (\S+)", text, re.MULTILINE))
    explained = set(re.findall(r"^([a-z-]+):.*## .+", text, re.MULTILINE))
    assert phony == explained
    shown = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    for target in explained:
        assert target in shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


def test_ci_runs_what_the_contributor_runs() -> None:
    last = (ROOT / ".ci" / "run").read_text().rstrip().splitlines()[-1]
    assert last == "exec make test"
