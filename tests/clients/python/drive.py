"""Runs one client in its own environment: lines of JSON come in, and lines of JSON go out.

    python drive.py SCRIPT FUNCTION

Each line has the fields of a `Request`. The function of that name asks through its client and
returns what the client gave, best first. The answer is `{"ranked": [[index, score], ...]}`, or,
when the client raised, `{"error": "module.Class", "message"}`. The runner judges both.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple


class Request(NamedTuple):
    """What a client is to ask. `url` ends without a slash; without a `top_n` all are wanted."""

    url: str
    key: str
    model: str
    query: str
    documents: list[str]
    top_n: int | None = None

    @property
    def wanted(self) -> int:
        """How many results, for clients that want a number."""
        return self.top_n or len(self.documents)


Ranked = list[tuple[int, float]]
Ask = Callable[[Request], Ranked]


def answer(ask: Ask, request: Request) -> dict[str, Any]:
    """What the client gave or raised."""
    try:
        return {"ranked": [[int(index), float(score)] for index, score in ask(request)]}
    # An assertion of a client's own is a finding; a real exit is one too.
    except BaseException as error:
        kind = type(error)
        return {"error": f"{kind.__module__}.{kind.__qualname__}", "message": str(error)}


def load(script: str) -> Any:
    """A script of this folder, by its file: its name may be that of a package."""
    place = Path(__file__).with_name(f"{script}.py")
    spec = importlib.util.spec_from_file_location(f"client_{script}", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Answer every line of the input."""
    # Clients print: the answers have a way of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    script, function = sys.argv[1:]
    ask: Ask = getattr(load(script), function)
    for line in sys.stdin:
        print(json.dumps(answer(ask, Request(**json.loads(line)))), file=answers, flush=True)


if __name__ == "__main__":
    main()
