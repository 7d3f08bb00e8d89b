"""Changes of customers: what is due of those who are stored; and those of a history."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl

from generators.behaviour import customer_changes, customer_model, population
from generators.behaviour.customer_changes import TOPIC
from generators.behaviour.customer_model import NEVER
from generators.random_streams import Ints
from generators.topics.interface import (
    HistoryBlock,
    LiveTopic,
    RunningShop,
    TopicHistory,
    is_history_unfinished,
)
from shop.events import SCHEMAS
from shop.ids import EPOCH, IDS_PER_MS

NEW_S: Final = 5.0
"""How often it is looked for customers who have signed up."""
LOOK_BACK: Final = timedelta(seconds=30)
"""Sign-ups of this time are looked at again: partitions of a topic are stored seconds apart."""
SWEEP_S: Final = 600.0
"""How often a look through all customers begins; it looks ahead by two of them."""
PAGE: Final = 20_000
"""Customers of a look; one takes some 0.2 s."""
REST: Final = 10.0
"""A page is followed by a rest of as many times its length, so that a sweep costs 10 % at most."""
AT_ONCE: Final = 5_000
_CUSTOMERS: Final = """
SELECT u.user_id, u.name, u.email, u.gender, u.birth_year, u.city, u.created_at,
       coalesce(h.rev, 0), coalesce(c.orders, 0), c.last_order_id,
       c.user_id IS NOT NULL AND c.due IS NULL
