"""Budgets: what the requests of a key may use, kept by all front ends of a server together.

Requests per second and tokens per minute are buckets that fill at their rate: the first holds one
second's worth, the second one minute's. What a request costs in tokens is known when it has been
scored, so that bucket may go below zero, and the next request waits until it is filled again.

The buckets lie in shared memory, under a lock that is held for some microseconds. A front end that
dies gives back the lock, and its successor the requests that were running.
"""

from __future__ import annotations

import fcntl
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from retort.service.errors import OverBudget
from retort.service.http.access.keys import Key

# Keys that can have budgets, and front ends that share them.
MOST_KEYS, MOST_FRONT_ENDS = 1_024, 64

_SLOT = np.dtype(
    [
        ("name", "S64"),
        ("requests", "f8"),  # what is left in the bucket, and when that was so
        ("requests_at", "f8"),
        ("tokens", "f8"),
        ("tokens_at", "f8"),
        ("running", "i4", (MOST_FRONT_ENDS,)),
    ]
)


class Budgets:
    """The budgets of all keys.

    `folder` is shared by front ends, of which this is number `place`; None: there is only this one.
    """

    def __init__(self, folder: Path | None = None, place: int = 0) -> None:
        self._place = place
        self._slots: dict[str, int] = {}
        self._lock: int | None = None
        if folder is None:
            self._table = np.zeros(MOST_KEYS, _SLOT)
        else:
            path = folder / "budgets"
            # Never closed: the lock is for as long as the process lives.
            self._lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            with self._locked():
                if path.stat().st_size == 0:
                    path.write_bytes(bytes(MOST_KEYS * _SLOT.itemsize))
            self._table = np.memmap(path, _SLOT, "r+", shape=(MOST_KEYS,))
        # What a predecessor has left running ended with it.
        self._table["running"][:, place] = 0

    def enter(self, key: Key) -> None:
        """Begin a request of `key`. Raises `OverBudget`, which says of what and for how long."""
        if not key.limited:
            return
        with self._locked():
            slot, now = self._slot(key), time.monotonic()
            most = key.concurrent_requests
            if most is not None and slot["running"].sum() >= most:
                raise OverBudget(f"key {key.name}: {most} requests are running already", 1.0)
            per_minute = key.tokens_per_minute
            if per_minute is not None:
                missing = -_fill(slot, "tokens", per_minute / 60, per_minute, now)
                if missing >= 0:
                    raise OverBudget(
                        f"key {key.name}: its {per_minute:g} tokens per minute are used up",
                        (missing + 1) / (per_minute / 60),
                    )
            rate = key.requests_per_second
            if rate is not None:
                left = _fill(slot, "requests", rate, max(1.0, rate), now)
                if left < 1:
                    raise OverBudget(
                        f"key {key.name}: more than {rate:g} requests per second", (1 - left) / rate
                    )
                slot["requests"] -= 1
            slot["running"][self._place] += 1

    def leave(self, key: Key, tokens: int) -> None:
        """End a request that was let in, and that had this many tokens scored."""
        if not key.limited:
            return
        with self._locked():
            slot = self._slot(key)
            slot["running"][self._place] -= 1
            slot["tokens"] -= tokens

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._lock is None:
            yield
            return
        fcntl.lockf(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._lock, fcntl.LOCK_UN)

    def _slot(self, key: Key) -> np.void:
        """The key's slot, found by its name, or a free one: the same in every front end."""
        index = self._slots.get(key.name)
        names = self._table["name"]
        if index is None or names[index] != key.name.encode():
            found = np.flatnonzero((names == key.name.encode()) | (names == b""))
            index = self._slots[key.name] = int(found[0]) if len(found) else MOST_KEYS - 1
            if names[index] != key.name.encode():
                now = time.monotonic()
                self._table[index] = (key.name.encode(), math.inf, now, math.inf, now, 0)
        slot: np.void = self._table[index]
        return slot


def _fill(slot: np.void, name: str, rate: float, most: float, now: float) -> float:
    """Fill a bucket up to now, to no more than `most`; what is in it."""
    level = min(most, float(slot[name]) + (now - float(slot[f"{name}_at"])) * rate)
    slot[name], slot[f"{name}_at"] = level, now
    return level
