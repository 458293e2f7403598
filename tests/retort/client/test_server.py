"""The clients against a real server, over the real graph of the tiny bundle."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import retort
from retort.client import DeadlinePassed, InvalidRequest, NotFound, TooLarge, Unauthorized
from retort.models.bundle import Bundle
from tests.retort.client.wire import KINDS, Blocking, Kind, connected
from tests.service.running import PATIENCE_SECONDS, ServerProcess, server
from tests.tiny_texts import PASSAGES, QUERIES

each_kind = pytest.mark.parametrize("kind", KINDS)
QUERY = QUERIES[0]
KEY = "a key"
# As much as the server takes in a request.
MOST_PASSAGES, MOST_PAIRS = 5, 12
# One of several windows, and one of none.
LONG = " ".join(PASSAGES * 6)
TEXTS = (*PASSAGES, LONG, *(f"Old {passage}" for passage in PASSAGES), "?")
# An id may be anything: it is not sent.
LIST = [{"id": ("p", number), "text": text} for number, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def ranker(tiny_bundle: Bundle) -> retort.Ranker:
    return retort.load(tiny_bundle.folder, backend="onnxruntime", precision="fp32", threads=1)


@pytest.fixture(scope="module")
def running(tiny_bundle: Bundle) -> Iterator[ServerProcess]:
    limits = (f"--max-passages={MOST_PASSAGES}", f"--max-pairs={MOST_PAIRS}")
    backend = ("--backend=onnxruntime", "--precision=fp32", "--threads=1")
    flags = ("--bundle", str(tiny_bundle.folder), *backend, *limits)
    with server(*flags, RETORT_API_KEY=KEY) as process:
        yield process


@pytest.fixture(params=KINDS)
def client(request: pytest.FixtureRequest, running: ServerProcess) -> Iterator[Blocking]:
    with connected(request.param, running.url, api_key=KEY, timeout=PATIENCE_SECONDS) as client:
        yield client


def same(results: list[retort.RankedPassage], expected: list[retort.RankedPassage]) -> None:
    """Assert that two rankings are the same, but for what float32 does in other batches."""
    assert [result.index for result in results] == [result.index for result in expected]
    for result, wanted in zip(results, expected, strict=True):
        for name in ("score", "spread"):
            assert getattr(result, name) == pytest.approx(getattr(wanted, name), abs=1e-6)
        for name in ("id", "window", "windows", "flags"):
            assert getattr(result, name) == getattr(wanted, name)
        mark, right = result.highlight, wanted.highlight
        assert (mark is None) == (right is None)
        if mark is not None and right is not None:
            assert (mark.start, mark.end) == (right.start, right.end)
            assert mark.score == pytest.approx(right.score, abs=1e-6)


def test_a_server_ranks_as_the_bundle_in_this_process(
    client: Blocking, ranker: retort.Ranker
) -> None:
    # Ten passages are two requests, of which one has more windows than a request may have.
    whole = client.rank(QUERY, LIST)
    same(whole, ranker.rank(QUERY, LIST))
    assert sum(result.windows > 1 for result in whole) == 1
    same(client.rank(QUERY, LIST, 3), ranker.rank(QUERY, LIST, 3))
    least = (whole[3].score + whole[4].score) / 2
    enough = client.rank(QUERY, LIST, min_score=least)
    assert len(enough) == 4
    same(enough, ranker.rank(QUERY, LIST, min_score=least))


def test_highlights_are_those_of_the_bundle(client: Blocking, ranker: retort.Ranker) -> None:
    # Without the long one, of which the sentences are more pairs than a request may have.
    passages = [passage for passage in LIST if passage["text"] != LONG]
    results = client.rank(QUERY, passages, highlight=True)
    same(results, ranker.rank(QUERY, passages, highlight=True))
    assert [result.index for result in results if result.highlight is None] == [8]


def test_pairs_have_the_scores_of_the_bundle(client: Blocking, ranker: retort.Ranker) -> None:
    pairs = [(query, passage) for passage in PASSAGES for query in QUERIES]
    assert client.score(pairs) == pytest.approx(ranker.score(pairs).tolist(), abs=1e-6)


def test_the_whole_answer(client: Blocking) -> None:
    answer = client.ask(QUERY, [*PASSAGES, "!"], 2)
    assert (answer.model, answer.version, answer.mode) == ("tiny", "0.0.1", "student")
    assert len(answer.results) == 2
    assert (answer.usage.passages, answer.usage.pairs) == (5, 4)
    assert answer.usage.tokens > 4
    assert len(answer.warnings) == 1
    assert answer.unscored == ()
    assert answer.timings_ms.total >= answer.timings_ms.infer > 0
    assert len(answer.request_ids) == 1


def test_what_the_server_says_of_itself(client: Blocking) -> None:
    info = client.info()
    assert (info.status, info.mode, info.modes) == ("ready", "student", ("student",))
    assert (info.limits.max_passages, info.limits.max_pairs) == (MOST_PASSAGES, MOST_PAIRS)
    (model,) = client.models()
    assert (model.name, model.version, model.role) == ("tiny", "0.0.1", "student")
    assert client.ready() is True


def test_errors_are_those_of_the_server(client: Blocking) -> None:
    with pytest.raises(NotFound) as unknown:
        client.rank(QUERY, PASSAGES, model="no-such-model")
    error = unknown.value
    assert (error.status, error.type, error.param) == (404, "model_not_found", "model")
    assert "tiny" in error.message
    with pytest.raises(InvalidRequest) as blank:
        client.rank("?", PASSAGES)
    assert (blank.value.type, blank.value.param) == ("invalid_request", "query")
    with pytest.raises(InvalidRequest) as nothing:
        client.ask(QUERY, [])
    assert nothing.value.param == "passages"
    # One passage of so many windows cannot be split by the client.
    with pytest.raises(TooLarge) as windows:
        client.rank(QUERY, [LONG * 9])
    assert (windows.value.status, windows.value.type) == (413, "too_large")


@each_kind
def test_a_wrong_key_is_refused(kind: Kind, running: ServerProcess) -> None:
    with connected(kind, running.url, api_key="another") as client:
        with pytest.raises(Unauthorized) as caught:
            client.rank(QUERY, PASSAGES)
        assert (caught.value.status, caught.value.type) == (401, "unauthorized")
        # That needs no key.
        assert client.ready() is True


def test_threads_share_a_client(running: ServerProcess) -> None:
    with retort.Client(running.url, KEY, timeout=PATIENCE_SECONDS) as client:
        alone = [client.rank(query, PASSAGES) for query in QUERIES]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda query: client.rank(query, PASSAGES), QUERIES * 5))
    for results, expected in zip(together, alone * 5, strict=True):
        same(results, expected)


@each_kind
def test_a_silent_server_is_waited_for_until_the_deadline(kind: Kind) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with connected(kind, url) as client:
            start = time.monotonic()
            with pytest.raises(DeadlinePassed):
                client.rank(QUERY, PASSAGES, timeout=0.5)
            assert 0.4 < time.monotonic() - start < 3
    with connected(kind, url, timeout=0.5) as client:
        assert client.ready() is False
