"""The environment: a virtual environment of its own for each peer, made once and used again.

Their pins do not go together, with each other or with this project's. What a peer needs stands in
`NAME.txt` beside this file, all of it pinned; when that file changes, the environment is made anew.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
STAMP = ".installed"
INSTALL_TIMEOUT_S = 1800.0


def requirements_of(name: str) -> Path:
    """The pinned requirements of the environment `name`."""
    return HERE / f"{name}.txt"


def make_environment(
    folder: Path, requirements: Path, say: Callable[[str], None] = lambda words: None
) -> Path:
    """The Python of the environment at `folder`, made if it is not there or of other requirements.

    Raises `RuntimeError` with what pip said if something cannot be installed.
    """
    # Not resolved: it is a link, and where it lies is how Python knows its environment.
    python = folder.absolute() / "bin" / "python"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    stamp = folder / STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and python.exists():
        return python
    say(f"installing {requirements.stem} into {folder} (once; minutes)")
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _call([sys.executable, "-m", "venv", str(folder)])
    _call([str(python), "-m", "pip", "install", "--quiet", "-r", str(requirements)])
    stamp.write_text(wanted, encoding="utf-8")
    return python


def _call(command: list[str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr[-2000:]}"
        )
