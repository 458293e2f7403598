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
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retort.service.errors import OverBudget
from retort.service.http.access.keys import Key

# Keys that can have budgets, and front ends that share them.
MOST_KEYS, MOST_FRONT_ENDS = 1_024, 64
NAME_BYTES = 64
# What a slot holds, in float64: what is left in each bucket and when that was so, then how many
# requests run in each front end.
REQUESTS, REQUESTS_AT, TOKENS, TOKENS_AT, RUNNING = range(5)
SLOT = RUNNING + MOST_FRONT_ENDS
_NUMBERS_AT = MOST_KEYS * NAME_BYTES
_SIZE = _NUMBERS_AT + MOST_KEYS * SLOT * 8


class Budgets:
    """The budgets of all keys.

    `folder` is shared by front ends, of which this is number `place`; None: there is only this one.
    """

    def __init__(self, folder: Path | None = None, place: int = 0) -> None:
        self._place = place
        self._slots: dict[str, int] = {}
        self._lock: int | None = None
        memory: mmap.mmap | bytearray
        if folder is None:
            memory = bytearray(_SIZE)
        else:
            # Never closed: the lock is for as long as the process lives.
            self._lock = os.open(folder / "budgets", os.O_RDWR | os.O_CREAT, 0o600)
            with self._locked():
                if os.fstat(self._lock).st_size == 0:
                    # Written, not only made longer: a page refused later is fatal.
                    os.write(self._lock, bytes(_SIZE))
            memory = mmap.mmap(self._lock, _SIZE)
        self._names = memoryview(memory)[:_NUMBERS_AT]
        self._numbers = memoryview(memory)[_NUMBERS_AT:].cast("d")
        # What a predecessor has left running ended with it.
        for start in range(0, MOST_KEYS * SLOT, SLOT):
            self._numbers[start + RUNNING + place] = 0.0

    def enter(self, key: Key) -> None:
        """Begin a request of `key`. Raises `OverBudget`, which says of what and for how long."""
        if not key.limited:
            return
        numbers = self._numbers
        with self._locked():
            slot, now = self._slot(key.name), time.monotonic()
            running = slot + RUNNING
            most = key.concurrent_requests
            if most is not None and sum(numbers[running : slot + SLOT]) >= most:
                raise OverBudget(f"key {key.name}: {most} requests are running already", 1.0)
            per_minute = key.tokens_per_minute
            if per_minute is not None:
                left = self._fill(slot + TOKENS, per_minute / 60, per_minute, now)
                if left <= 0:
                    raise OverBudget(
                        f"key {key.name}: its {per_minute:g} tokens per minute are used up",
                        (1 - left) / (per_minute / 60),
                    )
            rate = key.requests_per_second
            if rate is not None:
                left = self._fill(slot + REQUESTS, rate, max(1.0, rate), now)
                if left < 1:
                    raise OverBudget(
                        f"key {key.name}: more than {rate:g} requests per second", (1 - left) / rate
                    )
                numbers[slot + REQUESTS] -= 1
            numbers[running + self._place] += 1

    def leave(self, key: Key, tokens: int) -> None:
        """End a request that was let in, and that had this many tokens scored."""
        if not key.limited:
            return
        with self._locked():
            slot = self._slot(key.name)
            self._numbers[slot + RUNNING + self._place] -= 1
            self._numbers[slot + TOKENS] -= tokens

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

    def _slot(self, name: str) -> int:
        """Where the numbers of a key begin: found by its name, the same in every front end.

        Past `MOST_KEYS` names, keys share the last place.
        """
        found = self._slots.get(name)
        if found is not None:
            return found
        wanted = name.encode().ljust(NAME_BYTES, b"\0")
        for index in range(MOST_KEYS):
            start = index * NAME_BYTES
            held = bytes(self._names[start : start + NAME_BYTES])
            free = not any(held)
            if held == wanted or free or index == MOST_KEYS - 1:
                break
        slot = self._slots[name] = index * SLOT
        if free:
            self._names[start : start + NAME_BYTES] = wanted
            now = time.monotonic()
            self._numbers[slot + REQUESTS], self._numbers[slot + REQUESTS_AT] = math.inf, now
            self._numbers[slot + TOKENS], self._numbers[slot + TOKENS_AT] = math.inf, now
        return slot

    def _fill(self, bucket: int, rate: float, most: float, now: float) -> float:
        """Fill a bucket up to now, to no more than `most`; what is in it."""
        numbers = self._numbers
        level = min(most, numbers[bucket] + (now - numbers[bucket + 1]) * rate)
        numbers[bucket], numbers[bucket + 1] = level, now
        return level
