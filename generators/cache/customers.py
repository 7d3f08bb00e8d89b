"""The state of the simulated customers in PostgreSQL: count what came, note when each is due.

The ingest stores customers and orders and knows nothing of the simulation. The cache worker reads
what was stored since its last look, a range of ids that carry the time, and writes
`simulation.customers` and `simulation.clock` in one transaction: killed at any moment, it has
counted everything once or will do so at the next look. A second worker waits for the lock on the
clock.

Rows that were stored late lie below the marks of the clock. A short look back over the ids finds
those of the last seconds, a longer one each minute those of the last minutes, and `reconcile`
finds the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np

from generators.behaviour import customer_model
from generators.behaviour.customer_model import NEVER, CustomerModel
from generators.random_streams import Ints
from shop.clock import KST, UTC
from shop.ids import EPOCH_MS, IDS_PER_MS, MAX_ID, NODES, SEQUENCE_BITS
from shop.node_lease import SEED_NODE
from shop.postgres import Cursor

CHUNK: Final = 100_000
"""Customers or orders counted in one transaction: about 1 s."""
LOOK_BACK_S: Final = 10.0
"""How far below the marks every look begins: partitions of a topic are stored seconds apart."""
LONG_LOOK_BACK_S: Final = 600.0
"""How far one look a minute goes: an ingest process that died keeps its partitions for 45 s."""
MOST_BACK: Final = 50_000
"""Rows that a look back reads at most, at rates that no shop has."""
AHEAD_S: Final = 60.0
"""Ids further ahead of the server's clock are foreign; a mark there would hide all others."""
SETTLING: Final = customer_model.POOL
"""Orders within which due purchasers are served while the shop is in balance."""
_IMPORTED_MS: Final = 86_400_000
"""A customer who signed up longer ago, with an id that carries another time, was imported."""

# Below the mark the newest first: the limit must cut off the oldest.
_USERS: Final = """
SELECT u.user_id, u.created_at, c.user_id IS NOT NULL
FROM ((SELECT user_id, created_at FROM users WHERE user_id > %(low)s AND user_id <= %(mark)s
       ORDER BY user_id DESC LIMIT %(back)s)
      UNION ALL
      (SELECT user_id, created_at FROM users WHERE user_id > %(mark)s AND user_id <= %(high)s
       ORDER BY user_id LIMIT %(chunk)s)) AS u
LEFT JOIN simulation.customers AS c ON c.user_id = u.user_id
WHERE c.user_id IS NULL OR u.user_id > %(mark)s ORDER BY u.user_id
"""
_ORDERS: Final = """
SELECT o.order_id, o.user_id, c.orders, c.last_order_id
FROM ((SELECT order_id, user_id FROM orders WHERE order_id > %(low)s AND order_id <= %(mark)s
       ORDER BY order_id DESC LIMIT %(back)s)
      UNION ALL
      (SELECT order_id, user_id FROM orders WHERE order_id > %(mark)s AND order_id <= %(high)s
       ORDER BY order_id LIMIT %(chunk)s)) AS o
LEFT JOIN simulation.customers AS c ON c.user_id = o.user_id
WHERE c.last_order_id IS NULL OR o.order_id > c.last_order_id OR o.order_id > %(mark)s
ORDER BY o.order_id
"""
_LOCK: Final = "LOCK TABLE simulation.clock IN SHARE ROW EXCLUSIVE MODE"
"""Taken before the snapshot of the transaction, which so contains what the last worker wrote."""
_CLOCK: Final = (
    "SELECT orders, sign_ups, seed, orders_per_day, newest_user_id, newest_order_id, catching_up"
    " FROM simulation.clock"
)
_SAVE: Final = """
INSERT INTO simulation.clock (orders, sign_ups, seed, orders_per_day, newest_user_id,
    newest_order_id, catching_up, updated_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, now())
ON CONFLICT (only_row) DO UPDATE SET orders = excluded.orders, sign_ups = excluded.sign_ups,
    newest_user_id = excluded.newest_user_id, newest_order_id = excluded.newest_order_id,
    catching_up = excluded.catching_up, updated_at = excluded.updated_at
"""
_WRITE: Final = """
INSERT INTO simulation.customers (user_id, orders, last_order_id, due)
SELECT * FROM unnest(%s::bigint[], %s::integer[], %s::bigint[], %s::bigint[])
ON CONFLICT (user_id) DO UPDATE SET orders = excluded.orders,
    last_order_id = excluded.last_order_id, due = excluded.due
"""
_MISSING: Final = """
SELECT u.user_id, u.created_at, false FROM users AS u
LEFT JOIN simulation.customers AS c ON c.user_id = u.user_id
WHERE c.user_id IS NULL ORDER BY u.user_id LIMIT %s
"""
# An id made here carries the time of its order, which `last_ordered_at` repeats to the microsecond.
_BEHIND: Final = """
SELECT c.user_id, c.orders, u.last_ordered_at, u.order_count FROM simulation.customers AS c
JOIN users AS u ON u.user_id = c.user_id
WHERE u.last_ordered_at IS NOT NULL AND (c.orders = 0 OR u.last_ordered_at >
    to_timestamp((c.last_order_id / %(per_ms)s + %(epoch)s + 1000) / 1000.0))
ORDER BY c.user_id LIMIT %(chunk)s
"""
_THEIR_ORDERS: Final = """
SELECT o.order_id, o.user_id, c.orders, c.last_order_id FROM orders AS o
JOIN simulation.customers AS c ON c.user_id = o.user_id
WHERE o.user_id = ANY(%s) AND o.order_id <= %s
    AND (c.last_order_id IS NULL OR o.order_id > c.last_order_id)
ORDER BY o.order_id
"""
_GONE: Final = """
DELETE FROM simulation.customers AS c
WHERE NOT EXISTS (SELECT FROM users AS u WHERE u.user_id = c.user_id)
"""
_OVERDUE: Final = """
SELECT user_id, orders, last_order_id FROM simulation.customers WHERE orders > 0 AND due <= %s
"""

