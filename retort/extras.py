"""Extras: what to install when a module is missing."""

from __future__ import annotations


def install_advice(who: str, module: str, extra: str) -> str:
    """What to tell whoever uses `who` (a command, a class) without a module of an extra."""
    # Export checks the graph that it wrote, so training needs a backend too.
    extras = "train,cpu" if extra == "train" else extra
    return (
        f"{who} needs {module}, which is not installed: it comes with the extra `{extra}`. "
        f"Run: make install, or pip install -c constraints.txt -e '.[{extras}]'"
    )
