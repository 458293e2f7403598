"""Wording that several messages share."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A number and its noun, which gets an `s` unless there is one of it.

    >>> counted(1, "teacher"), counted(0, "teacher"), counted(12_000, "pair")
    ('1 teacher', '0 teachers', '12000 pairs')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
