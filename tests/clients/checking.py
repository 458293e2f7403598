"""Puts a client to work on real servers and judges what it gave or raised."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.clients.client import ERRORS, RANKINGS, Case, Client
from tests.clients.python.drive import Ranked, Request
from tests.service.running import PATIENCE_SECONDS, server

KEY = "the-right-key"
MODEL = "retort-small"
QUERY = "how tall is the eiffel tower"
DOCUMENTS = [
    "Paris is the capital of France.",
    "The tower is 330 metres tall.",
    "Bananas are yellow when they are ripe.",
    "The Eiffel Tower was built in 1889.",
    "At the top it is colder than at the bottom.",
]
TOP_N = 2
MAX_PASSAGES = 50
CLOSE = 0.002
# Between two large requests the server is free for a moment, in which a small one gets through.
ATTEMPTS = 4
# A client that has not answered after that, its own retries included, will not.
SILENCE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one case; `raised` is the class of the client's error."""

    ok: bool
    detail: str = ""
    raised: str = ""


@dataclass(frozen=True, slots=True)
class Servers:
    """URLs: of an open server, with few passages and a short queue, and of one with a key."""

    open: str
    keyed: str


@contextmanager
def servers() -> Iterator[Servers]:
    """Both servers, running."""
    limits = ("--max-passages", str(MAX_PASSAGES), "--queue-tokens", "1000")
    with ExitStack() as stack:
        is_open = stack.enter_context(server("--bundle", MODEL, *limits))
        keyed = stack.enter_context(server("--bundle", MODEL, RETORT_API_KEY=KEY))
        # A server that logs into a pipe that nobody reads stands still when it is full.
        for running in (is_open, keyed):
            assert running.process.stderr is not None
            threading.Thread(target=running.process.stderr.read, daemon=True).start()
        yield Servers(is_open.url, keyed.url)


class Conversation:
    """A client in a process of its own, asked one request after the other."""

    def __init__(self, command: list[str]) -> None:
        self._home = tempfile.TemporaryDirectory()
        self._log = Path(self._home.name) / "log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command,
                env=_surroundings(self._home.name),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def ask(self, request: Request) -> dict[str, Any]:
        """The client's answer, or what it wrote last if it ended or was silent for too long."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        timer = threading.Timer(SILENCE_SECONDS, self._process.kill)
        timer.start()
        try:
            self._process.stdin.write(f"{json.dumps(request._asdict())}\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        return {"error": "no answer", "message": self._log.read_text()[-500:]}

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._home.cleanup()


def check(client: Client, command: list[str], where: Servers) -> dict[Case, Outcome]:
    """Every case that exists for a client."""
    cases = [case for case in (*RANKINGS, *ERRORS) if case not in client.without]
    with Conversation(command) as conversation:
        return {case: _case(client, case, conversation, where) for case in cases}


def _case(client: Client, case: Case, conversation: Conversation, where: Servers) -> Outcome:
    keyed = case in (Case.KEY, Case.WRONG_KEY)
    request = Request(
        url=f"{where.keyed if keyed else where.open}{client.path}",
        key="a-wrong-key" if case is Case.WRONG_KEY else KEY,
        model="no-such-model" if case is Case.UNKNOWN_MODEL else MODEL,
        query=QUERY,
        documents=DOCUMENTS * (MAX_PASSAGES if case is Case.TOO_MANY else 1),
        top_n=TOP_N if case is Case.TOP_N else None,
    )
    if case in RANKINGS:
        return judge_ranking(client, conversation.ask(request), _truth(where, request.top_n))
    if case is not Case.OVERLOAD:
        return judge_error(client, conversation.ask(request), ERRORS[case])
    with flood(where.open):
        for _ in range(ATTEMPTS):
            answer = conversation.ask(request)
            if "error" in answer:
                break
    return judge_error(client, answer, ERRORS[case])


def _truth(where: Servers, top_n: int | None) -> Ranked:
    body = {"query": QUERY, "passages": DOCUMENTS, "top_n": top_n or len(DOCUMENTS)}
    answer = httpx.post(f"{where.open}/score", json=body, timeout=PATIENCE_SECONDS)
    results = answer.raise_for_status().json()["results"]
    return [(result["index"], result["score"]) for result in results]


def judge_ranking(client: Client, answer: dict[str, Any], truth: Ranked) -> Outcome:
    """Whether the order and the scores are those of `truth`, in the client's own scale."""
    if "error" in answer:
        return Outcome(False, _first_line(answer), _name(answer))
    ranked = answer["ranked"]
    expected = _SCALES[client.scores](truth)
    if [index for index, _ in ranked] != [index for index, _ in expected]:
        return Outcome(False, f"another order: {ranked}, expected {expected}")
    apart = max(abs(a[1] - b[1]) for a, b in zip(ranked, expected, strict=True))
    if apart > CLOSE:
        return Outcome(False, f"scores differ by {apart:.3f}: {ranked}, expected {expected}")
    return Outcome(True)


