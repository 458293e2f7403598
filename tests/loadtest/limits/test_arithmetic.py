"""The backend's share of what the cores can multiply."""

from __future__ import annotations

from dataclasses import replace

import pytest

from retort.loadtest.limits.arithmetic import Arithmetic

FOUND = Arithmetic(
    served="openvino/cpu/int8",
    precision="int8",
    limits={"fp32": (2e9, 2e9), "int8": (8e9, 4e9)},
    kernels={"fp32": "gemm", "int8": "brgemm"},
    loop=(4.8e9, 2.6e9),
    pair=10_000_000,
    described="128 tokens a pair",
)


def test_the_share_is_of_the_precision_that_serves_and_within_a_round() -> None:
    assert FOUND.share.median == pytest.approx(0.625)
    assert [FOUND.share.low, FOUND.share.high] == pytest.approx([0.6, 0.65])
    (row,) = FOUND.finding().rows
    assert row.what == "Bare backend loop over the int8 matrix limit of the cores"
    assert (row.found, row.reached) == ("62% (60% to 65%)", True)
    assert replace(FOUND, loop=(3.9e9, 1.9e9)).finding().rows[0].reached is False


def test_the_table_says_what_the_limits_would_be_in_pairs() -> None:
    table = FOUND.finding().table
    assert table[1:] == (
        ("largest matrix product, fp32", "2", "200", "gemm"),
        ("largest matrix product, int8", "6", "600", "brgemm"),
        ("bare backend loop, openvino/cpu/int8", "4", "370", ""),
    )