_LEFT: Final = """
SELECT user_id FROM simulation.customers
WHERE orders > 0 AND due IS NULL AND last_order_id < %s ORDER BY last_order_id, user_id
"""
_BACK: Final = "UPDATE simulation.customers SET due = %s WHERE user_id = ANY(%s)"

UserRow = tuple[int, datetime | None, bool]
OrderRow = tuple[int, int, int | None, int | None]


class ShopClock(NamedTuple):
    """The row of `simulation.clock`; the migration describes its columns."""

    orders: int
    sign_ups: int
    seed: int
    orders_per_day: int
    newest_user_id: int = 0
    newest_order_id: int = 0
    catching_up: bool = False

    @property
    def model(self) -> CustomerModel:
        """The behaviour of this shop's customers."""
        return CustomerModel(orders_per_day=self.orders_per_day)


def locked_clock(cur: Cursor, seed: int) -> ShopClock:
    """Lock the clock until the end of the transaction, and return it.

    Args:
        cur: at the beginning of a REPEATABLE READ transaction, before its snapshot.
        seed: for a shop that has no clock yet.
    """
    cur.execute(_LOCK)
    row = cur.execute(_CLOCK).fetchone()
    if row is not None:
        return ShopClock(*row)
    return ShopClock(0, 0, seed, customer_model.ORDERS_PER_DAY, catching_up=True)


def count_new(cur: Cursor, clock: ShopClock, *, back_s: float) -> tuple[ShopClock, bool]:
    """Count the customers and orders that are new, at most a chunk of each.

    Args:
        cur: in the transaction of `locked_clock`.
        clock: what that returned.
        back_s: how far below the marks to look for late ones, seconds.

    Returns:
        The clock, not saved yet, and whether that was all.
    """
    high = _highest(cur)
    users: list[UserRow] = _read(cur, _USERS, clock.newest_user_id, high, back_s)
    orders: list[OrderRow] = _read(cur, _ORDERS, clock.newest_order_id, high, back_s)
    ends = [
        rows[-1][0]
        for rows, mark in ((users, clock.newest_user_id), (orders, clock.newest_order_id))
        if sum(row[0] > mark for row in rows) >= CHUNK
    ]
    end = min(ends, default=MAX_ID)  # both up to the same moment, so that their order is kept
    users = [u for u in users if u[0] <= end]
    orders = [o for o in orders if o[0] <= end]
    after = _count(cur, clock, users, orders)
    reached = end if ends else 0
    return after._replace(
        newest_user_id=max([clock.newest_user_id, reached, *(u[0] for u in users[-1:])]),
        newest_order_id=max([clock.newest_order_id, reached, *(o[0] for o in orders[-1:])]),
    ), not ends


