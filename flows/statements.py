"""The SQL of a batch's transaction; `flows.transaction` runs it."""

from __future__ import annotations

from functools import cache
from typing import Final

import polars as pl

from flows import rollups
from shop.events import ID_FIELD, SCHEMAS, TOPICS
from shop.optional.registry import OPTIONAL
from shop.postgres.binary_copy import NARROW

_SESSION: Final = f"""
CREATE TEMP TABLE IF NOT EXISTS stage_orders
    (LIKE orders INCLUDING DEFAULTS INCLUDING CONSTRAINTS) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS stage_users
    (LIKE users INCLUDING DEFAULTS INCLUDING CONSTRAINTS) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS stage_products
    (LIKE products INCLUDING DEFAULTS INCLUDING CONSTRAINTS) ON COMMIT DELETE ROWS;
CREATE TEMP TABLE IF NOT EXISTS stage_user_spend_windows
    (LIKE user_spend_windows INCLUDING DEFAULTS) ON COMMIT DELETE ROWS;
{rollups.SESSION};
"""


def session(topic: str) -> str:
    """Return what makes the staging tables of a session that stores a topic."""
    if topic in TOPICS:
        return _SESSION
    return (
        f"CREATE TEMP TABLE IF NOT EXISTS stage_{topic}"
        f" (LIKE {topic} INCLUDING DEFAULTS INCLUDING CONSTRAINTS) ON COMMIT DELETE ROWS"
    )


_ORDER_COLUMNS: Final = ", ".join(SCHEMAS["orders"])
LOCK_ORDERS: Final = (
    f"SELECT {_ORDER_COLUMNS} FROM orders"  # noqa: S608  (as below)
    " WHERE order_id = ANY(%s) ORDER BY order_id FOR UPDATE"
)
# What is not locked is inserted or left alone; `xmax` would tell the two apart, but a partitioned
# table does not return it.
MERGE_ORDERS: Final = f"""
INSERT INTO orders AS o ({_ORDER_COLUMNS})
SELECT {_ORDER_COLUMNS} FROM stage_orders ORDER BY order_id
ON CONFLICT (order_id) DO UPDATE
SET ({_ORDER_COLUMNS}) = ROW({", ".join(f"excluded.{c}" for c in SCHEMAS["orders"])}),
    changed_at = now()
WHERE o.rev < excluded.rev AND o.order_id = ANY(%s)
RETURNING order_id
"""  # noqa: S608  (column names of the model, nothing from outside)


def _merge(topic: str, when: str) -> str:
    columns = list(SCHEMAS[topic])
    id_field, *profile = columns
    return f"""
INSERT INTO {topic} AS t ({", ".join(columns)})
SELECT {", ".join(columns)} FROM stage_{topic} ORDER BY {id_field}
ON CONFLICT ({id_field}) DO UPDATE
SET {", ".join(f"{c} = excluded.{c}" for c in profile)}, changed_at = now()
WHERE {when}
RETURNING {id_field}
"""  # noqa: S608  (as above)


MERGE_PROFILES: Final = {
    "users": _merge("users", "t.created_at IS NULL"),
    "products": _merge("products", "t.created_at IS NULL OR t.rev < excluded.rev"),
}
PROFILES: Final = {
    topic: f"SELECT {', '.join(SCHEMAS[topic])} FROM {topic} WHERE {ID_FIELD[topic]} = ANY(%s)"  # noqa: S608  (as above)
    for topic in ("users", "products", *OPTIONAL)
}
MERGE_OPTIONAL: Final = {
    name: _merge(name, "t.rev < excluded.rev" if topic.revised else "false")
    for name, topic in OPTIONAL.items()
}

