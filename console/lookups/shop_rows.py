"""Customers, orders, products, grades and dead letters, from PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from psycopg.rows import dict_row

from console.lookups import texts
from console.lookups.details import DetailRow, Ref, as_text, heading, in_hex, named, place
from console.text import printable
from console.translations import Text, word
from shop import ids, postgres
from shop.clock import KST
from shop.events import CONTRACTS, ID_FIELD
from shop.messages import fault_location
from shop.messages.fault_location import Fault
from shop.postgres import Connection
from shop.settings import Settings

STATEMENT_MS: Final = 3_000
"""Longest time of one query: a table without an index for it is not read to its end."""
MOST_ROWS: Final = 50
_TABLES: Final = (("customer", "users", "user_id"), ("order", "orders", "order_id"),
                  ("product", "products", "product_id"))  # fmt: skip
_CUSTOMER: Final = "SELECT * FROM users WHERE user_id = %s LIMIT 1"
_PRODUCT: Final = "SELECT * FROM products WHERE product_id = %s LIMIT 1"
_ORDER: Final = "SELECT * FROM orders WHERE order_id = %s LIMIT 1"
_HISTORY: Final = """
    SELECT as_of, from_grade, to_grade, cumulative_spend FROM grade_history
    WHERE user_id = %s ORDER BY as_of DESC LIMIT %s
"""
_WINDOWS: Final = """
    SELECT window_start, orders, spend FROM user_spend_windows
    WHERE user_id = %s ORDER BY window_start DESC LIMIT %s
"""
_ORDERS: Final = """
    SELECT order_id, rev, status, amount, product_id, ordered_at FROM orders
    WHERE user_id = %s AND ordered_at >= %s ORDER BY ordered_at DESC LIMIT %s
"""
_SOLD: Final = """
    SELECT order_id, rev, status, amount, user_id, ordered_at FROM orders
    WHERE product_id = %s AND ordered_at >= now() - interval '1 day'
    ORDER BY ordered_at DESC LIMIT %s
"""
_MEMBERS: Final = """
    SELECT user_id, name, total_spent, order_count FROM (
        SELECT * FROM users WHERE grade = %(grade)s ORDER BY user_id DESC LIMIT %(newest)s
    ) newest ORDER BY total_spent DESC LIMIT %(most)s
"""
NEWEST_MEMBERS: Final = 5_000
"""Customers of a grade of which those who spent most are found."""
_LETTER: Final = """
    SELECT reason, field, detail, key, payload, rejected_at, replayed_at FROM rejected_messages
    WHERE topic = %s AND partition = %s AND "offset" = %s ORDER BY rejected_at DESC LIMIT 1
"""
_LETTERS_ABOUT: Final = """
    SELECT topic, partition, "offset", reason, detail FROM (
        SELECT * FROM rejected_messages ORDER BY rejected_at DESC LIMIT 10000
    ) newest WHERE reason = %(text)s OR key = convert_to(%(text)s, 'UTF8')
        OR position(convert_to(%(text)s, 'UTF8') IN payload) > 0
            AND encode(payload, 'escape') ~ %(pattern)s
    LIMIT %(most)s
"""
"""Among the newest ten thousand: the payloads have no index."""
_STORED: Final = {
    topic: f"SELECT {'rev' if 'rev' in event.__struct_fields__ else 'NULL::int'} FROM {topic}"  # noqa: S608  (names of our own)
    f" WHERE {ID_FIELD[topic]} = %s LIMIT 1"
    for topic, event in CONTRACTS.items()
}
HOURS: Final = 24
_SALES: Final = """
    SELECT s.hour, s.orders, s.spend,
           s.orders / nullif((SELECT sum(a.orders) FROM sales_by_hour a WHERE a.hour = s.hour), 0)
    FROM sales_by_hour s
    WHERE s.scenario = %s AND s.hour >= now() - interval '30 days'
    ORDER BY s.hour DESC LIMIT %s
"""
_APPLIED: Final = """
    SELECT max(next_offset) FROM ingest_offsets WHERE topic = %s AND partition = %s LIMIT 1
