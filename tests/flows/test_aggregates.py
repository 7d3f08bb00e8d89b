"""Folding orders equals adding them up one by one."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from flows import aggregates
from flows.decode import INDEX
from shop.clock import UTC
from shop.events import SCHEMAS, Order, as_row
from shop.spend_windows import window_start
from tests.support.event_samples import NOW, order

orders = st.lists(
    st.builds(
        lambda i, u, p, s, q, t: order(
            i, user_id=u, product_id=p, status=s, quantity=q, ordered_at=NOW + t
        ),
        st.integers(1, 1000),
        st.integers(1, 3),
        st.integers(1, 3),
        st.sampled_from(["PAID", "CANCELLED", "REFUNDED"]),
        st.integers(1, 9),
        st.timedeltas(timedelta(-2), timedelta(hours=2)),
    ),
    max_size=30,
)


def frame(events: list[Order]) -> pl.DataFrame:
    rows = [{**as_row(o), INDEX: i} for i, o in enumerate(events)]
    return pl.DataFrame(rows, schema={**SCHEMAS["orders"], INDEX: pl.Int64()})


@settings(max_examples=100, deadline=None)
@given(orders, st.sampled_from([60, 300, 3600, 86_400]), st.sampled_from([1, -1]))
def test_effects_are_the_sums_of_the_orders(events: list[Order], window_s: int, sign: int) -> None:
    windows: dict[tuple[datetime, int], list[int]] = defaultdict(lambda: [0, 0])
    users: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    products: dict[int, int] = defaultdict(int)
    last: dict[int, datetime] = {}
    for o in events:
        users[o.user_id][0] += 0
        last[o.user_id] = max(last.get(o.user_id, o.ordered_at), o.ordered_at)
        if o.status == "PAID":
            start = o.ordered_at.timestamp() // window_s * window_s
            for sums in (windows[datetime.fromtimestamp(start, UTC), o.user_id], users[o.user_id]):
                sums[0] += sign
                sums[1] += sign * o.amount
            products[o.product_id] += sign
    found = aggregates.effects(aggregates.contributions(frame(events), sign), window_s)
    columns = ("window_start", "user_id", "orders", "spend")
    assert found.windows.select(columns).rows() == [
        (*key, *sums) for key, sums in sorted(windows.items())
    ]
    assert found.users.select(
        "user_id", "order_count", "total_spent", "last_ordered_at"
    ).rows() == [(user, *sums, last[user]) for user, sums in sorted(users.items())]
    assert found.products.rows() == sorted(products.items())


def test_windows_are_aligned_to_the_epoch_before_it_too() -> None:
    times = pl.DataFrame({"ordered_at": [datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), NOW]})
    starts = times.select(window_start(300)).to_series().to_list()
    assert starts == [
        datetime(1969, 12, 31, 23, 55, tzinfo=UTC),
        NOW.replace(minute=5, second=0, microsecond=0),
    ]


def test_only_lone_first_revisions_go_straight_into_the_table() -> None:
    rows = frame([order(1), order(2), order(2, rev=2), order(3, rev=3), order(4), order(4)])
    assert aggregates.first_revisions(rows).to_list() == [True, False, False, False, False, False]
    assert aggregates.first_revisions(rows[:2]).to_list() == [True, True]
