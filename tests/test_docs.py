"""The documents against the code: commands, options, targets, files, links and names are there."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from pydantic.fields import FieldInfo
from typer.testing import CliRunner

import retort
from retort.cli import app
from retort.service.settings import GROUPS, Settings
from retort.training.recipes.methods import METHODS
from retort.training.recipes.reference import BEGIN, END, to_markdown
from tests.commands import COMMANDS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FOLDERS = "docker|docs|loadtest|models|recipes|retort|service|tests|training"
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(text: str) -> Iterator[str]:
    """Every line of a page's shell code, lines that end in a backslash joined."""
    for language, block in FENCE.findall(text):
        if language in ("sh", "bash", "console"):
            yield from block.replace("\\\n", " ").splitlines()


def spans(text: str) -> list[str]:
    """Every code span outside of code blocks."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


def calls(lines: Iterator[str] | list[str], program: str) -> Iterator[list[str]]:
    """The words after `program` wherever a line calls it."""
    for line in lines:
        found = re.match(rf"^(?:\$ )?(?:\.venv/bin/)?{program} +(.*)$", line.strip())
        if found:
            yield shlex.split(re.split(r";| &&|\(about", found[1])[0], comments=True)


def written() -> list[tuple[str, list[str]]]:
    """The calls of `retort` in code: pages, recipes' heads, scripts, Makefile, commands' help."""
    texts = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
    for file in sorted((ROOT / "recipes").rglob("*.yaml")):
        head = re.sub(r"\\\n# +", "", file.read_text(encoding="utf-8"))
        heads = re.findall(r"^# +(retort .*)", head, re.MULTILINE)
        lines = [re.sub(r"  +\(?\w[^\"]*$", "", head) for head in heads]
        texts[str(file.relative_to(ROOT))] = shell("\n".join(lines).replace(" && ", "\n"))
    for script in sorted((ROOT / "recipes").glob("*.sh")):
        texts[str(script.relative_to(ROOT))] = shell(script.read_text(encoding="utf-8"))
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    texts["Makefile"] = shell(re.sub(r"^.*\$\(BIN\)/retort", "retort", rules, flags=re.MULTILINE))
    helps = {f"retort {name} --help": as_code(c.help or "") for name, c in COMMANDS.items()}
    return [
        (place, call)
        for place, text in (texts | helps).items()
        for call in calls(blocks(text), "retort")
    ]


def mentioned() -> list[tuple[str, list[str]]]:
    """The calls of `retort` in the documents' prose, which may leave arguments out."""
    return [
        (page.name, call)
        for page in PAGES
        for call in calls(spans(page.read_text(encoding="utf-8")), "retort")
    ]


def as_code(help_text: str) -> str:
    """A command's help as a page: of an indented block, only `retort` begins a new command."""
    found = re.findall(r"(?:^    .*\n?)+", help_text, re.MULTILINE)
    found += re.findall(r"^Example: (retort .*)", help_text, re.MULTILINE)
    lines = re.sub(r"\n +(?! |retort\b)", " ", "\n".join(block.strip() for block in found))
    return shell(lines)


def shell(lines: str) -> str:
    """A page that holds nothing but these lines of shell code."""
    return f"```sh\n{lines}\n```\n"


class IncompleteError(Exception):
    """A command line lacks an argument that its command requires."""


def parse(call: list[str]) -> None:
    """Parse a command line as `retort` would, without running it.

    Raises what the command would for an option or an argument that it does not take, and
    `IncompleteError` if one is missing; a file that is not there is no mistake.
    """
    words = [word for word in call if not word.startswith("-")]
    name = next((n for n in (" ".join(words[:2]), words[0]) if n in COMMANDS), None)
    if name is None:
        raise ValueError(f"there is no command {words[0]}")
    arguments = call[len(name.split()) :]
    try:
        COMMANDS[name].make_context(name, arguments)
    except typer.BadParameter as error:
        if type(error).__name__ == "MissingParameter":
            raise IncompleteError(call) from error
        if "does not exist" not in error.message:
            raise


def is_help(call: list[str]) -> bool:
    """Whether a call asks for help or the version, which is run and not parsed."""
    return call[-1] in ("--help", "--version")


