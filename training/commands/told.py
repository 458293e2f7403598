"""What a command tells its user on standard error: mistakes in one sentence, and progress."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def reported() -> Iterator[None]:
    """Print an error that a user can mend and exit with status 1, without a traceback."""
    from retort.models.errors import BundleError

    try:
        yield
    except (ValueError, OSError, BundleError) as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        raise typer.Exit(1) from error


def log(text: str) -> None:
    """A line of progress, on standard error."""
    typer.echo(text, err=True)
