"""The `retort` command as a whole: what it offers, and what it says where an extra is missing."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retort.cli import app
from retort.extras import EXTRA_OF_MODULE, missing_extra
from tests.commands import COMMANDS

ROOT = Path(__file__).parent.parent
PROMISED = {
    "serve",
    "data",
    "teach",
    "label",
    "distill",
    "evaluate",
    "export",
    "verify",
    "score",
    "rank",
    "bench",
    "loadtest",
    "peers",
    "stress",
    "validate",
    "methods",
    "study",
    "report",
    "recommend",
    "cascade",
    "tune",
}
TRAINING_ALONE = sorted({m for m, extra in EXTRA_OF_MODULE.items() if extra == "train"})


def run_without(modules: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `retort` in a new process in which these modules are not installed."""
    code = (
        "import sys\n"
        f"for name in {modules!r}: sys.modules[name] = None\n"
        f"sys.argv = ['retort', *{list(arguments)!r}]\n"
        "import retort.cli\n"
        "retort.cli.main()\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_promised_command_is_there() -> None:
    assert {name.split()[0] for name in COMMANDS} >= PROMISED


@pytest.mark.parametrize("name", [n for n, command in COMMANDS.items() if not command.hidden])
def test_every_command_has_help_with_an_example(name: str) -> None:
    text = COMMANDS[name].help or ""
    assert "Example" in text, f"the help of `retort {name}` gives no example"
    assert f"retort {name}" in text, f"the example of `retort {name}` does not call it"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_can_be_shown(name: str) -> None:
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name: str) -> None:
    silent = [
        parameter.name
        for parameter in COMMANDS[name].params
        if parameter.opts[0].startswith("-") and not parameter.help
    ]
    assert silent == []


def test_version_is_the_one_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    result = CliRunner().invoke(app, ["--version"])
    assert result.output == f"retort {project['version']}\n"


def test_no_command_shows_the_help() -> None:
    result = CliRunner().invoke(app, [])
    assert "Usage" in result.output


def test_help_loads_no_engine_and_no_framework() -> None:
    done = run_without([*EXTRA_OF_MODULE, "numpy", "pydantic", "fastapi"], "--help")
    assert done.returncode == 0, done.stderr
    for name in PROMISED:
        assert name in done.stdout


def test_the_help_of_serve_loads_no_engine() -> None:
    done = run_without([*EXTRA_OF_MODULE, "numpy", "fastapi", "tokenizers"], "serve", "--help")
    assert done.returncode == 0, done.stderr
    assert "RETORT_PORT" in done.stdout


# A user's own packages of the rooms' names, which say so when somebody imports them.
ROOMS = ("service", "models", "training", "loadtest")


@pytest.mark.parametrize(
    "program",
    [
        ["-m", "retort"],
        # What the installed script `retort` does, but that its folder is not the current one.
        ["-c", "import sys; sys.path.insert(0, ''); from retort.cli import main; main()"],
    ],
    ids=["python -m retort", "retort"],
)
def test_folders_of_the_users_own_do_not_matter(tmp_path: Path, program: list[str]) -> None:
    for room in ROOMS:
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text(f"raise SystemExit('the user has {room}')")
    for arguments in (["--version"], ["serve", "--help"], ["score", " ", "paris"]):
        done = subprocess.run(
            [sys.executable, *program, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "the user has" not in done.stdout + done.stderr
        expected = 1 if arguments[0] == "score" else 0
        assert done.returncode == expected, done.stderr
    assert "no letter and no digit" in done.stderr


def test_the_package_is_light_to_import() -> None:
    program = (
        "import retort, sys; print({'numpy', 'pydantic', 'typer', 'onnxruntime'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("set()")


def test_a_training_command_says_which_extra_is_missing() -> None:
    done = run_without(TRAINING_ALONE, "evaluate", "sets", "--system", "a=cross-encoder:ce")
    assert done.returncode == 1
    assert "comes with the extra `train`" in done.stderr
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_advice_names_the_extras_to_install() -> None:
    advice = missing_extra(ModuleNotFoundError("no", name="transformers.models"))
    assert advice is not None
    assert "needs transformers" in advice
    assert "'.[train,cpu]'" in advice
    assert missing_extra(ModuleNotFoundError("no", name="left_pad")) is None
    assert missing_extra(ModuleNotFoundError("no")) is None


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_no_help_holds_a_picture_that_was_meant_as_text(name: str) -> None:
    # Rich reads `:package:` as the name of one.
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert not [sign for sign in result.stdout if ord(sign) > 0x1F000]
