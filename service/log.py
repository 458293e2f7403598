"""Logging to standard error, the same for every process of a server."""

from __future__ import annotations

import logging


def log_to_stderr(level: str, process: str = "") -> None:
    """Log lines of at least `level`; `process` names the process that writes them."""
    who = f" {process}" if process else ""
    logging.basicConfig(
        level=level.upper(), format=f"%(asctime)s %(levelname)s %(name)s{who}: %(message)s"
    )
    if level != "debug":
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