def _stretched(ranked: Ranked) -> Ranked:
    scores = [score for _, score in ranked]
    low, high = min(scores), max(scores)
    return [(index, (score - low) / (high - low)) for index, score in ranked]


def _log_odds(ranked: Ranked) -> Ranked:
    return [(index, math.log(score / (1 - score))) for index, score in ranked]


_SCALES: dict[str, Callable[[Ranked], Ranked]] = {
    "probabilities": list,
    "log-odds": _log_odds,
    "stretched": _stretched,
}


def judge_error(client: Client, answer: dict[str, Any], says: str) -> Outcome:
    """Whether the client raised an error of its own, with what the server `says` in it."""
    if "error" not in answer:
        return Outcome(False, f"no error, but {answer['ranked']}")
    name = _name(answer)
    if not re.fullmatch(client.raises, name):
        return Outcome(False, f"`{name}`: {_first_line(answer)}", name)
    if not re.search(says, answer["message"]):
        return Outcome(False, f"`{name}` without the server's message: {_first_line(answer)}", name)
    return Outcome(True, raised=name)


def _name(answer: dict[str, Any]) -> str:
    return str(answer["error"]).removeprefix("builtins.")


def _first_line(answer: dict[str, Any]) -> str:
    return " ".join(str(answer["message"]).split())[:300]


@contextmanager
def flood(url: str) -> Iterator[None]:
    """A server whose queue is full, but for moments between large requests."""
    sentence = "The tower stands in a city of some size, where many people live and work. "
    body = {"query": QUERY, "passages": [sentence * 30] * MAX_PASSAGES, "timeout_ms": 60_000}
    stop = threading.Event()

    def post() -> None:
        with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS) as session:
            while not stop.is_set():
                if session.post("/score", json=body).status_code == 429:
                    time.sleep(0.01)

    threads = [threading.Thread(target=post) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        small = {"query": QUERY, "passages": DOCUMENTS}
        end = time.monotonic() + PATIENCE_SECONDS
        while httpx.post(f"{url}/score", json=small, timeout=PATIENCE_SECONDS).status_code != 429:
            assert time.monotonic() < end, "the server takes all there is"
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _surroundings(home: str) -> dict[str, str]:
    """Nothing of this process's environment, no telemetry, and no way out of this machine."""
    nowhere = "http://127.0.0.1:9"
    return {
        "PATH": os.environ["PATH"],
        "HOME": home,
        "HTTP_PROXY": nowhere,
        "HTTPS_PROXY": nowhere,
        "NO_PROXY": "127.0.0.1",
        "http_proxy": nowhere,
        "https_proxy": nowhere,
        "no_proxy": "127.0.0.1",
        "DO_NOT_TRACK": "1",
        "HAYSTACK_TELEMETRY_ENABLED": "False",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
