from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from retort.models.bundle import Bundle
from retort.service.errors import OverBudget
from retort.service.http.access.budgets import MOST_KEYS, Budgets
from retort.service.http.access.keys import Key, new_key
from retort.service.service import Service
from retort.service.settings import Settings
from tests.service.running import ROOT, ask

# Takes what it can of a budget, in a process of its own.
TAKE = """
import sys
from pathlib import Path
from retort.service.errors import OverBudget
from retort.service.http.access.budgets import MOST_KEYS, Budgets
from retort.service.http.access.keys import Key
budgets = Budgets(Path(sys.argv[1]), int(sys.argv[2]))
key = Key(name="search", sha256="0" * 64, requests_per_second=50)
taken = 0
for _ in range(200):
    try:
        budgets.enter(key)
    except OverBudget:
        continue
    taken += 1
print(taken)
"""


def key(**limits: float) -> Key:
    return Key.model_validate({"name": "search", "sha256": "0" * 64, **limits})


def test_a_bucket_holds_one_second_and_fills_again() -> None:
    budgets, search = Budgets(), key(requests_per_second=20)
    for _ in range(20):
        budgets.enter(search)
    with pytest.raises(OverBudget, match="20 requests per second") as caught:
        budgets.enter(search)
    assert caught.value.retry_after == 1
    time.sleep(0.06)
    budgets.enter(search)


def test_slow_rates_let_one_in_at_a_time() -> None:
    budgets, search = Budgets(), key(requests_per_second=0.1)
    budgets.enter(search)
    with pytest.raises(OverBudget) as caught:
        budgets.enter(search)
    assert caught.value.retry_after == 10


def test_requests_that_run_are_counted_until_they_end() -> None:
    budgets, search = Budgets(), key(concurrent_requests=2)
    budgets.enter(search)
    budgets.enter(search)
    with pytest.raises(OverBudget, match="2 requests"):
        budgets.enter(search)
    budgets.leave(search, 0)
    budgets.enter(search)


def test_tokens_are_paid_afterwards() -> None:
    budgets, search = Budgets(), key(tokens_per_minute=600)
    budgets.enter(search)
    budgets.leave(search, 650)
    with pytest.raises(OverBudget, match="600 tokens per minute") as caught:
        budgets.enter(search)
    assert caught.value.retry_after in (5, 6)


def test_a_refusal_costs_no_other_budget() -> None:
    budgets, search = Budgets(), key(requests_per_second=2, concurrent_requests=1)
    budgets.enter(search)
    for _ in range(5):
        with pytest.raises(OverBudget, match="running"):
            budgets.enter(search)
    budgets.leave(search, 0)
    budgets.enter(search)


def test_processes_share_a_budget(tmp_path: Path) -> None:
    start = time.monotonic()
    running = [
        subprocess.Popen(
            [sys.executable, "-c", TAKE, str(tmp_path), str(place)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for place in range(2)
    ]
    taken = [int(process.communicate(timeout=60)[0]) for process in running]
    # A full bucket, and what has come since.
    assert 50 <= sum(taken) <= 50 + 50 * (time.monotonic() - start)


def test_a_successor_gives_back_what_was_running(tmp_path: Path) -> None:
    search = key(concurrent_requests=1)
    Budgets(tmp_path, 0).enter(search)
    other = Budgets(tmp_path, 1)
    with pytest.raises(OverBudget):
        other.enter(search)
    Budgets(tmp_path, 0)
    other.enter(search)


def test_keys_beyond_the_table_share_its_last_place() -> None:
    budgets = Budgets()
    many = [
        Key(name=f"k{number}", sha256="a" * 64, concurrent_requests=1)
        for number in range(MOST_KEYS + 2)
    ]
    for one in many[:-2]:
        budgets.enter(one)
    with pytest.raises(OverBudget):
        budgets.enter(many[-1])
    budgets.leave(many[MOST_KEYS - 1], 0)
    budgets.enter(many[-1])


def test_a_refused_request_says_which_budget_and_when(fake_bundle: Bundle, tmp_path: Path) -> None:
    secret, entry = new_key("search")
    file = tmp_path / "keys.yaml"
    file.write_text(f"{entry}\n  tokens_per_minute: 5\n")

    async def test(client: httpx.AsyncClient, _: Service) -> None:
        headers = {"X-API-Key": secret}
        body = {"query": "how tall is the eiffel tower", "documents": ["paris", "the tower"]}
        replies = [await client.post("/v2/rerank", json=body, headers=headers) for _ in range(2)]
        assert [reply.status_code for reply in replies] == [200, 429]
        refused = replies[1]
        tokens = replies[0].json()["usage"]["total_tokens"]
        assert int(refused.headers["Retry-After"]) == pytest.approx((tokens - 4) * 12, abs=2)
        assert "search" in refused.json()["message"]
        assert "tokens per minute" in refused.json()["message"]
        # Health is asked without end, and costs nothing.
        assert (await client.get("/readyz", headers=headers)).status_code == 200
        text = (await client.get("/metrics")).text
        assert 'retort_rejected_total{reason="over_budget"} 1.0' in text

    ask(fake_bundle, test, settings=Settings(keys_file=file))