@pytest.mark.parametrize(
    ("place", "call"), [(place, call) for place, call in written() if not is_help(call)]
)
def test_commands_parse(place: str, call: list[str]) -> None:
    if any("$(" in word for word in call):
        # What a variable of make holds is not known here: the options that are written out exist.
        known = {flag for parameter in COMMANDS[call[0]].params for flag in parameter.opts}
        assert {word for word in call if word.startswith("--")} <= known, f"{place}: {call}"
    else:
        parse(call)
    for word in call:
        if word.startswith("recipes/") and "$" not in word:
            assert (ROOT / word).is_file(), f"{place}: {word} is not there"


@pytest.mark.parametrize(
    ("place", "call"), [(place, call) for place, call in mentioned() if not is_help(call)]
)
def test_commands_in_prose_parse(place: str, call: list[str]) -> None:
    with contextlib.suppress(IncompleteError):
        parse(call)


@pytest.mark.parametrize(
    "call", sorted({tuple(call) for _, call in written() + mentioned() if is_help(call)})
)
def test_help_is_shown(call: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, list(call)).exit_code == 0


def make_calls() -> list[tuple[str, ...]]:
    """Every call of make in a document, once."""
    return sorted(
        {
            tuple(call)
            for page in PAGES
            for text in [page.read_text(encoding="utf-8")]
            for call in [*calls(blocks(text), "make"), *calls(spans(text), "make")]
        }
    )


@pytest.mark.parametrize("call", make_calls(), ids=" ".join)
def test_make_knows_what_to_do(call: tuple[str, ...]) -> None:
    words = [word for word in call if "=" not in word or "..." not in word]
    done = subprocess.run(
        ["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_every_target_is_explained() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (\S+)", text, re.MULTILINE))
    explained = set(re.findall(r"^([a-z-]+):.*## .+", text, re.MULTILINE))
    assert phony == explained
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.splitlines()
    for target in explained:
        assert any(line.startswith(f"  {target} ") for line in shown)
    # One screen.
    assert len(shown) <= 45
    assert max(map(len, shown)) <= 80


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.+)$", text, re.MULTILINE)
    plain = (re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@each_page
def test_paths_and_modules_exist(page: Path) -> None:
    for span in spans(page.read_text(encoding="utf-8")):
        if re.fullmatch(rf"(?:{FOLDERS})/[\w./-]*", span):
            # What a build or a user makes there is not in the tree.
            if not span.startswith(("models/my-", "models/mine", "recipes/mine/student.yaml")):
                assert (ROOT / span).exists(), span
        elif re.fullmatch(r"retort(?:\.\w+)+", span):
            public = span.removeprefix("retort.") in retort.__all__
            assert public or importlib.util.find_spec(span) is not None, span


def test_the_index_has_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    linked = {(ROOT / "docs" / link).resolve() for link in re.findall(r"\]\(([^)#]+)\)", index)}
    missing = {page.resolve() for page in PAGES} - {(ROOT / "docs" / "README.md").resolve()}
    assert missing - linked == set()


def test_the_reference_of_recipes_is_up_to_date() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    text = page.partition(BEGIN + "\n")[2].partition(END)[0]
    assert text == to_markdown(), "run `retort recipes --page docs/recipes.md`"


def test_the_methods_and_their_options_are_as_stated() -> None:
    text = (ROOT / "docs" / "distillation.md").read_text(encoding="utf-8")
    table = text.partition("| method | from |")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    stated = {
        name: set(re.findall(r"`(\w+)`", cells[3]) if len(cells) > 3 else ())
        for cells in rows
        for name in re.findall(r"`([\w-]+)`", cells[0])
    }
    assert stated == {name: set(spec.options.model_fields) for name, spec in METHODS.items()}


def test_the_settings_are_those_of_the_server() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    stated = re.findall(r"^\| `(\w+)` \| `?(.+?)`? \| (.+) \|$", text, re.MULTILINE)
    expected = [
        (name, default_of(field), field.description)
        for name, field in Settings.model_fields.items()
    ]
    assert stated == expected
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == list(GROUPS.values())


def default_of(field: FieldInfo) -> str:
    """A setting's default as the page writes it."""
    if field.default_factory is not None:
        return "~/.cache/retort"
    if field.default is None:
        return "unset"
    if isinstance(field.default, tuple):
        return ", ".join(field.default) or "none"
    return str(field.default).lower()


def test_the_settings_of_operations_exist() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = text.partition("## Settings that decide the speed")[2].partition("\n## ")[0]
    first_cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    names = {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)}
    assert len(names) > 5
    assert names <= set(Settings.model_fields)


def test_ci_runs_what_the_contributor_runs() -> None:
    last = (ROOT / ".ci" / "run").read_text().rstrip().splitlines()[-1]
    assert last == "exec make test"
