"""Runs real clients against real servers and writes docs/clients.md.

    python -m tests.clients.run                    all of them, and the page
    python -m tests.clients.run litellm node       those whose key has one of these in it, no page

Ends with 1 if anything does not come out as tests/clients/configurations.py states it.
"""

from __future__ import annotations

import sys

from tests.clients.checking import Outcome, check, servers
from tests.clients.client import Case, Client
from tests.clients.configurations import CLIENTS
from tests.clients.environments import ROOT, command
from tests.clients.page import page, works

PAGE = ROOT / "docs" / "clients.md"


def main(words: list[str]) -> int:
    """Run the clients that `words` choose; the exit status."""
    chosen = [c for c in CLIENTS if not words or any(word in c.key for word in words)]
    commands = [(client, command(client)) for client in chosen]
    results: dict[Client, dict[Case, Outcome]] = {}
    surprises = 0
    with servers() as where:
        for client, line in commands:
            results[client] = check(client, line, where)
            surprises += _told(client, results[client])
    if not words:
        PAGE.write_text(page(results), encoding="utf-8")
    print(f"{len(chosen)} clients, {surprises} cases that are not as stated")
    return 1 if surprises else 0


def _told(client: Client, outcomes: dict[Case, Outcome]) -> int:
    """Print what is not as stated; how much that is."""
    wrong = {case: o for case, o in outcomes.items() if not works(client, case, o)}
    print(f"{client.key} ({client.name}): {'not as stated' if wrong else 'as stated'}", flush=True)
    for case, outcome in wrong.items():
        print(f"    {case.value}: {outcome.detail or 'works, and is stated as a limit'}")
    return len(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
