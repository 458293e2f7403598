"""What a client gave or raised is judged as it deserves, by a process that says what it is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.clients.checking import Conversation, judge_error, judge_ranking
from tests.clients.client import Client
from tests.clients.configurations import CLIENTS, COHERE_CLIENTS
from tests.clients.page import page
from tests.clients.python.drive import Request

TRUTH = [(1, 0.8), (0, 0.5), (2, 0.2)]
CLIENT = COHERE_CLIENTS[0]
REQUEST = Request("http://127.0.0.1:1", "key", "model", "query", ["a", "b"], 1)


def scaled(scores: str) -> Client:
    """The first client whose scores are of that kind."""
    return next(client for client in CLIENTS if client.scores == scores)


def test_the_same_order_and_scores_are_right() -> None:
    assert judge_ranking(CLIENT, {"ranked": [[1, 0.8001], [0, 0.5], [2, 0.2]]}, TRUTH).ok
    odds = [[1, 1.3863], [0, 0.0], [2, -1.3863]]
    assert judge_ranking(scaled("log-odds"), {"ranked": odds}, TRUTH).ok
    stretched = [[1, 1.0], [0, 0.5], [2, 0.0]]
    assert judge_ranking(scaled("stretched"), {"ranked": stretched}, TRUTH).ok


@pytest.mark.parametrize(
    "ranked",
    [
        [[0, 0.8], [1, 0.5], [2, 0.2]],  # another order
        [[1, 0.8], [0, 0.51], [2, 0.2]],  # another score
        [[1, 0.8], [0, 0.5]],  # one is missing
        [],
    ],
)
def test_anything_else_is_wrong(ranked: list[list[float]]) -> None:
    assert not judge_ranking(CLIENT, {"ranked": ranked}, TRUTH).ok


@pytest.mark.parametrize(
    ("error", "message", "right"),
    [
        ("cohere.core.api_error.ApiError", "413: more than 50 documents", True),
        ("cohere.core.api_error.ApiError", "413", False),
        ("builtins.KeyError", "more than 50", False),
    ],
)
def test_an_error_is_of_the_client_and_has_our_message(
    error: str, message: str, right: bool
) -> None:
    answer = {"error": error, "message": message}
    assert judge_error(CLIENT, answer, "more than 50").ok is right


def test_no_error_is_wrong_where_there_should_be_one() -> None:
    assert not judge_error(CLIENT, {"ranked": []}, "more than 50").ok


def test_a_client_is_asked_again_in_the_same_process(tmp_path: Path) -> None:
    script = tmp_path / "client.py"
    script.write_text("import os\nwhile line := input(): print('[%s, %d]' % (line, os.getpid()))")
    with Conversation([sys.executable, "-u", str(script)]) as conversation:
        first, second = (json.loads(json.dumps(conversation.ask(REQUEST))) for _ in range(2))
    assert first == second
    assert first[0] == REQUEST._asdict()


def test_a_client_that_ends_has_no_answer_but_last_words() -> None:
    dying = [sys.executable, "-c", "raise SystemExit('cannot go on')"]
    with Conversation(dying) as conversation:
        answer = conversation.ask(REQUEST)
    assert answer["error"] == "no answer"
    assert "cannot go on" in answer["message"]


def test_a_page_of_nothing_says_so() -> None:
    assert page({}).count("None was run.") == 3
