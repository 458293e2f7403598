"""The most used clients that the development environment has, and the bodies that are replayed.

All others, each in an environment of its own: `make clients`.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.checking import Servers, check, servers
from tests.clients.client import Client
from tests.clients.configurations import CLIENTS, COHERE_7, REPLAYED_BODIES, SMALL
from tests.clients.environments import SCRIPTS, command_with
from tests.clients.page import named, works
from tests.clients.run import PAGE

# One of each kind; `make clients` runs the others.
HERE = [
    client
    for client in CLIENTS
    if (client.environment is COHERE_7 and client.function in ("v2", "v1_fields"))
    or (client.environment is SMALL and client.function.startswith("rerankers_"))
]


@pytest.fixture(scope="module")
def where() -> Iterator[Servers]:
    with servers() as running:
        yield running


def run(client: Client, where: Servers) -> dict[str, str]:
    """What did not come out as it is stated, with the reason."""
    outcomes = check(client, command_with(Path(sys.executable), client), where)
    return {
        case.value: outcome.detail or "works, and is stated as a limit"
        for case, outcome in outcomes.items()
        if not works(client, case, outcome)
    }


@pytest.mark.slow
@pytest.mark.parametrize("client", HERE, ids=lambda client: client.key)
def test_an_unchanged_client_works(client: Client, where: Servers) -> None:
    name = "cohere" if client.environment is COHERE_7 else "rerankers"
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed: pip install -e '.[clients]'")
    assert run(client, where) == {}


@pytest.mark.slow
@pytest.mark.parametrize("client", REPLAYED_BODIES, ids=lambda client: client.key)
def test_the_body_of_an_application_is_answered_as_it_reads_it(
    client: Client, where: Servers
) -> None:
    assert run(client, where) == {}


def test_the_page_has_every_client() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    rows = [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")]
    assert [row for row in rows if row not in ("client", "request", "---")] == [
        named(client)
        for kind in ("python", "node", None)
        for client in CLIENTS
        if kind == (client.environment.kind if client.package else None)
    ]


def test_every_client_is_a_function_of_a_script() -> None:
    for client in CLIENTS:
        kind = client.environment.kind
        script = SCRIPTS / kind / f"{client.script}{'.py' if kind == 'python' else '.mjs'}"
        text = script.read_text(encoding="utf-8")
        heads = (f"def {client.function}(", f"function {client.function}(")
        assert any(head in text for head in (*heads, f"const {client.function} =")), client.key
    assert len({client.key for client in CLIENTS}) == len(CLIENTS)
