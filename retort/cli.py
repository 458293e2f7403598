"""The `retort` command: one typer app, with subcommands from the rooms that own them.

Importing this module, and `retort --help`, load no torch, no transformers and no backend:
a command imports what it needs when it runs, and says which extra to install if that is missing.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from retort.failures import reported

# Each adds its subcommands with `register(app)`, in the order of `--help`, under this heading.
ROOMS = {
    "retort.service.cli": "Serve",
    "retort.bulk.cli": "Score files",
    "retort.training.commands.fit": "Distil",
    "retort.training.commands.data": "Distil",
    "retort.training.commands.train": "Distil",
    "retort.training.commands.export": "Distil",
    "retort.training.commands.study": "Compare methods",
    "retort.training.commands.evaluate": "Measure quality",
    "retort.loadtest.cli": "Measure speed",
}

DEBUG = "--debug"


class Root(TyperGroup):
    """All of the command line: every failure of a command ends here, in one sentence."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take `--debug` behind a command for one before it."""
        own = args[: args.index("--")] if "--" in args else args
        if DEBUG in own:
            args = [DEBUG, *(word for word in own if word != DEBUG), *args[len(own) :]]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command, and tell how it failed."""
        with reported(debug=ctx.params["debug"]):
            return super().invoke(ctx)


app = typer.Typer(
    name="retort",
    cls=Root,
    help="Distil slow question-answering rankers into one small, fast one, and serve it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"retort {version('retort')}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            DEBUG,
            envvar="RETORT_DEBUG",
            help="Show the traceback of a failure; also behind a command.",
        ),
    ] = False,
) -> None:
    """Distil slow question-answering rankers into one small, fast one, and serve it."""


def _add(room: str, heading: str) -> None:
    """Add a room's commands, under their heading in `--help`."""
    own = typer.Typer()
    import_module(room).register(own)
    for command in own.registered_commands:
        command.rich_help_panel = heading
    for group in own.registered_groups:
        group.rich_help_panel = heading
    app.registered_commands += own.registered_commands
    app.registered_groups += own.registered_groups


for _room, _heading in ROOMS.items():
    _add(_room, _heading)


def main() -> None:
    """Run the command line."""
    app()
