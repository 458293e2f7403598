"""What the log leaves out."""

from __future__ import annotations

import subprocess
import sys

import pytest

ASK = """
import httpx
from retort.service.log import log_to_stderr
from retort.service.settings import Settings

log_to_stderr(Settings(log_level={level!r}))
answer = httpx.MockTransport(lambda request: httpx.Response(200))
httpx.Client(transport=answer).get("https://ranker.example/rerank?token=SECRET")
"""


@pytest.mark.parametrize("level", ["info", "debug"])
def test_the_query_of_a_url_that_is_asked_is_not_logged(level: str) -> None:
    call = [sys.executable, "-c", ASK.format(level=level)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=120, check=True)
    assert "SECRET" not in done.stderr + done.stdout
