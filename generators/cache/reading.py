"""What the cache holds, read from PostgreSQL: who is due, who fills up, what is sold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
from psycopg import sql
from psycopg.rows import class_row

from generators.behaviour.cache_segments import POPULAR_SHARE, PURCHASER_SHARE, fill
from generators.behaviour.customer_model import CHOSEN
from generators.cache.customers import ShopClock
from generators.random_streams import Floats, Ints
from shop.postgres import Connection
from shop.redis.cache import CachedProduct, CachedUser

_USERS: Final = sql.SQL(
    "SELECT u.user_id, u.last_ordered_at IS NOT NULL AS purchaser, u.gender, u.birth_year, u.city,"
    " u.grade, u.created_at, u.last_ordered_at, u.order_count, u.total_spent, {due_in} AS due_in"
    " FROM {tables} WHERE u.name IS NOT NULL AND {rows} LIMIT %(limit)s"
)
_STATE_FIRST: Final = sql.SQL("simulation.customers AS c JOIN users AS u ON u.user_id = c.user_id")
_USERS_FIRST: Final = sql.SQL(
    "users AS u LEFT JOIN simulation.customers AS c ON c.user_id = u.user_id"
)
_NOW: Final = sql.SQL("0")
_LATER: Final = sql.SQL("CASE WHEN c.due > %(clock)s THEN c.due - %(clock)s END")
# The conditions on `orders` and `due` are those of the partial indexes. A customer whose first
# order was stored since the clock was read has another side in `users`: he waits a refresh.
_ALL_DUE: Final = sql.SQL(
    "(SELECT user_id, last_order_id FROM simulation.customers"
    " WHERE orders > 0 AND due <= %(clock)s ORDER BY due LIMIT 50000) AS c"
    " JOIN users AS u ON u.user_id = c.user_id"
)
"""Some hundreds, and few even in a flash sale; the limit is for rates that no shop has. It also
keeps the planner from walking all purchasers, least recent first, until it has met those due: 3 s
for a million."""
_PURCHASERS_DUE: Final = sql.SQL(
    "u.last_ordered_at IS NOT NULL ORDER BY c.last_order_id, c.user_id"
)
_OTHERS_DUE: Final = sql.SQL(
    "c.orders = 0 AND c.due <= %(clock)s AND c.due > %(clock)s - %(patience)s"
    " AND u.last_ordered_at IS NULL ORDER BY c.due DESC, c.user_id DESC"
)
_PURCHASERS_NEXT: Final = sql.SQL(
    "c.orders > 0 AND c.due > %(clock)s AND u.last_ordered_at IS NOT NULL ORDER BY c.due, c.user_id"
)
_OTHERS_NEXT: Final = sql.SQL(
    "c.orders = 0 AND c.due > %(clock)s AND u.last_ordered_at IS NULL ORDER BY c.due, c.user_id"
)
_LEAST_RECENT: Final = sql.SQL(
    "c.orders > 0 AND u.last_ordered_at IS NOT NULL ORDER BY c.last_order_id, c.user_id"
)
_NEWEST: Final = sql.SQL("u.last_ordered_at IS NULL ORDER BY u.created_at DESC, u.user_id DESC")
_PURCHASERS: Final = sql.SQL("u.last_ordered_at IS NOT NULL ORDER BY u.last_ordered_at, u.user_id")

_PRODUCTS: Final = sql.SQL(
    "SELECT product_id, %(is_popular)s AS popular, name, category, brand, price, created_at,"
    " order_count, rev, sale_status, updated_at FROM {tables}"
    " WHERE price IS NOT NULL AND sale_status = 'LISTED' AND {rows} LIMIT %(limit)s"
)
_ALL: Final = sql.SQL("products")
_SOLD: Final = sql.SQL(
    "unnest(%(ids)s::bigint[], %(sums)s::float8[]) AS sold (product_id, lately)"
    " JOIN products USING (product_id)"
)
_MOST_LATELY: Final = _PRODUCTS.format(
    tables=_SOLD, rows=sql.SQL("true ORDER BY lately DESC, order_count DESC, product_id")
)
_NOT_TAKEN: Final = "product_id <> ALL (%(taken)s::bigint[])"
_MOST_EVER: Final = _PRODUCTS.format(
    tables=_ALL, rows=sql.SQL(f"{_NOT_TAKEN} ORDER BY order_count DESC, product_id")
)
_NEW: Final = _PRODUCTS.format(
    tables=_ALL, rows=sql.SQL(f"{_NOT_TAKEN} ORDER BY created_at DESC, product_id DESC")
)
_CANDIDATES: Final = 2
"""Products looked up by their key for each popular one: some of those that sold are delisted."""


class Side(NamedTuple):
    """How one side of the cached customers is read: those due, those due next, the others."""

    due: sql.Composed
    following: sql.Composed
    rest: sql.Composed


def _query(due_in: sql.SQL, tables: sql.SQL, rows: sql.SQL) -> sql.Composed:
    return _USERS.format(due_in=due_in, tables=tables, rows=rows)


SIDES: Final = (
    Side(
        _query(_NOW, _ALL_DUE, _PURCHASERS_DUE),
        _query(_LATER, _STATE_FIRST, _PURCHASERS_NEXT),
        _query(_LATER, _STATE_FIRST, _LEAST_RECENT),
    ),
    Side(
        _query(_NOW, _STATE_FIRST, _OTHERS_DUE),
        _query(_LATER, _STATE_FIRST, _OTHERS_NEXT),
        _query(_LATER, _USERS_FIRST, _NEWEST),
    ),
)
"""Purchasers, then others."""
_UNCOUNTED: Final = _query(_LATER, _USERS_FIRST, _PURCHASERS)
"""Purchasers whose orders are not counted; it scans all users, of a shop that fits the cache."""


def read_users(conn: Connection, size: int, clock: ShopClock) -> list[CachedUser]:
    """Return the customers to cache: purchasers, then others; no stubs and no closed accounts.

    On each side those who are due come first: the least recent purchasers, and the others whose
    wish to buy is newest. The places that they leave are filled by the rule of the seed, the least
    recent purchasers and the newest others; but where fewer than `CHOSEN` are due, first by those
    who are due next, since somebody has to buy.
    """
    room = round(size * PURCHASER_SHARE)
    given = {"clock": clock.orders, "patience": clock.model.patience}

    def read(query: sql.Composed, limit: int) -> list[CachedUser]:
        with conn.cursor(row_factory=class_row(CachedUser)) as cur:
            return cur.execute(query, {**given, "limit": limit}).fetchall()

    rooms = (room, size - room)
    found = [
        {u.user_id: u for u in read(side.due, places)}
        for side, places in zip(SIDES, rooms, strict=True)
    ]
    lacking = min(size, CHOSEN) - sum(map(len, found))
    for side, places, users in zip(SIDES, rooms, found, strict=True):
        if lacking > 0:
            _add(users, read(side.following, lacking))
        if len(users) < places:
            _add(users, read(side.rest, places))
    if sum(map(len, found)) < size:  # one side has too few: the other fills up
        for side, users in zip(SIDES, found, strict=True):
            _add(users, read(side.rest, size))
    if sum(map(len, found)) < size:
        _add(found[0], read(_UNCOUNTED, size))
    purchasers, others = fill(size, PURCHASER_SHARE, *(list(users.values()) for users in found))
    return [*purchasers, *others]


def _add(found: dict[int, CachedUser], more: Iterable[CachedUser]) -> None:
    for user in more:
        found.setdefault(user.user_id, user)


def read_products(conn: Connection, size: int, sold: tuple[Ints, Floats]) -> list[CachedProduct]:
    """Return the products to cache: popular ones, then new ones that are not among them.

    There are too few new ones only where every product is in the cache already.

    Args:
        conn: in a transaction.
        size: of the cache.
        sold: ids of the products that sold lately, those that sold most first, and their orders
            (`LatelySold`).
    """
    with conn.cursor(row_factory=class_row(CachedProduct)) as cur:

        def read(query: sql.Composed, limit: int, **values: object) -> list[CachedProduct]:
            return cur.execute(query, {**values, "limit": limit}).fetchall()

        room = round(size * POPULAR_SHARE)
        popular: list[CachedProduct] = []
        looked_up, most = 0, _CANDIDATES * room
        while len(popular) < room and looked_up < len(sold[0]):
            looked_up = _with_ties(sold[1], most)
            ids, sums = (_array(column[:looked_up]) for column in sold)
            popular = read(_MOST_LATELY, room, is_popular=True, ids=ids, sums=sums)
            most *= 4
        taken = [p.product_id for p in popular]
        if len(popular) < room:
            popular += read(_MOST_EVER, room - len(popular), is_popular=True, taken=_array(taken))
            taken = [p.product_id for p in popular]
        return [*popular, *read(_NEW, size - len(popular), is_popular=False, taken=_array(taken))]


def _array(values: Iterable[float]) -> str:
    """Return numbers as PostgreSQL writes an array.

    psycopg looks at each element for characters to quote: 3 ms of the 2,000 of a refresh.

    >>> _array([1, 2]), _array(np.array([0.5, 1e-7]))
    ('{1,2}', '{0.5,1e-07}')
    """
    return f"{{{','.join(map(str, values))}}}"


def _with_ties(falling: Floats, n: int) -> int:
    """Return how many there are of the first `n` values and those equal to the last of them."""
    last = falling[min(n, len(falling)) - 1]
    return int(np.searchsorted(-falling, -last, side="right"))


def has_history(conn: Connection) -> bool:
    """Return whether the shop began with a history."""
    found = conn.execute("SELECT FROM backfill_runs WHERE finished_at IS NOT NULL").fetchone()
    return found is not None
