"""Events, batches and faults for the tests of the ingest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from flows.batch import OffsetRange, RawBatch
from shop.clock import UTC
from shop.events import Event, Order, Product, User, encode, key_of
from shop.ids import EPOCH, make_id

NOW = datetime(2026, 3, 4, 5, 6, 7, 890_123, tzinfo=UTC)


def order(order_id: int = 1, **changes: Any) -> Order:
    fields: dict[str, Any] = {
        "v": 1,
        "order_id": order_id,
        "rev": 1,
        "user_id": 7,
        "product_id": 70,
        "quantity": 2,
        "unit_price": 1_000,
        "discount": 0,
        "payment_method": "CARD",
        "status": "PAID",
        "scenario": None,
        "ordered_at": NOW,
        "updated_at": NOW,
        **changes,
    }
    fields.setdefault("amount", fields["quantity"] * fields["unit_price"] - fields["discount"])
    return Order(**fields)


def user(user_id: int = 7, **changes: Any) -> User:
    return User(**{
        "v": 1, "user_id": user_id, "name": "김서연", "email": "a@example.com", "gender": "F",
        "birth_year": 1990, "city": "서울특별시 노원구", "created_at": NOW, **changes,
    })  # fmt: skip


def product(product_id: int = 70, **changes: Any) -> Product:
    return Product(**{
        "v": 1, "product_id": product_id, "name": "머그컵, \"큰\"", "category": "주방",
        "brand": "온담", "price": 12_900, "created_at": NOW, **changes,
    })  # fmt: skip


SAMPLE: dict[str, Event] = {"users": user(), "products": product(), "orders": order()}

Message = tuple[bytes | None, bytes | None]

_LATER = make_id(int((NOW - EPOCH + timedelta(hours=24, milliseconds=2)).total_seconds() * 1000))
"""The id of a customer who signed up a day and a moment after the sample's order."""


def message(topic: str, event: Event) -> Message:
    return key_of(topic, event), encode(event)


def raw_batch(
    topic: str,
    messages: Sequence[Message],
    *,
    start: int = 0,
    partition: int = 0,
    log_id: str = "log-1",
) -> RawBatch:
    """A batch of one partition with consecutive offsets from `start`."""
    n = len(messages)
    return RawBatch(
        topic=topic,
        log_id=log_id,
        spans={partition: OffsetRange(start, start + n)},
        partitions=[partition] * n,
        offsets=list(range(start, start + n)),
        keys=[k for k, _ in messages],
        payloads=[p for _, p in messages],
    )


def orders_batch(orders: Iterable[Order], **where: Any) -> RawBatch:
    return raw_batch("orders", [message("orders", o) for o in orders], **where)


def changed(event: Event, **fields: Any) -> bytes:
    """The JSON of an event with fields replaced by anything; None of them removed by `...`."""
    plain = msgspec.to_builtins(event)
    plain.update(fields)
    return msgspec.json.encode({k: v for k, v in plain.items() if v is not ...})


def poison(event: Order, now: datetime = NOW) -> dict[str, Message]:
    """Messages of every faulty kind, named by the reason they are to be rejected for."""
    key, good = message("orders", event)
    ahead = (now + timedelta(hours=25)).isoformat().replace("+00:00", "Z")
    return {
        "empty": (key, b""),
        "empty.tombstone": (key, None),
        "oversize": (key, changed(event, note="x" * 1_000_001)),
        "bad_encoding": (key, good.replace(b'"CARD"', '"카드"'.encode("euc-kr"))),
        "bad_encoding.surrogate": (key, good.replace(b'"CARD"', b'"\\ud800"')),
        "bad_json": (key, good[: len(good) // 2]),
        "bad_json.trailing": (key, good + b"}"),
        "bad_json.two": (key, good + good),
        "bad_json.newline": (key, good + b"\n" + good),
        "bad_json.garbage": (key, b"\x00\x01\x02"),
        "unknown_version": (key, changed(event, v=2)),
        "unknown_version.missing": (key, changed(event, v=...)),
        "missing_field": (key, changed(event, amount=...)),
        "wrong_type": (key, changed(event, quantity="2")),
        "wrong_type.float": (key, changed(event, quantity=2.5)),
        "wrong_type.bool": (key, changed(event, quantity=True)),
        "wrong_type.null": (key, changed(event, status=None)),
        "wrong_type.array": (key, b"[" + good + b"]"),
        "wrong_type.time": (key, changed(event, ordered_at="yesterday")),
        "wrong_type.naive": (key, changed(event, ordered_at="2026-03-04T05:06:07")),
        "unknown_value": (key, changed(event, payment_method="GOLD")),
        "out_of_range": (key, changed(event, quantity=0)),
        "out_of_range.large": (key, changed(event, order_id=2**53)),
        "out_of_range.huge": (key, changed(event, order_id=10**30)),
        "out_of_range.future": (key, changed(event, ordered_at=ahead)),
        "out_of_range.slug": (key, changed(event, scenario="Not A Slug")),
        "out_of_range.slug_newline": (key, changed(event, scenario="slug\n")),
        "wrong_amount": (key, changed(event, amount=1)),
        "before_sign_up": (b"%d" % _LATER, changed(event, user_id=_LATER)),
        "null_key": (None, good),
        "key_mismatch": (b"8", good),
        "key_mismatch.text": (b"\xff", good),
    }
