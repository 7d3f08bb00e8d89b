"""Looks through all products on sale, page by page, for changes that are due.

Changes come at midnight in Seoul, and follow from the product alone (`product_changes`). The worker
reads PostgreSQL, so it finds them; the generator of products publishes them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Final

import polars as pl
import redis

from generators.behaviour import product_changes
from generators.publishing import pending_products
from shop.clock import KST, Clock
from shop.events import SCHEMAS
from shop.log import get_logger
from shop.postgres import Connection

PAGE: Final = 5_000
"""Products of a look; one takes some 30 ms."""
LOOK_EVERY_S: Final = 5.0
"""How often it is looked whether a new day has begun."""
AGAIN_S: Final = 6 * 3_600.0
"""Seconds after which a day's sweep is repeated: it finds what was lost with Redis's memory."""
_COLUMNS: Final = ", ".join(SCHEMAS["products"])
_READ: Final = (
    f"SELECT {_COLUMNS} FROM products"  # noqa: S608  (names from the event model, no input)
    " WHERE product_id > %s AND sale_status = 'LISTED' AND updated_at IS NOT NULL"
    " ORDER BY product_id LIMIT %s"
)


class ProductSweep:
    """Goes through the products once a day, and adds what is due to `life:products`.

    Args:
        r: Redis.
        clock: UTC; decides what is due.
        monotonic: seconds of a clock that never steps.
    """

    def __init__(self, r: redis.Redis, clock: Clock, monotonic: Callable[[], float]) -> None:
        self._redis = r
        self._clock = clock
        self._monotonic = monotonic
        self._next_look = float("-inf")
        self._began = float("-inf")
        self._day: date | None = None
        self._after: int | None = None
        self._found = 0

    def wanted(self) -> bool:
        """Return whether there are products to look through now.

        Raises:
            redis.RedisError: if Redis does not answer.
        """
        if self._after is not None:
            return pending_products.room(self._redis)
        now = self._monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + LOOK_EVERY_S
        day = self._clock().astimezone(KST).date()
        if day == self._day and now - self._began < AGAIN_S:
            return False
        self._day, self._began, self._after, self._found = day, now, 0, 0
        return True

    def look(self, conn: Connection) -> None:
        """Look through the next page.

        Raises:
            psycopg.Error: if PostgreSQL cannot be read; the page is read again.
            redis.RedisError: if Redis does not answer; likewise.
        """
        rows = conn.execute(_READ, (self._after or 0, PAGE)).fetchall()
        frame = pl.DataFrame(rows, schema=SCHEMAS["products"], orient="row")
        due = product_changes.due(frame, int(self._clock().timestamp() * 1_000_000))
        pending_products.add(self._redis, due)
        self._found += len(due)
        if len(rows) == PAGE:
            self._after = int(rows[-1][0])
            return
        self._after = None
        if self._found:
            get_logger().info("changes of products are due", changes=self._found)
