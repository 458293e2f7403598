"""Options that are written once: a dataclass's fields as the options of a command."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from retort.loadtest.cli import measuring
from retort.loadtest.options import LoadtestOptions, TuneOptions, as_command


@dataclass(frozen=True, slots=True)
class CakeOptions:
    """What a cake is made of."""

    eggs: Annotated[int, typer.Option(min=1, help="How many eggs.")] = 3
    fruit: Annotated[list[str], typer.Option(help="Several times.")] = field(default_factory=list)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], (CakeOptions(), False)),
        (
            ["--eggs", "2", "--fruit", "plum", "--fruit", "pear", "--hot"],
            (CakeOptions(2, ["plum", "pear"]), True),
        ),
    ],
)
def test_a_command_gets_its_options_as_one_value(
    arguments: list[str], expected: tuple[CakeOptions, bool]
) -> None:
    baked: list[tuple[CakeOptions, bool]] = []

    def bake(options: CakeOptions, hot: Annotated[bool, typer.Option("--hot")] = False) -> None:
        """Bake a cake."""
        baked.append((options, hot))

    app = typer.Typer()
    app.command()(as_command(bake))
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert baked == [expected]
    assert CliRunner().invoke(app, ["--eggs", "0"]).exit_code == 2
    help_text = CliRunner().invoke(app, ["--help"]).output
    assert all(words in help_text for words in ("Bake a cake.", "How many eggs.", "default: 3"))


def test_members_of_the_ensemble_have_a_default_and_can_be_left_out() -> None:
    assert len(LoadtestOptions().members) == 3
    assert LoadtestOptions(member=["a", "b"]).members == ("a", "b")
    assert LoadtestOptions(ensemble=False).members == ()


def test_a_choice_is_what_was_not_left_to_the_server() -> None:
    assert TuneOptions().choice == {}
    assert TuneOptions(precision="int8").choice == {"precision": "int8"}


def test_every_step_is_a_line_as_it_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    with measuring() as log:
        log("round 1 of 2: [bold] 10 pairs/s [/]")
    assert capsys.readouterr().err == "round 1 of 2: [bold] 10 pairs/s [/]\n"
