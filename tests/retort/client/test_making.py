"""How a client is made: its URL, its key, what it imports and what it needs."""

from __future__ import annotations

import doctest

import httpx
import pytest

import retort
from retort.client import Client, questions, retry
from tests.retort.client.wire import Wire
from tests.service.test_imports import printed


def asked(wire: Wire) -> httpx.Request:
    return wire.requests[-1]


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("http://host:8080", "http://host:8080/score"),
        ("http://host:8080/", "http://host:8080/score"),
        ("https://host/models/retort", "https://host/models/retort/score"),
        ("https://host/models/retort/", "https://host/models/retort/score"),
    ],
)
def test_a_base_url_may_have_a_path(base_url: str, url: str) -> None:
    wire = Wire()
    with Client(base_url, transport=httpx.MockTransport(wire)) as client:
        client.rank("q", ["0.5"])
    assert str(asked(wire).url) == url
    assert asked(wire).headers["Content-Type"] == "application/json"
    assert "Authorization" not in asked(wire).headers


def test_the_key_is_read_when_the_client_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire()
    transport = httpx.MockTransport(wire)
    monkeypatch.setenv("RETORT_API_KEY", "from the environment\n")
    client = Client(transport=transport)
    monkeypatch.setenv("RETORT_API_KEY", "later")
    client.rank("q", ["0.5"])
    assert asked(wire).headers["Authorization"] == "Bearer from the environment"
    Client(api_key="given", transport=transport).rank("q", ["0.5"])
    assert asked(wire).headers["Authorization"] == "Bearer given"
    Client(api_key="schlüssel", transport=transport).rank("q", ["0.5"])
    assert (b"Authorization", "Bearer schlüssel".encode()) in asked(wire).headers.raw
    Client(api_key="", transport=transport).rank("q", ["0.5"])
    assert "Authorization" not in asked(wire).headers


@pytest.mark.parametrize("base_url", ["localhost:8080", "host", "", "ftp://host", "http://"])
def test_a_base_url_that_cannot_be_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url is"):
        Client(base_url)


def test_numbers_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="attempts is 0"):
        Client(attempts=0)
    with pytest.raises(ValueError, match="concurrency is 0"):
        Client(concurrency=0)
    with pytest.raises(ValueError, match="max_passages is -1"):
        Client(max_passages=-1)
    with pytest.raises(ValueError, match="timeout is 0"):
        Client(timeout=0)


def test_importing_the_client_imports_neither_numpy_nor_a_backend() -> None:
    program = (
        "import retort, sys; retort.Client(), retort.AsyncClient(), retort.RankedPassage; "
        "print([m for m in ('numpy', 'onnxruntime', 'openvino', 'tokenizers', 'fastapi') "
        "if m in sys.modules])"
    )
    assert printed(program) == "[]\n"


def test_the_package_itself_imports_no_client() -> None:
    assert printed("import retort, sys; print('httpx' in sys.modules)") == "False\n"


def test_without_httpx_it_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['httpx'] = None\n"
        "import retort\n"
        "try:\n    retort.Client\n"
        "except ImportError as error:\n    print(error.name, '.[client]' in str(error))"
    )
    assert printed(program) == "httpx True\n"


def test_the_examples_print_what_they_say() -> None:
    for module, examples in ((questions, 2), (retry, 1)):
        found = doctest.testmod(module)
        assert (found.attempted, found.failed) == (examples, 0)


def test_both_ways_to_rank_share_their_result() -> None:
    from retort.ranked import RankedPassage

    assert retort.RankedPassage is RankedPassage
    assert issubclass(retort.client.InvalidRequest, ValueError)