# In key order, as the frames are: two workers that touch the same rows then queue, not deadlock.
MERGE_WINDOWS: Final = """
INSERT INTO user_spend_windows AS w (window_start, user_id, orders, spend)
SELECT window_start, user_id, orders, spend FROM stage_user_spend_windows
ON CONFLICT (window_start, user_id) DO UPDATE
SET orders = w.orders + excluded.orders, spend = w.spend + excluded.spend, changed_at = now()
"""
# Inserts and updates without locking each row first, in half the time where each order has a window
# row of its own: 60 days of old event times took 8.0 microseconds of PostgreSQL's CPU an order
# instead of 10.6. A row that another session inserts meanwhile is a unique violation here.
# PostgreSQL 15 and later. No bounds of all windows, though they would leave fewer partitions: by
# statistics that do not know the newest rows yet, the planner then scans that range for each row.
FAST_MERGE_WINDOWS: Final = """
MERGE INTO user_spend_windows AS w USING stage_user_spend_windows AS s
ON w.window_start = s.window_start AND w.user_id = s.user_id
WHEN MATCHED THEN UPDATE
SET orders = w.orders + s.orders, spend = w.spend + s.spend, changed_at = now()
WHEN NOT MATCHED THEN INSERT (window_start, user_id, orders, spend)
VALUES (s.window_start, s.user_id, s.orders, s.spend)
"""
# By its index, in key order: a hash join would read all of a large table for the rows of a batch.
BY_INDEX: Final = """
SELECT set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)
"""
MERGE_USERS: Final = """
INSERT INTO users AS u (user_id, order_count, total_spent, last_ordered_at)
SELECT user_id, order_count, total_spent, last_ordered_at FROM stage_users
ON CONFLICT (user_id) DO UPDATE
SET order_count = u.order_count + excluded.order_count,
    total_spent = u.total_spent + excluded.total_spent,
    last_ordered_at = greatest(u.last_ordered_at, excluded.last_ordered_at),
    changed_at = now()
"""
MERGE_PRODUCTS: Final = """
INSERT INTO products AS p (product_id, order_count)
SELECT product_id, order_count FROM stage_products
ON CONFLICT (product_id) DO UPDATE
SET order_count = p.order_count + excluded.order_count, changed_at = now()
"""

_COUNTED: Final[dict[str, dict[str, pl.DataType]]] = {
    "user_spend_windows": {"window_start": pl.Datetime(), "user_id": pl.Int64(),
                           "orders": pl.Int32(), "spend": pl.Int64()},
    "users": {"last_ordered_at": pl.Datetime(), "order_count": pl.Int32(),
              "total_spent": pl.Int64()},
    "products": {"order_count": pl.Int32()},
}  # fmt: skip
_TYPES: Final = {
    "Int16": "smallint",
    "Int32": "integer",
    "Int64": "bigint",
    "Datetime": "timestamptz",
    "String": "text",
}


@cache
def columns(topic: str) -> tuple[list[str], list[str], list[str]]:
    """Return tables, columns and their types: what is written where a topic is stored."""
    tables = (*TOPICS, "user_spend_windows") if topic in TOPICS else (topic,)
    found = []
    for table in tables:
        kinds = {**SCHEMAS.get(table, {}), **_COUNTED.get(table, {}), **NARROW[table]}
        found += [(table, c, _TYPES[str(kind.base_type())]) for c, kind in kinds.items()]
    names, fields, types = map(list, zip(*found, strict=True))
    return names, fields, types


# The binary format has no types: 8 bytes of a bigint are a double precision, too, of another value.
# Asked after the rows were written, which keeps others from changing a type until we commit.
OTHER_TYPES: Final = """
SELECT DISTINCT format('%%s.%%s is %%s, not %%s', d.name, d.col,
                       format_type(a.atttypid, a.atttypmod), d.type)
FROM unnest(%s::text[], %s::text[], %s::text[]) AS d (name, col, type)
JOIN pg_attribute AS a ON a.attrelid = to_regclass(d.name) AND a.attname = d.col
JOIN pg_type AS t ON t.oid = a.atttypid
WHERE coalesce(nullif(t.typbasetype, 0), t.oid) <> to_regtype(d.type)
  AND NOT (d.type = 'text' AND t.typcategory IN ('S', 'E'))
ORDER BY 1
"""
