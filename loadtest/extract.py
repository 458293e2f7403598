"""The extract: real questions and passages that ship with the load test, as requests to rank.

`extract.tsv` has the format of the public sets, `query<TAB>passage`; `extract.LICENSE` says whose
it is. A search gives many candidates for a question and the file has one or two, so a request is
filled up with passages of other questions: those that share the most words with it, as a search
by words would find them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from retort.loadtest.texts import Request, read_requests

EXTRACT = Path(__file__).with_name("extract.tsv")


def read_ranking_requests(path: Path = EXTRACT, *, passages: int) -> list[Request]:
    """One request for each query of the file, of exactly `passages` passages, its own first.

    Raises `ValueError` if the file has fewer passages than that, or is not of its format.
    """
    grouped = read_requests(path, passages=passages)
    texts = list(dict.fromkeys(text for request in grouped for text in request.passages))
    if len(texts) < passages:
        raise ValueError(
            f"{path}: holds {len(texts)} passages, a request was to have {passages}: "
            "ask for fewer, or give a larger file"
        )
    words = {text: _words(text) for text in texts}

    def filled(request: Request) -> Request:
        asked = _words(request.query)
        # `sorted` keeps the file's order among equals, so that every machine sends the same.
        near = sorted(texts, key=lambda text: -len(asked & words[text]))
        return Request(request.query, tuple(dict.fromkeys((*request.passages, *near)))[:passages])

    return [filled(request) for request in grouped]


def bodies(requests: Sequence[Request], **options: object) -> tuple[str, ...]:
    """The requests as JSON bodies of `POST /score`, each with these options."""
    return tuple(
        json.dumps({"query": request.query, "passages": list(request.passages), **options})
        for request in requests
    )


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))
