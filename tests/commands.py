"""The command line as data: every subcommand with its words, its help and its options."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from retort.cli import app


def walk(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that call it, groups gone through."""
    children: dict[str, Any] = getattr(command, "commands", {})
    if not children:
        yield words, command
    for name, child in children.items():
        yield from walk(child, (*words, name))


COMMANDS: dict[str, Any] = {
    " ".join(words): command for words, command in walk(typer.main.get_command(app))
}


def options(name: str) -> set[str]:
    """Every option of a command, long and short."""
    found = {
        flag
        for parameter in COMMANDS[name].params
        for flag in (*parameter.opts, *parameter.secondary_opts)
        if flag.startswith("-")
    }
    return found | {"--help"}
