"""What a live window is compared with: the history's orders in the same scenarios."""

from __future__ import annotations

import polars as pl
import pytest

from benchmarks.realism.live import worth

PAST = pl.DataFrame(
    {"scenario": [None, "black_friday"], "mean": [60_000.0, 40_000.0], "median": [40e3, 30e3]}
)


def orders(*rows: tuple[str | None, int]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"scenario": pl.String, "amount": pl.Int64}, orient="row")


def test_orders_of_a_sale_are_compared_with_those_of_the_same_sale() -> None:
    found = worth(orders(("black_friday", 30_000), ("black_friday", 50_000)), PAST)
    assert list(found.values()) == pytest.approx([1.0, 40 / 30])
    found = worth(orders((None, 60_000), (None, 60_000), ("black_friday", 40_000)), PAST)
    assert found["order value, mean, of the history's"] == pytest.approx(1.0)


def test_what_the_history_never_had_is_compared_with_nothing() -> None:
    assert worth(orders(("payday", 10_000)), PAST) == {}
    found = worth(orders(("payday", 10_000), (None, 30_000)), PAST)
    assert found["order value, mean, of the history's"] == pytest.approx(0.5)
