"""The page about clients, written from what came of every case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from retort.markdown import table
from tests.clients.checking import Outcome
from tests.clients.client import ERRORS, RANKINGS, Case, Client

Results = Mapping[Client, Mapping[Case, Outcome]]

HEAD = """\
# Clients

Each row is a real client, unchanged, run against the server; `make clients` runs them again and
writes this page. "Ranks" says whether it gave the order and the scores of `POST /score`: with all
documents, with `top_n` and with an API key. The next columns name what it raised, with the server's
message in it; "no" means that the message was lost.

The second column is what to set to the server's URL and what to add to it: `api_base` = URL + `/v1`
is `http://localhost:8080/v1`. The model is one that is served, or an alias (`--alias`).
"""
REPLAYED = """\
These applications were not run: their request is sent as they send it, and the answer read as they
read it.
"""
HEADER = [
    "client",
    "set",
    "ranks",
    *(case.value for case in ERRORS),
    "what does not work, and notes",
]


def works(client: Client, case: Case, outcome: Outcome) -> bool:
    """Whether a case came out as it is stated: it worked, or it is a limit and did not."""
    return outcome.ok is (case not in client.limits)


def page(results: Results) -> str:
    """The whole page."""
    kinds = {"Python": _of(results, "python"), "JavaScript": _of(results, "node")}
    parts = [HEAD]
    for title, chosen in kinds.items():
        parts.append(f"## {title}\n\n{_table(HEADER, [_row(c, results[c]) for c in chosen])}")
    bodies = [client for client in results if client.package is None]
    rows = [[named(client), _ranks(client, results[client]), _notes(client, results[client])]
            for client in bodies]  # fmt: skip
    parts.append(f"## Bodies\n\n{REPLAYED}\n{_table(['request', 'ranks', 'notes'], rows)}")
    return "\n".join(part for part in parts if part)


def _of(results: Results, kind: str) -> list[Client]:
    return [c for c in results if c.package is not None and c.environment.kind == kind]


def _table(header: Sequence[str], rows: list[list[str]]) -> str:
    return "\n".join(table(header, rows)) + "\n" if rows else "None was run.\n"


def _row(client: Client, outcomes: Mapping[Case, Outcome]) -> list[str]:
    errors = [_raised(client, case, outcomes) for case in ERRORS]
    setting = f"`{client.setting}` = URL" if client.setting.isidentifier() else client.setting
    if client.path:
        setting += f" + `{client.path}`"
    return [named(client), setting, _ranks(client, outcomes), *errors, _notes(client, outcomes)]


def named(client: Client) -> str:
    """What the first column calls a client."""
    if client.package is None:
        return client.name
    return f"{client.name}, {version(client)}"


def version(client: Client) -> str:
    """A client's package and version.

    >>> from tests.clients.configurations import NODE_CLIENTS
    >>> version(NODE_CLIENTS[0])
    'cohere-ai 8.1.0'
    """
    assert client.package is not None
    name = client.package.partition("==")[0]
    for requirement in client.environment.requirements:
        found, sign, number = requirement.replace("[api]", "").replace("==", "@").rpartition("@")
        if sign and found == name:
            return f"{name} {number}"
    raise AssertionError(f"{client.environment.name} has no {name}")


def _ranks(client: Client, outcomes: Mapping[Case, Outcome]) -> str:
    tried = [case for case in RANKINGS if case not in client.without]
    failed = [case.value for case in tried if not outcomes[case].ok]
    if not failed:
        return "yes"
    return "no" if len(failed) == len(tried) else f"not with {' and '.join(failed)}"


def _raised(client: Client, case: Case, outcomes: Mapping[Case, Outcome]) -> str:
    if case in client.without:
        return ""
    outcome = outcomes[case]
    return f"`{outcome.raised.rpartition('.')[2]}`" if outcome.ok else "no"


def _notes(client: Client, outcomes: Mapping[Case, Outcome]) -> str:
    reasons = list(dict.fromkeys(client.limits.values()))
    reasons += [
        f"**{case.value}**: {outcome.detail}"
        for case, outcome in outcomes.items()
        if not works(client, case, outcome)
    ]
    return "; ".join([*reasons, *([client.note] if client.note else [])])