"""


class ShopRows:
    """Reads rows of the shop; one connection, for one look-up.

    Args:
        settings: where PostgreSQL is.
    """

    def __init__(self, settings: Settings) -> None:
        self._conn: Connection = postgres.connect(
            settings.postgres, "console-lookup", autocommit=True, timeout=5
        )
        self._conn.execute(b"SET default_transaction_read_only = on")
        self._conn.execute(f"SET statement_timeout = {STATEMENT_MS:d}".encode())

    def close(self) -> None:
        """Close the connection."""
        self._conn.close()

    def _rows(self, query: str, values: Any) -> list[tuple[Any, ...]]:
        return self._conn.execute(query.encode(), values).fetchall()

    def _row(self, query: str, number: int) -> dict[str, Any] | None:
        """Return the row of an id with the names of its columns, in their order."""
        cursor = self._conn.cursor(row_factory=dict_row)
        return cursor.execute(query.encode(), (number,)).fetchone()

    def kinds_of(self, number: int) -> list[Ref]:
        """Return the customer, order and product that have this id."""
        return [
            Ref(kind, str(number))
            for kind, table, column in _TABLES
            if self._rows(f"SELECT 1 FROM {table} WHERE {column} = %s LIMIT 1", (number,))  # noqa: S608  (names of our own)
        ]

    def customer(self, user_id: int) -> Iterator[DetailRow]:
        """Yield profile, orders, grade history and windows of a customer."""
        profile = self._row(_CUSTOMER, user_id)
        if profile is None:
            yield _no_row("users")
            return
        yield from _fields(profile, {"grade": "grade"})
        windows = self._rows(_WINDOWS, (user_id, MOST_ROWS))
        yield heading("orders")
        if windows:
            oldest = windows[-1][0]
            for order, rev, status, amount, product, at in self._rows(
                _ORDERS, (user_id, oldest, MOST_ROWS)
            ):
                text = texts.ORDER_OF_CUSTOMER(
                    at=_time(at), amount=f"{amount:>9,}", status=f"{status:<9}", rev=rev,
                    product=product,
                )  # fmt: skip
                yield named(str(order), text, Ref("order", str(order)))
        yield heading("grade history")
        for at, before, after, spend in self._rows(_HISTORY, (user_id, MOST_ROWS)):
            text = texts.GRADE_CHANGE(before=before, after=after, spend=f"{spend:,}")
            yield named(_time(at), text, Ref("grade", after))
        yield heading("windows")
        for at, orders, spend in windows:
            text = texts.SPEND(orders=texts.ORDERS(count=orders), spend=f"{spend:>9,}")
            yield named(_time(at), text)

    def order(self, order_id: int) -> Iterator[DetailRow]:
        """Yield the row of an order."""
        order = self._row(_ORDER, order_id)
        if order is None:
            yield _no_row("orders")
            return
        refs = {"user_id": "customer", "product_id": "product", "scenario": "scenario"}
        yield from _fields(order, refs)

    def product(self, product_id: int) -> Iterator[DetailRow]:
        """Yield a product and its orders of the last day."""
        product = self._row(_PRODUCT, product_id)
        if product is None:
            yield _no_row("products")
            return
        yield from _fields(product, {})
        yield heading("orders of the last day")
        for order, rev, status, amount, user, at in self._rows(_SOLD, (product_id, MOST_ROWS)):
            text = texts.ORDER_OF_PRODUCT(
                at=_time(at), amount=f"{amount:>9,}", status=f"{status:<9}", rev=rev, customer=user
            )
            yield named(str(order), text, Ref("order", str(order)))

    def grade(self, name: str) -> Iterator[DetailRow]:
        """Yield the customers of a grade who spent most, of the newest ones."""
        asked = {"grade": name, "newest": NEWEST_MEMBERS, "most": MOST_ROWS}
        yield DetailRow("customers", texts.SPENT_MOST(count=f"{NEWEST_MEMBERS:,}"))
        for user, person, spent, orders in self._rows(_MEMBERS, asked):
            text = texts.MEMBER_OF_GRADE(
                name=person or "-", spend=f"{spent:>9,}", orders=texts.ORDERS(count=orders)
            )
            yield named(str(user), text, Ref("customer", str(user)))

    def letter(self, ref: Ref) -> Iterator[DetailRow]:
        """Yield a dead letter with its bytes."""
        found = self._rows(_LETTER, ref.place)
        if not found:
            yield _no_row("rejected_messages")
            return
        reason, field, detail, key, payload, rejected, replayed = found[0]
        payload = payload or b""
        fault = fault_location.locate(reason, field, detail, payload) if payload else None
        yield DetailRow("reason", reason + (f" {field}" if field else ""), wrong=True)
        yield DetailRow("detail", printable(detail), wrong=True)
        yield DetailRow("rejected_at", _time(rejected))
        yield DetailRow("replayed_at", _time(replayed) if replayed else "-")
        yield DetailRow("key", "-" if key is None else printable(key.decode(errors="replace")))
        if fault is not None:
            yield DetailRow("fault", texts.fault(fault.comment, field), wrong=True)
        yield as_text(payload, fault)
        yield heading("bytes")
        yield from in_hex(payload, fault)

    def fault_of(self, ref: Ref) -> tuple[str, Fault | None] | None:
        """Return why a message was rejected, and which of its bytes are at fault; None: it was not.

        Args:
            ref: the message.
        """
        found = self._rows(_LETTER, ref.place)
        if not found:
            return None
        reason, field, detail, _, payload, *_ = found[0]
        fault = fault_location.locate(reason, field, detail, payload) if payload else None
        return printable(f"{reason}: {detail}"), fault

    def stored(self, topic: str, number: int) -> tuple[int | None] | None:
        """Return the revision of the row that a topic's id has; None: there is no such row.

        The revision is None where the rows of the topic have none.
        """
        found = self._rows(_STORED[topic], (number,))
        return (found[0][0],) if found else None

    def sales_of(self, scenario: str) -> Iterator[DetailRow]:
        """Yield what a scenario sold in each of the newest hours in which it ran."""
        for hour, orders, spend, share in self._rows(_SALES, (scenario, HOURS)):
            text = texts.ORDERS_SOLD(
                orders=texts.ORDERS(count=f"{orders:>6,}"),
                spend=f"{spend:>12,}",
                share=f"{100 * share:>3.0f}",
            )
            yield named(_time(hour), text)

    def letters_about(self, text: str) -> Iterator[DetailRow]:
        """Yield the dead letters, among the newest ten thousand, that contain a text.

        A number is no part of another number; a text may be the reason, too.
        """
        pattern = f"(^|[^0-9]){text}([^0-9]|$)" if re.fullmatch("[0-9]+", text) else ""
        values = {"text": text, "pattern": pattern, "most": MOST_ROWS}
        for topic, partition, offset, reason, detail in self._rows(_LETTERS_ABOUT, values):
            key = place(topic, partition, offset)
            said = printable(f"{reason}: {detail}")
            yield DetailRow(key, said, Ref("letter", key), wrong=True, name=True)

    def applied(self, topic: str, partition: int) -> int | None:
        """Return the offset that PostgreSQL has applied; None if it has none of the partition."""
        found = self._rows(_APPLIED, (topic, partition))
        return None if not found or found[0][0] is None else int(found[0][0])


def made_at(number: int) -> datetime | None:
    """Return when an id was made, which the id itself says; None if it says a time to come."""
    try:
        return ids.time_of(number)
    except (OverflowError, ValueError):
        return None


def _no_row(table: str) -> DetailRow:
    return DetailRow(table, word("no such row"), wrong=True, name=True)


def _fields(row: dict[str, Any], refs: dict[str, str]) -> Iterator[DetailRow]:
    for name, value in row.items():
        text: Text = printable(str(value))
        if value is None:
            text = "-"
        elif isinstance(value, datetime):
            text = _time(value)
        elif name in _AMOUNTS:
            text = texts.KRW(amount=f"{value:,}")
        elif name == "order_count":
            text = f"{value:,}"
        ref = Ref(refs[name], str(value)) if name in refs and value is not None else None
        yield named(name, text, ref)


_AMOUNTS: Final[Sequence[str]] = ("amount", "unit_price", "discount", "total_spent", "price")


def _time(at: datetime) -> str:
    return f"{at.astimezone(KST):%Y-%m-%d %H:%M:%S} KST"
