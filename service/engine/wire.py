"""The wire: what front ends and engines send each other, as small binary frames.

    front end → engine    Open     a job with its first pairs
                          More     its next pairs
                          Cancel   its client has gone, or its time is up
    engine → front end    Result   the scores of all its pairs
                          Failure  why there are none

One frame is one message: a header of fixed size, then arrays, all little endian. Token ids take 16
bits where the vocabulary allows, 32 otherwise. Nothing is pickled, and a frame that is not as long
as its header says is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from retort.models.arrays import FloatArray
from retort.service.engine.pairs import Pairs
from retort.service.errors import (
    DeadlinePassed,
    InferenceFailed,
    NotReady,
    Overloaded,
    ServiceError,
)

OPEN, MORE, CANCEL, RESULT, FAILURE = range(1, 6)

# kind, flags, key
_HEAD = struct.Struct("<BBQ")
# client, pairs of the job at most, tokens that are still to come, deadline
_JOB = struct.Struct("<QIId")
# pairs in this frame
_CHUNK = struct.Struct("<I")
# pairs, those without a score, seconds in the queue, seconds of inference
_RESULT = struct.Struct("<IIdd")
# code, seconds after which to come back or -1
_FAILURE = struct.Struct("<Bi")

BACKGROUND, ALONE, WIDE, LAST, HOPELESS = 1, 2, 4, 8, 16
# What is sent for each error; an engine raises no others.
CODES: Mapping[int, type[ServiceError]] = {
    1: Overloaded,
    2: NotReady,
    3: DeadlinePassed,
    4: InferenceFailed,
}


class BadFrame(ValueError):
    """A frame that is cut off or is no message."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Pairs as the wire has them.

    `lengths` and `boundaries` are (pairs,) uint16; `ids` are the pairs' token ids, one pair after
    the other, uint16 or, if `wide`, uint32. After the `last` the job has no more.
    """

    lengths: bytes
    boundaries: bytes
    ids: bytes
    last: bool = True
    wide: bool = False

    def __len__(self) -> int:
        return len(self.lengths) // 2

    @property
    def tokens(self) -> int:
        """How many token ids it has."""
        return len(self.ids) // (4 if self.wide else 2)

    def pairs(self) -> Pairs:
        """The same as arrays, over the same bytes."""
        return Pairs(
            ids=np.frombuffer(self.ids, "<u4" if self.wide else "<u2"),
            lengths=np.frombuffer(self.lengths, "<u2").astype(np.int64),
            boundaries=np.frombuffer(self.boundaries, "<u2").astype(np.int64),
        )

    @property
    def flags(self) -> int:
        """Its part of a frame's flags."""
        return self.wide * WIDE | self.last * LAST

    def parts(self) -> tuple[bytes, ...]:
        """Its part of a frame."""
        return _CHUNK.pack(len(self)), self.lengths, self.boundaries, self.ids

    @classmethod
    def read(cls, frame: bytes, start: int, flags: int) -> Chunk:
        """The chunk that fills `frame` from `start`. Raises `BadFrame`."""
        (count,) = _CHUNK.unpack_from(frame, start)
        wide = bool(flags & WIDE)
        lengths = start + _CHUNK.size
        boundaries = lengths + 2 * count
        ids = boundaries + 2 * count
        chunk = cls(
            frame[lengths:boundaries], frame[boundaries:ids], frame[ids:], bool(flags & LAST), wide
        )
        sizes = np.frombuffer(chunk.lengths, "<u2")
        if len(sizes) != count or len(chunk.ids) != int(sizes.sum()) * (4 if wide else 2):
            raise BadFrame(f"a frame of {len(frame)} bytes does not hold its {count} pairs")
        return chunk


@dataclass(frozen=True, slots=True)
class Open:
    """A job with its first pairs; the fields are those of `Job`, `most_pairs` is its `size`."""

    key: int
    client: int
    most_pairs: int
    remaining_tokens: int
    deadline: float
    background: bool
    alone: bool
    chunk: Chunk

    def pack(self) -> bytes:
        """The frame."""
        flags = self.background * BACKGROUND | self.alone * ALONE | self.chunk.flags
        return b"".join(
            (
                _HEAD.pack(OPEN, flags, self.key),
                _JOB.pack(self.client, self.most_pairs, self.remaining_tokens, self.deadline),
                *self.chunk.parts(),
            )
        )


