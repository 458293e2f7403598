"""Environments of clients: made once under build/clients, and again when their packages change."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.clients.client import Client, Environment

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "clients"
SCRIPTS = Path(__file__).parent


def prepared(environment: Environment) -> Path:
    """The folder of an environment with its packages.

    Raises `CalledProcessError` if they cannot be installed.
    """
    folder = BUILD / environment.name
    stamp = folder / "requirements.json"
    wanted = json.dumps(environment.requirements)
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _INSTALL[environment.kind](folder, environment.requirements)
        stamp.write_text(wanted, encoding="utf-8")
    return folder


def command(client: Client) -> list[str]:
    """How to run a client in its environment, which is prepared."""
    folder = prepared(client.environment)
    if client.environment.kind == "node":
        # A module of JavaScript is looked for from the file that imports it.
        for script in (SCRIPTS / "node").glob("*.mjs"):
            shutil.copy(script, folder)
        return ["node", str(folder / "drive.mjs"), client.script, client.function]
    python = folder / "bin" / "python" if client.environment.requirements else sys.executable
    return command_with(Path(python), client)


def command_with(python: Path, client: Client) -> list[str]:
    """How to run a client with some Python that has its packages."""
    return [str(python), str(SCRIPTS / "python" / "drive.py"), client.script, client.function]


def _python(folder: Path, requirements: tuple[str, ...]) -> None:
    if not requirements:
        return
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, *requirements], check=True)


def _node(folder: Path, requirements: tuple[str, ...]) -> None:
    (folder / "package.json").write_text('{"private": true}', encoding="utf-8")
    subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund", *requirements],
        cwd=folder,
        check=True,
    )


_INSTALL: dict[str, Callable[[Path, tuple[str, ...]], None]] = {"python": _python, "node": _node}
