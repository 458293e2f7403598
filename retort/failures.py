"""Failures: what a command says where it cannot go on, in one sentence, and how it ends.

Three kinds are told apart. What Retort itself raises is written for its user and told as it is.
What the machine refuses (a file, memory, a package that is not installed) is put into words here.
Anything else is a fault of Retort, and said to be one, with the exception's type.

A reader of files from outside works within `reading`, so that what a library raises about such a
file names the file.
"""

from __future__ import annotations

import dis
import os
import select
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NoReturn

import typer

from retort.extras import missing_extra

INTERRUPTED = 130  # as a shell has it: 128 and the number of SIGINT
PACKAGE = Path(__file__).parent

# How the command line itself says that a command ends, or was called wrongly.
_COMMAND_LINE = ("click", "typer")
# Python raises these where a program is wrong, so they are no words to a user even when a `raise`
# of this project's did it.
_OF_PROGRAMS = (
    AssertionError, AttributeError, LookupError, NameError, NotImplementedError, TypeError,
)  # fmt: skip
_RAISE = dis.opmap["RAISE_VARARGS"]
# What libraries say where memory does not suffice, if they do not raise `MemoryError`.
_NO_MEMORY = ("can't allocate memory", "failed to allocate memory", "bad_alloc", "out of memory")


class Unreadable(ValueError):
    """A file or folder from outside is not what it has to be; the message names it."""


@contextmanager
def reading(place: object, what: str) -> Iterator[None]:
    """Name `place`, a file or folder read as `what`, in whatever a library raises about it.

    What Retort raises, and what the machine refuses, pass as they are. Raises `Unreadable`.
    """
    try:
        yield
    except (ImportError, MemoryError):
        raise
    except EOFError as error:
        raise Unreadable(
            f"{place}: not readable as {what}: the file is cut off ({_words(error)})"
        ) from error
    except Exception as error:
        refused = isinstance(error, OSError) and error.errno is not None
        if refused or _deliberate(error) or _lacks_memory(error):
            raise
        raise Unreadable(
            f"{place}: not readable as {what} ({_type(error)}: {_words(error)})"
        ) from error


@contextmanager
def reported(debug: bool = False) -> Iterator[None]:
    """Tell the failure of a command on standard error and end it: 1, or 130 if interrupted.

    With `debug` the traceback comes first. How the command line itself ends a command passes.
    """
    try:
        yield
        sys.stdout.flush()
    except BaseException as error:
        if isinstance(error, SystemExit | GeneratorExit) or _is_of(error, _COMMAND_LINE):
            raise
        _end(error, debug)


def sentence(error: BaseException, debug: bool = False) -> str:
    """What happened, where, and what to do; `debug` says that the traceback is shown."""
    if _deliberate(error):
        return str(error)
    if isinstance(error, ImportError):
        advice = missing_extra(error) if isinstance(error, ModuleNotFoundError) else None
        return advice or (
            f"{_words(error)}: an installed package is damaged or does not fit the others; install "
            "Retort again, in a fresh environment"
        )
    if _lacks_memory(error):
        return (
            "out of memory: use smaller batches (in a recipe optimiser.batch_pairs), shorter texts "
            f"(length.max_length) or a larger machine ({_type(error)}: {_words(error)})"
        )
    if isinstance(error, OSError):
        return _refusal(error)
    then = (
        "Report it with its traceback"
        if debug
        else "Run the same command with --debug, and report it with what that prints"
    )
    return f"this is a fault of Retort: {_type(error)}{_place(error)}: {_words(error)}. {then}"


def _end(error: BaseException, debug: bool) -> NoReturn:
    if isinstance(error, BrokenPipeError) and _nobody_reads():
        # As `retort methods | head -1` does. What is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from error
    if debug:
        traceback.print_exception(error)
    # A progress bar that was being drawn ends its line when nothing refers to it.
    traceback.clear_frames(error.__traceback__)
    if isinstance(error, KeyboardInterrupt):
        typer.echo("interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from error
    typer.secho(f"error: {sentence(error, debug)}", fg="red", err=True)
    raise typer.Exit(1) from error


def _deliberate(error: BaseException) -> bool:
    """Whether a `raise` of this project's raised it, with words for its user."""
    if _is_of(error, ("retort",)):
        return True
    trace = _last(error)
    if trace is None or isinstance(error, _OF_PROGRAMS) or not _ours(trace):
        return False
    # A call to a library written in C has no frame of its own, but is no `raise` either.
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] == _RAISE


def _is_of(error: BaseException, packages: tuple[str, ...]) -> bool:
    return type(error).__module__.partition(".")[0] in packages


def _ours(trace: TracebackType) -> bool:
    return str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0] == "retort"


def _last(error: BaseException) -> TracebackType | None:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def _type(error: BaseException) -> str:
    kind = type(error)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _place(error: BaseException) -> str:
    """The last line of this project's that the failure went through."""
    found = ""
    trace = error.__traceback__
    while trace is not None:
        if _ours(trace):
            path = Path(trace.tb_frame.f_code.co_filename)
            inside = path.relative_to(PACKAGE) if path.is_relative_to(PACKAGE) else path
            found = f" at {inside}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _lacks_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in text for words in _NO_MEMORY)
    )


def _refusal(error: OSError) -> str:
    """What the machine, or a library that reaches for the network, refused."""
    if error.strerror is None:
        return _words(error)
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return ": ".join([" -> ".join(names), error.strerror] if names else [error.strerror])


def _words(error: BaseException) -> str:
    """An exception's message in one line, or its type where it has none."""
    errors = getattr(error, "errors", None)
    if _is_of(error, ("pydantic_core",)) and callable(errors):
        from retort.models.errors import mistakes

        return mistakes(error)  # type: ignore[arg-type]
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".:") if lines else type(error).__name__


def _nobody_reads() -> bool:
    """Whether standard output is a pipe whose other end has been closed."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):  # no file, or closed
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))
