"""Parts of `retort chaos` in which requests are the trouble: too bad, too many, mutated."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httptools

from retort.loadtest.client import Connection
from retort.loadtest.experiments.chaos.setting import (
    PASSAGES,
    Found,
    Setting,
    memory_bytes,
    until_ready,
)
from retort.loadtest.load import OK, Answer, require_answers, run_step
from retort.loadtest.result import Cell, Column, Table
from retort.loadtest.rounds import percentile
from retort.loadtest.servers import HOST, Server

BODY_BYTES = 8 * 1024 * 1024 - 1024
MEGA = 1e6
POLL_S = 0.005
BODY_COLUMNS = (
    Column("body of 8 MB"), Column("answered", "count"),
    Column("longest `/livez` meanwhile, ms", "ms"), Column("memory, MB", "MB"),
)  # fmt: skip
OVERLOAD_COLUMNS = (
    Column("at ten times the capacity"), Column("share", "share"), Column("of"),
)  # fmt: skip
FUZZ_COLUMNS = (
    Column("mutated requests"), Column("sent", "count"), Column("5xx", "count"),
    Column("without an answer", "count"), Column("memory after warm-up", "share"),
)  # fmt: skip
TIMES_CAPACITY = 10.0
CAPACITY_S = 10.0
STEP_S = 30.0
# What the server's deadline leaves out: the way there and back, on cores that are all busy.
TRANSPORT_S = 0.05
PATHS = ("/score", "/rerank", "/v1/rerank", "/v2/rerank", "/v1/score")
WARM_SHARE = 0.2
FUZZERS = 8
ANSWER_S = 20.0
HALF_CHARACTERS = 0.1


def worst_bodies() -> dict[str, bytes]:
    """Bodies within the limit that cost the most to refuse, or to read."""

    def repeated(element: bytes) -> bytes:
        many = b",".join([element] * (BODY_BYTES // (len(element) + 1)))
        return b'{"query":"q","passages":[' + many + b"]}"

    return {
        "numbers for passages": repeated(b"1"),
        "short texts": repeated(b'"a"'),
        "empty texts": repeated(b'""'),
        "texts of one escaped quote": repeated(b'"\\""'),
        "objects": repeated(b'{"text":"a","id":1}'),
        "objects of unknown fields": repeated(b'{"text":"a","b":1}'),
        "lists in lists": b'{"query":"q","passages":' + b"[" * BODY_BYTES,
        "one long number": b'{"query":"q","passages":["a"],"top_n":' + b"9" * BODY_BYTES + b"}",
        "a query of escapes": b'{"query":"'
        + b"\\u00e9" * (BODY_BYTES // 6)
        + b'","passages":["a"]}',
        "no JSON": b'"' * BODY_BYTES,
        "half a character": repeated(b'"\\ud83d"'),
    }


async def bodies(setting: Setting) -> Found:
    """Send each, while somebody else asks whether the server lives."""
    rows: list[tuple[Cell, ...]] = []
    with setting.server() as server:
        await until_ready(server)
        for name, body in worst_bodies().items():
            setting.log(f"bodies: {name}")
            before = memory_bytes(server)
            with _watching(server) as (waits, sizes):
                await asyncio.sleep(0.2)
                status = await _post(server, "/score", body)
                await asyncio.sleep(0.2)
            grown = max(0, max(sizes) - before) / MEGA
            rows.append((name, status, max(waits) * 1e3, grown))
    note = (
        "Memory is the largest of all processes of the server during the request, over what it was "
        "before; the body itself is 8 MB of it."
    )
    return Found(Table("bodies", BODY_COLUMNS, tuple(rows)), (note,))


async def overload(setting: Setting) -> Found:
    """Ten times what a closed load shows to be the capacity, for minutes."""
    options = setting.options
    flags = ("--timeout-ms", str(options.timeout_ms))
    with setting.server(*flags) as server:
        await until_ready(server)
        requests = setting.requests()
        setting.log("overload: the capacity")
        capacities = []
        before = 0
        answers: list[Answer] = []
        seconds = 0.0
        closed = server.step(requests, seconds=CAPACITY_S, users=options.users)
        capacities.append(require_answers("the server", run_step(closed)).pairs_per_second)
        rate = TIMES_CAPACITY * capacities[0] / PASSAGES
        while seconds < options.overload_s:
            step_s = min(STEP_S, options.overload_s - seconds)
            setting.log(f"overload: {seconds:.0f} of {options.overload_s:.0f} s")
            step = server.step(requests, seconds=step_s, loop="open", rate=rate, seed=int(seconds))
            opened = run_step(step)
            answers += [answer for answer in opened.answers if 0 <= answer.done < opened.seconds]
            before = before or memory_bytes(server)
            seconds += step_s
            # What the machine can do changes, above all where others use it, too.
            again = run_step(closed)
            capacities.append(require_answers("the server", again).pairs_per_second)
        grown = memory_bytes(server) / before - 1
    limit = options.timeout_ms / 1e3 + TRANSPORT_S
    status = Counter(answer.status for answer in answers)
    well = [answer for answer in answers if answer.status == OK]
    in_time = [answer for answer in well if answer.done - answer.sent <= limit]
    accepted = len(well) + status[504]
    capacity = sum(capacities) / len(capacities)
    rows: tuple[tuple[Cell, ...], ...] = (
        (
            "answers in time",
            sum(answer.pairs for answer in in_time) / seconds / capacity,
            f"the capacity, {capacity:,.0f} pairs/s",
        ),
        (
            "accepted but late",
            (accepted - len(in_time)) / max(1, accepted),
            f"{accepted:,} accepted",
        ),
        ("refused with 429", status[429] / len(answers), f"{len(answers):,} requests"),
        ("growth of memory", grown, "what it was after the first half minute"),
    )
    others = ", ".join(f"{s}: {n:,}" for s, n in sorted(status.items()) if s not in (OK, 429, 504))
    took = [answer.done - answer.sent for answer in well]
    p50, p99 = (percentile(took, share) * 1e3 for share in (0.5, 0.99))
    note = (
        f"{options.overload_s:.0f} s with a deadline of {options.timeout_ms} ms, {PASSAGES} "
        "passages per request; a closed load finds the capacity before and after each half minute. "
        f"p50 {p50:.0f} ms and p99 {p99:.0f} ms of what was scored; other answers: "
        f"{others or 'none'}."
    )
    return Found(Table("overload", OVERLOAD_COLUMNS, rows), (note,))


async def fuzz(setting: Setting) -> Found:
    """Mutated bodies to every scoring route."""
    count = setting.options.fuzzed
    status: Counter[int] = Counter()
    with setting.server("--timeout-ms", "5000") as server:
        await until_ready(server)
        warm = round(count * WARM_SHARE)
        await _fuzz(server, range(warm), status)
        before = memory_bytes(server)
        done = warm
        while done < count:
            setting.log(f"fuzz: {done:,} of {count:,}")
            upto = min(count, done + max(1_000, count // 10))
            await _fuzz(server, range(done, upto), status)
            done = upto
        grown = memory_bytes(server) / before - 1
        await until_ready(server)
    errors = sum(n for code, n in status.items() if code >= 500 and code != 504)
    row = ("to the five scoring routes", count, errors, status[0], grown)
    told = ", ".join(f"{code}: {n:,}" for code, n in sorted(status.items()))
    note = (
        f"By status {told}. A 504 is what a mutated `timeout_ms` asks for. Memory is that of all "
        f"processes after the last request over that after {WARM_SHARE:.0%} of them."
    )
    return Found(Table("fuzz", FUZZ_COLUMNS, (row,)), (note,))


def mutated(chance: random.Random) -> tuple[str, bytes]:
    """A path and a body that was right before it was changed in a few places."""
    path = chance.choice(PATHS)
    body = json.dumps(_right(path, chance)).encode()
    for _ in range(chance.randrange(1, 4)):
        body = chance.choice((_flip, _cut, _repeat, _swap))(body, chance)
    return path, body


def _right(path: str, chance: random.Random) -> dict[str, object]:
    texts = [chance.choice(("a", "", "the tower", "é", "x" * 300)) for _ in range(3)]
    if chance.random() < HALF_CHARACTERS:
        texts[0] = "\ud83d"
    ids: tuple[object, ...] = (1, "b", None, 2**70, -(2**65), 1.5, [], True)
    own = {"id": chance.choice(ids)} if path == "/score" else {}
    some: list[object] = [*texts, *({**own, "text": text} for text in texts)]
    extras: tuple[dict[str, object], ...] = (
        {},
        {"top_n": chance.choice((0, -1, 10**30, 2.5, "3"))},
        {"model": "m"},
        {"mode": "teacher"},
        {"timeout_ms": chance.choice((1, 0, 10**20))},
        {"raw_scores": None},
    )
    extra = chance.choice(extras)
    if path == "/v1/score":
        return {"text_1": chance.choice(("q", ["q"] * 3)), "text_2": texts, **extra}
    name = {"/score": "passages", "/rerank": chance.choice(("texts", "documents"))}
    return {"query": "how tall", name.get(path, "documents"): some, **extra}


def _flip(body: bytes, chance: random.Random) -> bytes:
    changed = bytearray(body)
    changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def _cut(body: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(body))
    return (body[:start] + body[start + chance.randrange(1, 9) :]) or b"{"


def _repeat(body: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(body))
    piece = body[start : start + chance.randrange(1, 20)]
    return body[:start] + piece * chance.choice((2, 2, 50)) + body[start:]


def _swap(body: bytes, chance: random.Random) -> bytes:
    old = chance.choice((b"null", b'"', b"[", b"3", b"true", b":"))
    return body.replace(old, chance.choice((b"{", b"1e999", b"NaN", b"\\ud800", b'"a"', b"[]")), 1)


async def _fuzz(server: Server, numbers: range, status: Counter[int]) -> None:
    turns = iter(numbers)

    async def fuzzer() -> None:
        connection: Connection | None = None
        for number in turns:
            path, body = mutated(random.Random(number))
            try:
                async with asyncio.timeout(ANSWER_S):
                    if connection is None:
                        connection = await _connect(server)
                    response = await connection.post(_request(path, body))
                status[response.parser.get_status_code()] += 1
                kept = response.keep_alive
            except (OSError, TimeoutError, httptools.HttpParserError):
                status[0] += 1
                kept = False
            if not kept and connection is not None:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    await asyncio.gather(*(fuzzer() for _ in range(FUZZERS)))


async def _post(server: Server, path: str, body: bytes) -> int:
    connection = await _connect(server)
    try:
        async with asyncio.timeout(120):
            response = await connection.post(_request(path, body))
        return int(response.parser.get_status_code())
    except (OSError, httptools.HttpParserError):
        return 0
    finally:
        connection.close()


async def _connect(server: Server) -> Connection:
    return Connection(*await asyncio.open_connection(HOST, server.port))


def _request(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@contextmanager
def _watching(server: Server) -> Iterator[tuple[list[float], list[int]]]:
    """How long `/livez` takes and how much memory the server holds, again and again."""
    waits: list[float] = []
    sizes: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(POLL_S):
            start = time.perf_counter()
            server.get("/livez")
            waits.append(time.perf_counter() - start)
            sizes.append(memory_bytes(server))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield waits, sizes
    finally:
        over.set()
        thread.join()
