"""A fingerprint depends on everything that later days depend on."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import polars as pl

from generators.history.fingerprint import fingerprint
from generators.history.history import HistorySimulation
from shop.clock import UTC
from shop.grading_policy import POLICY
from tests.generators.history.test_backfill import request


def test_a_fingerprint_is_of_all_that_follows():
    asked = request()
    end = asked.ends_at(datetime(2026, 11, 25, tzinfo=UTC))
    plan = asked.plan(end, POLICY)
    days = [
        day for _, day in zip(range(9), HistorySimulation(plan, POLICY, end).days(), strict=False)
    ]
    again = [
        day for _, day in zip(range(9), HistorySimulation(plan, POLICY, end).days(), strict=False)
    ]
    found = [fingerprint(day) for day in days]
    assert found == [fingerprint(day) for day in again]
    assert len(set(found)) == 9
    day = days[8]
    for column in ("order_id", "rev", "user_id", "product_id", "amount", "updated_at"):
        last = pl.int_range(pl.len()) == pl.len() - 1
        step = pl.duration(microseconds=1) if column == "updated_at" else 1
        changed = pl.when(last).then(pl.col(column) + step)
        orders = day.orders.with_columns(changed.otherwise(pl.col(column)).alias(column))
        assert fingerprint(replace(day, orders=orders)) != found[8], column
    assert fingerprint(replace(day, customers=day.customers + 1)) != found[8]
    assert fingerprint(replace(day, users=day.users[:-1])) != found[8]
