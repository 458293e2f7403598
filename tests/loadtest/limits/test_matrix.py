"""The matrix product, really run, in small."""

from __future__ import annotations

import pytest

from retort.loadtest.limits.matrix import Product, products
from retort.models.runtime.base import Precision

SMALL = ((64, 64, 64),)


def test_the_fastest_run_counts() -> None:
    calls: list[int] = []
    product = Product(2, 3, 4, "kernel", lambda: calls.append(1))
    assert product.multiply_adds == 24
    assert product.per_second(0.0) > 0
    assert len(calls) == 3


@pytest.mark.parametrize(("precision", "kernel"), [("fp32", "f32"), ("int8", "")])
def test_the_product_runs(precision: Precision, kernel: str) -> None:
    found = list(products(precision, threads=1, sizes=SMALL))
    assert len(found) == (2 if precision == "int8" else 1)
    for product in found:
        assert product.multiply_adds == 64**3
        assert product.kernel.endswith(kernel)
        assert 0 < product.per_second(0.0) < 1e14


def test_int8_is_multiplied_as_int8_where_ranges_are_known() -> None:
    fixed, _ = products("int8", threads=1, sizes=SMALL)
    assert fixed.kernel.lower().endswith("i8")


def test_a_precision_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="these cores have no fp16"):
        list(products("fp16", sizes=SMALL))