@dataclass(frozen=True, slots=True)
class More:
    """The next pairs of a job."""

    key: int
    chunk: Chunk

    def pack(self) -> bytes:
        """The frame."""
        head = _HEAD.pack(MORE, self.chunk.flags, self.key)
        return b"".join((head, *self.chunk.parts()))


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody waits for the job any more."""

    key: int

    def pack(self) -> bytes:
        """The frame."""
        return _HEAD.pack(CANCEL, 0, self.key)


@dataclass(frozen=True, slots=True)
class Result:
    """Scores of a job's pairs, arrays (pairs,); `missing` are indices of those without a score."""

    DTYPE: ClassVar = np.dtype("<f8")

    key: int
    score: FloatArray
    spread: FloatArray
    missing: tuple[int, ...]
    queue_seconds: float
    infer_seconds: float

    def pack(self) -> bytes:
        """The frame."""
        return b"".join(
            (
                _HEAD.pack(RESULT, 0, self.key),
                _RESULT.pack(
                    len(self.score), len(self.missing), self.queue_seconds, self.infer_seconds
                ),
                self.score.tobytes(),
                self.spread.tobytes(),
                np.array(self.missing, "<u4").tobytes() if self.missing else b"",
            )
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that has no scores."""

    key: int
    error: ServiceError

    def pack(self) -> bytes:
        """The frame."""
        code = next((c for c, kind in CODES.items() if type(self.error) is kind), None)
        if code is None:
            raise ValueError(f"{type(self.error).__name__} is no error of an engine")
        after = -1 if self.error.retry_after is None else self.error.retry_after
        hopeless = isinstance(self.error, Overloaded) and self.error.hopeless
        flags = HOPELESS if hopeless else 0
        head = _HEAD.pack(FAILURE, flags, self.key) + _FAILURE.pack(code, after)
        return head + self.error.message.encode()


def read_request(frame: bytes) -> Open | More | Cancel:
    """What a front end sent. Raises `BadFrame`."""
    try:
        kind, flags, key = _HEAD.unpack_from(frame)
        if kind == CANCEL:
            return Cancel(key)
        if kind == MORE:
            return More(key, Chunk.read(frame, _HEAD.size, flags))
        if kind == OPEN:
            client, pairs, remaining, deadline = _JOB.unpack_from(frame, _HEAD.size)
            chunk = Chunk.read(frame, _HEAD.size + _JOB.size, flags)
            background, alone = bool(flags & BACKGROUND), bool(flags & ALONE)
            return Open(key, client, pairs, remaining, deadline, background, alone, chunk)
    except (struct.error, ValueError) as error:
        raise BadFrame(f"a frame of {len(frame)} bytes is damaged: {error}") from None
    raise BadFrame(f"a frame of kind {kind} is no request")


def read_reply(frame: bytes) -> Result | Failure:
    """What an engine sent. Raises `BadFrame`."""
    try:
        kind, flags, key = _HEAD.unpack_from(frame)
        if kind == RESULT:
            pairs, missing, queue, infer = _RESULT.unpack_from(frame, _HEAD.size)
            start = _HEAD.size + _RESULT.size
            if len(frame) != start + 16 * pairs + 4 * missing:
                raise BadFrame(f"a frame of {len(frame)} bytes does not hold its {pairs} scores")
            columns = np.frombuffer(frame, Result.DTYPE, 2 * pairs, start).reshape(2, pairs)
            indices = np.frombuffer(frame, "<u4", missing, start + 16 * pairs)
            score, spread = columns
            return Result(key, score, spread, tuple(indices.tolist()), queue, infer)
        if kind == FAILURE:
            code, after = _FAILURE.unpack_from(frame, _HEAD.size)
            message = frame[_HEAD.size + _FAILURE.size :].decode()
            if code not in CODES:
                raise BadFrame(f"a failure of code {code}")
            retry_after = None if after < 0 else after
            error = CODES[code](message, retry_after=retry_after)
            if isinstance(error, Overloaded):
                error.hopeless = bool(flags & HOPELESS)
            return Failure(key, error)
    except (struct.error, ValueError) as error:
        raise BadFrame(f"a frame of {len(frame)} bytes is damaged: {error}") from None
    raise BadFrame(f"a frame of kind {kind} is no reply")
