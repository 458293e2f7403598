"""Where a request's time goes."""

from __future__ import annotations

import pytest

from retort.loadtest.counters import Counters
from retort.loadtest.limits.breakdown import Breakdown, Shares
from retort.loadtest.step import Answer, Taken

COUNTED = Counters(
    1, 10, 100,
    {"tokenize": (10, 0.01), "queue": (10, 0.02), "infer": (10, 0.1), "total": (10, 0.14)},
)  # fmt: skip
TAKEN = Taken("closed", 1.0, (Answer(0, 0, 0.01, 200, 1), Answer(0, 0, 0.03, 200, 1)), 0.1)


def test_the_parts_add_up_to_what_the_client_sees() -> None:
    shares = Shares.of("1 client", COUNTED, TAKEN)
    assert shares.seen == pytest.approx(0.02)
    assert dict(shares.parts) == pytest.approx(
        {
            "tokenizing": 0.001,
            "waiting for the first batch": 0.002,
            "from the first batch to the last score": 0.01,
            "parsing, waking up, answering": 0.001,
            "HTTP and the client": 0.006,
        }
    )
    assert sum(seconds for _, seconds in shares.parts) == pytest.approx(shares.seen)


def test_the_table_has_two_columns_for_each_load() -> None:
    shares = Shares.of("1 client", COUNTED, TAKEN)
    table = Breakdown((shares, shares), "made up").finding().table
    assert {len(line) for line in table} == {5}
    assert table[1] == ("tokenizing", "1.00", "5.0%", "1.00", "5.0%")
    assert table[-1][1] == "20.00"


def test_a_load_without_answers_is_an_error() -> None:
    with pytest.raises(ValueError, match="no request was answered"):
        Shares.of("1 client", COUNTED, Taken("closed", 1.0, (), 0.1))