def reconcile(cur: Cursor, clock: ShopClock) -> tuple[ShopClock, bool]:
    """Count what `count_new` cannot find, by comparing whole tables; a chunk of each kind.

    That is what was stored later than a look back goes, or has ids that carry no time. Customers
    who were imported with purchases, but without their orders, are due at once.

    Args:
        cur: in the transaction of `locked_clock`, after a `count_new` that was all.
        clock: what that returned.

    Returns:
        The clock, not saved yet, and whether that was all.
    """
    gone = cur.execute(_GONE).rowcount
    clock = clock._replace(sign_ups=max(0, clock.sign_ups - gone))
    missing: list[UserRow] = cur.execute(_MISSING, (CHUNK,)).fetchall()
    clock = _count(cur, clock, missing, [])
    given = {"chunk": CHUNK, "per_ms": IDS_PER_MS, "epoch": EPOCH_MS}
    behind = cur.execute(_BEHIND, given).fetchall()
    orders: list[OrderRow] = []
    if behind:
        orders = cur.execute(_THEIR_ORDERS, ([b[0] for b in behind], _highest(cur))).fetchall()
        clock = _count(cur, clock, [], orders)
        found = {o[1] for o in orders}
        _import(cur, clock, [b for b in behind if not b[1] and b[0] not in found])
    return clock, len(missing) < CHUNK and (len(behind) < CHUNK or not orders)


def settle(cur: Cursor, clock: ShopClock) -> None:
    """Draw again when purchasers are due who have been for long, in a shop of earlier rules.

    There, nobody bought when he was due: the shop would serve all of them first.
    """
    rows = cur.execute(_OVERDUE, (clock.orders - SETTLING,)).fetchall()
    if not rows:
        return
    ids, orders, last = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    due = customer_model.due_after_order(clock.model, clock.seed, ids, orders, clock.orders)
    _write(cur, ids, orders, last, due)


def win_back(cur: Cursor, clock: ShopClock, now: datetime) -> int:
    """Let some customers who have left buy again; return how many.

    Once a day of a campaign is enough, and more often does no harm: the day decides who it is, and
    those who were brought back are due, or have bought lately.

    Args:
        cur: in the transaction of `locked_clock`.
        clock: what that returned, with new orders counted.
        now: a moment of the day.
    """
    before = _id_at(now - timedelta(days=customer_model.LEFT_DAYS))
    ids = np.array([i for (i,) in cur.execute(_LEFT, (before,)).fetchall()], dtype=np.int64)
    back = ids[customer_model.comes_back(clock.seed, ids, _day_in_seoul(now))]
    cur.execute(_BACK, (clock.orders, back.tolist()))
    return len(back)


def save(cur: Cursor, clock: ShopClock) -> None:
    """Store the clock; in the transaction of `locked_clock`."""
    cur.execute(_SAVE, clock)


def _highest(cur: Cursor) -> int:
    """Return the highest id that can carry a true time."""
    (seconds,) = cur.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone() or (
        0.0,
    )
    return min(MAX_ID, (int((seconds + AHEAD_S) * 1000) - EPOCH_MS) * IDS_PER_MS)


def _read(cur: Cursor, query: str, mark: int, high: int, back_s: float) -> list[Any]:
    low = mark - int(back_s * 1000) * IDS_PER_MS
    given = {"low": low, "mark": mark, "high": high, "back": MOST_BACK, "chunk": CHUNK}
    return cur.execute(query, given).fetchall()