FROM users AS u
LEFT JOIN simulation.customers AS c ON c.user_id = u.user_id
LEFT JOIN users_history AS h ON h.user_id = u.user_id AND h.current
WHERE u.user_id > %s AND u.name IS NOT NULL
ORDER BY u.user_id LIMIT %s
"""
_COLUMNS: Final[dict[str, Any]] = {
    **SCHEMAS["users"], "had": pl.Int64, "orders": pl.Int64, "last_order_id": pl.Int64,
    "gone": pl.Boolean,
}  # fmt: skip


class LiveCustomerChanges(LiveTopic):
    """Looks through the customers, page by page, and says which changes are due.

    All changes follow from the profile of the sign-up and the state of the customer model, so that
    nothing is remembered: what PostgreSQL has of a customer says which ones are still to come. Each
    is dated by when it was due, so that one that is published twice is an exact copy.
    """

    def __init__(self, shop: RunningShop, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(shop, monotonic)
        self._next_new = self._next_page = self._next_sweep = float("-inf")
        self._after: int | None = None
        self._waiting = pl.DataFrame(schema=SCHEMAS[TOPIC])
        self._sent: dict[int, int] = {}

    def due(self, now: datetime) -> pl.DataFrame:
        """Return the changes that are due; see `LiveTopic`."""
        due = self._take(now)
        if due.is_empty():
            self._look(now)
            due = self._take(now)
        return due

    def _take(self, now: datetime) -> pl.DataFrame:
        due = self._waiting.filter(pl.col("updated_at") <= now).head(AT_ONCE)
        if not due.is_empty():
            self._waiting = self._waiting.join(due, on="change_id", how="anti")
            self._sent.update(zip(due["user_id"], due["rev"], strict=True))
        return due

    def status(self) -> Mapping[str, str | float]:
        """Return how many changes are known that are to be published within the next minutes."""
        return {"waiting": len(self._waiting)}

    def _look(self, now: datetime) -> None:
        """Read the newest customers, or the next page of all, if it is time for that.

        Raises:
            psycopg.Error: if PostgreSQL does not answer; it is read again.
        """
        moment = self._monotonic()
        is_new = moment >= self._next_new
        is_page = moment >= (self._next_sweep if self._after is None else self._next_page)
        if not (is_new or is_page):
            return
        if is_history_unfinished(self._connection()):
            self._next_new = moment + NEW_S
            return
        if is_new:
            back = (now - LOOK_BACK - EPOCH) // timedelta(milliseconds=1)
            self._read(max(0, back) * IDS_PER_MS, now)
            self._next_new = moment + NEW_S
        if is_page:
            if self._after is None:
                self._next_sweep = moment + SWEEP_S
            began = self._monotonic()
            self._after = self._read(self._after or 0, now)
            ended = self._monotonic()
            self._next_page = ended + REST * (ended - began)

    def _read(self, after: int, now: datetime) -> int | None:
        """Add what is due of a page to what waits; return where the next one begins."""
        rows = self._connection().execute(_CUSTOMERS, (after, PAGE)).fetchall()
        page = pl.DataFrame(rows, schema=_COLUMNS, orient="row")
        until = now + timedelta(seconds=2 * SWEEP_S)
        had = page.select("user_id", "had")
        known = dict(had.iter_rows())
        for user_id in self._sent.keys() & known.keys():
            if known[user_id] >= self._sent[user_id]:
                del self._sent[user_id]
        sent = pl.Series([self._sent.get(u, 0) for u in known], dtype=pl.Int64)
        had = had.select("user_id", had=pl.max_horizontal("had", sent))
        found = changes(self._shop.seed, page, until).join(had, on="user_id")
        new = found.filter(pl.col("rev") > pl.col("had")).drop("had")
        self._waiting = (
            pl.concat([self._waiting.join(had, on="user_id", how="anti"), new])
            .sort("updated_at", "change_id")
        )  # fmt: skip
        return int(rows[-1][0]) if len(rows) == PAGE else None


def changes(seed: int, customers: pl.DataFrame, until: datetime) -> pl.DataFrame:
    """Return all changes of customers before a moment, `SCHEMAS["customer_changes"]`.

    Args:
        seed: of the shop.
        customers: rows of `SCHEMAS["users"]` with `orders`, `last_order_id` (null if there are
            none) and `gone`: whether the customer model lets them buy no more.
        until: UTC.
    """
    until_us = round(until.timestamp() * 1e6)
    signed_up, state = customer_changes.begin(seed, customers)
    later, _ = customer_changes.advance(seed, state, until_us)
    found = pl.concat([signed_up.filter(pl.col("updated_at") < until), later])
    gone = customers.filter("gone")
    ids, orders = _ints(gone, "user_id"), _ints(gone, "orders")
    since = np.where(
        orders > 0,
        population.times_of(_ints(gone, "last_order_id")) * 1_000,
        gone["created_at"].cast(pl.Int64).to_numpy(),
    )
    at = customer_changes.closings(seed, ids, orders, since)
    return with_closings(found, ids[at < until_us], at[at < until_us], {})


def with_closings(
    found: pl.DataFrame, ids: Ints, at_us: Ints, revs: Mapping[int, int]
) -> pl.DataFrame:
    """Return changes with the closing of accounts, after which there are none.

    Args:
        found: `SCHEMAS["customer_changes"]`.
        ids: shape (n,), the customers.
        at_us: shape (n,), when they close their accounts.
        revs: of customers who have no change in `found`, the number of their last one.
    """
    if not len(ids):
        return found
    ends = pl.DataFrame({"user_id": ids, "end": at_us})
    found = found.join(ends, on="user_id", how="left", maintain_order="left").filter(
        pl.col("end").is_null() | (pl.col("updated_at").cast(pl.Int64) < pl.col("end"))
    )
    last = found.group_by("user_id").agg(pl.col("rev").max())
    rev = ends.join(last, on="user_id", how="left", maintain_order="left")["rev"].to_list()
    numbers = [
        1 + (revs.get(id_, 0) if n is None else n) for id_, n in zip(ids.tolist(), rev, strict=True)
    ]
    closed = customer_changes.closed(ids, np.array(numbers, np.int64), at_us)
    return pl.concat([found.drop("end"), closed])


class CustomerChangesHistory(TopicHistory):
    """The changes of the customers of a history. It holds each customer: some 100 bytes.

    Args:
        seed: of the shop.
    """

    profiles = True

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._state = pl.DataFrame(schema=customer_changes.STATE)
        self._orders = pl.DataFrame(schema={"user_id": pl.Int64, "orders": pl.Int64})
        self._ends = pl.DataFrame(schema={"user_id": pl.Int64, "orders": pl.Int64, "at": pl.Int64})

    def events(self, block: HistoryBlock) -> pl.DataFrame:
        """Return the changes of a block; see `TopicHistory`."""
        end_us = round(block.end.timestamp() * 1e6)
        signed_up, new = customer_changes.begin(self._seed, block.users)
        self._count(block)
        due = self._ends.filter(pl.col("at") < end_us)
        self._ends = self._ends.filter(pl.col("at") >= end_us)
        # Who has ordered again since was not gone: a win-back of the operator, or a full cache.
        due = due.join(self._orders, on=["user_id", "orders"], how="semi")
        before = pl.concat([self._state, new])
        found, after = customer_changes.advance(self._seed, before, end_us)
        revs = before.join(due, on="user_id", how="semi").select("user_id", "rev")
        self._state = after.join(due, on="user_id", how="anti")
        return pl.concat([
            signed_up,
            with_closings(found, _ints(due, "user_id"), _ints(due, "at"), dict(revs.iter_rows())),
        ])  # fmt: skip

    def _count(self, block: HistoryBlock) -> None:
        """Count orders, and note when those who are gone by now will close their accounts."""
        # The customers of the opening are older than the shop, and all of them are about to buy.
        new = block.users.filter(pl.col("created_at") >= block.start)
        ids, since = _ints(new, "user_id"), new["created_at"].cast(pl.Int64).to_numpy()
        never = customer_model.due_after_sign_up(customer_model.MODEL, self._seed, ids, 0) == NEVER
        self._end(ids[never], np.zeros(int(never.sum()), np.int64), since[never])
        new = block.users.select("user_id", orders=pl.lit(0, pl.Int64))
        ordered = block.orders.group_by("user_id").agg(
            more=pl.len().cast(pl.Int64), last=pl.col("order_id").max()
        )
        counted = pl.concat([self._orders, new]).join(
            ordered, on="user_id", how="left", maintain_order="left"
        )
        counted = counted.with_columns(pl.col("orders") + pl.col("more").fill_null(0))
        self._orders = counted.select("user_id", "orders")
        now = counted.filter(pl.col("more").is_not_null())
        ids, orders = _ints(now, "user_id"), _ints(now, "orders")
        due = customer_model.due_after_order(customer_model.MODEL, self._seed, ids, orders, 0)
        gone = due >= NEVER
        last = population.times_of(_ints(now, "last")) * 1_000
        self._end(ids[gone], orders[gone], last[gone])

    def _end(self, ids: Ints, orders: Ints, since_us: Ints) -> None:
        at = customer_changes.closings(self._seed, ids, orders, since_us)
        ends = pl.DataFrame({"user_id": ids, "orders": orders, "at": at})
        self._ends = pl.concat([self._ends, ends.filter(pl.col("at") < NEVER)])

    def derived_rows(self, block: HistoryBlock) -> Mapping[str, pl.DataFrame]:
        """Return the revisions of products; PostgreSQL puts changes into `users_history` itself."""
        prices = block.products.select(
            "product_id", "rev", "price", "sale_status",
            valid_from=pl.coalesce("updated_at", "created_at"),
        )  # fmt: skip
        return {"product_prices": prices.sort("product_id", "rev")}


def _ints(frame: pl.DataFrame, name: str) -> Ints:
    return frame[name].fill_null(0).to_numpy().astype(np.int64)
