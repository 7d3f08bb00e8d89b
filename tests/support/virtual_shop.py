"""A live shop on a virtual clock: the real cache worker's reading and choice, no Kafka, no waiting.

Sign-ups and orders are written straight into PostgreSQL, as the ingest would.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from generators.behaviour.customer_model import ORDERS_PER_DAY, sign_up_rate
from generators.cache.shop_reader import Shop, ShopReader
from generators.cache.worker import NAME
from generators.live.buyers import Buyers
from generators.random_streams import Floats, stream
from shop.clock import UTC
from shop.ids import EPOCH_MS, IDS_PER_MS
from shop.postgres import Connection
from shop.settings import Settings

BEGIN = datetime(2026, 3, 2, tzinfo=UTC)
DAY_MS = 86_400_000


class VirtualShop:
    """Orders at even distances, sign-ups at their law, a cache refresh after every few orders.

    Args:
        settings: of the database.
        pg: a connection to it, in autocommit.
        block: orders between two refreshes.
        seed: of the streams.
        begin: first moment.
        orders_per_day: of the shop.
    """

    def __init__(
        self,
        settings: Settings,
        pg: Connection,
        *,
        block: int = 12,
        seed: int = 1,
        begin: datetime = BEGIN,
        orders_per_day: int = ORDERS_PER_DAY,
    ) -> None:
        self._pg = pg
        self._begin = begin
        self._per_day = orders_per_day
        self._block = block
        self._rng = stream(seed, "virtual")
        self.buyers = Buyers(stream(seed, "buyers"), seed=seed)
        self._reader = ShopReader(settings, NAME)
        self.ms = begin.timestamp() * 1000
        self._sign_ups = 0.0
        self.user_ids: list[int] = []
        self.times_ms: list[float] = []
        self.due: list[tuple[int, int]] = []

    def add_users(self, ids: Sequence[int]) -> None:
        insert_users(self._pg, ids)

    def refresh(self) -> Shop:
        shop = self._reader.read()
        self.buyers.load(shop.users, self.now)
        due = [u.purchaser for u in shop.users if u.due]
        self.due.append((sum(due), len(due) - sum(due)))
        return shop

    @property
    def now(self) -> datetime:
        return self._begin + timedelta(milliseconds=self.ms - self._begin.timestamp() * 1000)

    def run(self, orders: int) -> None:
        gap = DAY_MS / self._per_day
        for _ in range(0, orders, self._block):
            shop = self.refresh()
            times = self.ms + gap * np.arange(1, self._block + 1)
            self._sign_up(shop.clock.sign_ups, gap * self._block)
            who = self.buyers.take((times * 1000).astype(np.int64)).ids
            self._order(who.tolist(), times)
            self.ms = float(times[-1])

    def _sign_up(self, so_far: int, span_ms: float) -> None:
        self._sign_ups += float(sign_up_rate(so_far, self._per_day)[0]) * span_ms / 1000
        n = int(self._sign_ups)
        self._sign_ups -= n
        at = np.sort(self._rng.random(n)) * span_ms + self.ms
        ids = (at.astype(np.int64) - EPOCH_MS) * IDS_PER_MS + np.arange(n) % IDS_PER_MS
        self.add_users(ids.tolist())

    def _order(self, who: Sequence[int], times: Floats) -> None:
        ids = ((times.astype(np.int64) - EPOCH_MS) * IDS_PER_MS).tolist()
        insert_orders(self._pg, ids, who, times.tolist())
        self.user_ids += who
        self.times_ms += times.tolist()


def insert_users(pg: Connection, ids: Sequence[int]) -> None:
    """Store customers who signed up when their ids say."""
    pg.execute(
        "INSERT INTO users (user_id, name, created_at)"
        " SELECT id, '김', to_timestamp((id / %s + %s) / 1000.0) FROM unnest(%s::bigint[]) AS id",
        (IDS_PER_MS, EPOCH_MS, list(ids)),
    )


def insert_orders(
    pg: Connection, ids: Sequence[int], who: Sequence[int], times_ms: Sequence[float]
) -> None:
    """Store orders and what they change of their customers, as the ingest does."""
    pg.execute(
        "INSERT INTO orders (order_id, rev, user_id, product_id, quantity, unit_price, discount,"
        " amount, payment_method, status, ordered_at, updated_at)"
        " SELECT i, 1, u, 1, 1, 10000, 0, 10000, 'CARD', 'PAID', at, at"
        " FROM (SELECT i, u, to_timestamp(t / 1000) AS at"
        " FROM unnest(%s::bigint[], %s::bigint[], %s::float8[]) AS r(i, u, t)) AS o",
        (list(ids), list(who), list(times_ms)),
    )
    pg.execute(
        "INSERT INTO users AS u (user_id, order_count, last_ordered_at)"
        " SELECT u, count(*), to_timestamp(max(t) / 1000)"
        " FROM unnest(%s::bigint[], %s::float8[]) AS r(u, t) GROUP BY u"
        " ON CONFLICT (user_id) DO UPDATE SET order_count = u.order_count + excluded.order_count,"
        " last_ordered_at = greatest(u.last_ordered_at, excluded.last_ordered_at)",
        (list(who), list(times_ms)),
    )
