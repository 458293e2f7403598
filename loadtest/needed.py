"""Needed modules: those that a command uses in other processes, which would only say they ended."""

from __future__ import annotations

from importlib.util import find_spec


def need(*modules: str) -> None:
    """Raise `ModuleNotFoundError`, as an import would, for the first that is not installed."""
    for module in modules:
        if find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
