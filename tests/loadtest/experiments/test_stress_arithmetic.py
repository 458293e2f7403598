"""The matrix product, really run at a small size, and the backend's share of what the cores can."""

from __future__ import annotations

import pytest

from retort.loadtest.experiments.stress_arithmetic import (
    Product,
    all_products,
    limits_table,
    products,
)
from retort.loadtest.rounds import Spread
from retort.models.runtime.base import BackendInfo, Precision

SMALL = ((64, 64, 64),)
INT8 = BackendInfo("openvino", "cpu", "int8")


def test_the_share_is_of_the_precision_that_serves_and_within_a_round() -> None:
    rates = {"fp32": [2e9, 2e9], "int8": [8e9, 4e9], "bare": [4.8e9, 2.6e9]}
    table = limits_table(INT8, 10_000_000, rates, {"fp32": "gemm", "int8": "brgemm"})
    fp32, int8, bare = table.rows
    assert fp32 == ("largest matrix product, fp32", 2.0, 200.0, None, "gemm")
    assert int8 == ("largest matrix product, int8", 6.0, 600.0, None, "brgemm")
    assert bare[0] == "bare backend loop, openvino/cpu/int8"
    assert bare[1:3] == (3.7, 370.0)
    share = bare[3]
    assert isinstance(share, Spread)
    assert (share.value, share.low, share.high) == pytest.approx((0.625, 0.6, 0.65))


def test_the_fastest_run_counts() -> None:
    calls: list[int] = []
    product = Product((2, 3, 4), "kernel", lambda: calls.append(1))
    assert 0 < product.per_second(0.0) < float("inf")
    assert len(calls) == 3


@pytest.mark.parametrize(("precision", "kernel"), [("fp32", "f32"), ("int8", "")])
def test_the_product_runs(precision: Precision, kernel: str) -> None:
    found = list(products(precision, threads=1, sizes=SMALL))
    assert len(found) == (2 if precision == "int8" else 1)
    for product in found:
        assert product.kernel.endswith(kernel)
        assert 0 < product.per_second(0.0) < 1e14


def test_int8_is_multiplied_as_int8_where_ranges_are_known() -> None:
    fixed, _ = products("int8", threads=1, sizes=SMALL)
    assert fixed.kernel.lower().endswith("i8")


def test_a_precision_that_the_cores_do_not_have_is_an_error() -> None:
    with pytest.raises(ValueError, match="these cores have no fp16"):
        list(products("fp16", sizes=SMALL))
    assert {"fp32", "int8"} <= set(all_products(INT8, 1, SMALL))
