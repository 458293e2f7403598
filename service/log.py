"""Logging to standard error, as text or JSON, the same for every process of a server."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import orjson

from retort.service.settings import Settings


class JsonFormatter(logging.Formatter):
    """One JSON object per line; the fields of an access record are its own."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": self._process,
        }
        fields = getattr(record, "fields", None)
        if fields is None:
            line["message"] = record.getMessage()
        else:
            line |= fields
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def log_to_stderr(settings: Settings, process: str = "") -> None:
    """Log as the settings say; `process` names the process that writes the lines."""
    # Nothing shows these, and they cost time per line.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler()
    if settings.log_format == "json":
        handler.setFormatter(JsonFormatter(process))
    else:
        who = f" {process}" if process else ""
        handler.setFormatter(
            logging.Formatter(f"%(asctime)s %(levelname)s %(name)s{who}: %(message)s")
        )
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    # A teacher's URL may hold a token in its query, and these log every URL whole.
    for library in ("httpx", "httpcore"):
        logging.getLogger(library).setLevel(logging.WARNING)
    if not settings.access_log:
        logging.getLogger("retort.access").setLevel(logging.WARNING)
    if settings.log_level != "debug":
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