def _count(
    cur: Cursor, clock: ShopClock, users: Sequence[UserRow], orders: Sequence[OrderRow]
) -> ShopClock:
    """Write the customers of these rows; return the clock with them counted."""
    orders = [o for o in orders if o[3] is None or o[0] > o[3]]
    order_ids, user_ids = (np.array([o[i] for o in orders], dtype=np.int64) for i in (0, 1))
    before = np.array([o[2] or 0 for o in orders], dtype=np.int64)
    # By customer, each one's orders in the order of their ids; the last of them decides.
    by_user = np.lexsort((order_ids, user_ids))
    sorted_ids = user_ids[by_user]
    lasts = np.flatnonzero(np.append(sorted_ids[1:] != sorted_ids[:-1], len(orders) > 0))
    times = np.diff(lasts, prepend=-1)
    last = by_user[lasts]
    buyers, count = user_ids[last], before[last] + times
    at = clock.orders + 1 + last  # rows are in the order of their ids
    due = customer_model.due_after_order(clock.model, clock.seed, buyers, count, at)
    bought = set(buyers.tolist())
    new = [u for u in users if not u[2] and u[0] not in bought]
    others = np.array([u[0] for u in new], dtype=np.int64)
    at_sign_up = clock.orders + np.searchsorted(order_ids, others)
    nothing = np.zeros(len(new), dtype=np.int64)
    _write(
        cur,
        np.concatenate([buyers, others]),
        np.concatenate([count, nothing]),
        np.concatenate([order_ids[last], nothing]),
        np.concatenate([due, _due_of_new(cur, clock, new, others, at_sign_up)]),
    )
    unknown = {o[1] for o in orders if o[2] is None}
    return clock._replace(
        orders=clock.orders + len(orders), sign_ups=clock.sign_ups + len(new) + len(unknown)
    )


def _due_of_new(
    cur: Cursor, clock: ShopClock, users: Sequence[UserRow], ids: Ints, at: Ints
) -> Ints:
    """Return when customers become due whom the shop has not seen before."""
    if not users:
        return ids
    (now,) = cur.execute("SELECT extract(epoch FROM now())::float8 * 1000").fetchone() or (0.0,)
    created = np.array([u[1].timestamp() * 1000 if u[1] else now for u in users])
    ours = np.abs(ids // IDS_PER_MS + EPOCH_MS - created) < 1_000
    seeded = ours & ((ids >> SEQUENCE_BITS) % NODES == SEED_NODE)
    due = customer_model.due_after_sign_up(clock.model, clock.seed, ids, at)
    opening = customer_model.due_at_opening(clock.model, clock.seed, ids[seeded], clock.orders)
    due[seeded] = opening
    due[~ours & (created < now - _IMPORTED_MS)] = clock.orders
    return due


def _import(cur: Cursor, clock: ShopClock, rows: Sequence[tuple[Any, ...]]) -> None:
    """Make customers due whose purchases are known, and their orders are not."""
    if not rows:
        return
    ids = np.array([r[0] for r in rows], dtype=np.int64)
    orders = np.array([max(1, r[3]) for r in rows], dtype=np.int64)
    last = np.array([_id_at(r[2]) for r in rows], dtype=np.int64)
    _write(cur, ids, orders, last, np.full(len(rows), clock.orders))


def _day_in_seoul(moment: datetime) -> int:
    return (moment.astimezone(KST).date() - date(1970, 1, 1)).days


def _id_at(moment: datetime) -> int:
    ms = (moment - datetime.fromtimestamp(EPOCH_MS / 1000, UTC)) // timedelta(milliseconds=1)
    return min(MAX_ID, max(0, ms * IDS_PER_MS))


def _write(cur: Cursor, ids: Ints, orders: Ints, last: Ints, due: Ints) -> None:
    """Write customers; `last` counts only where there are orders."""
    if not len(ids):
        return
    counts = orders.tolist()
    lasts = [id_ if n else None for id_, n in zip(last.tolist(), counts, strict=True)]
    dues = [None if d >= NEVER else d for d in due.tolist()]
    cur.execute(_WRITE, (ids.tolist(), counts, lasts, dues))
