"""Bad data on purpose: extra messages of known kinds, each entered in a ledger.

Faults come from their own random stream and are published in addition to the good events, never in
their place: the good events are the same with and without. The kinds that must be rejected,
those that must be recognised and dropped, and those that must be stored all carry in the ledger
what the ingest is to do with them, so `jangteo faults reconcile` can compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np

from generators.portable_math import exp
from generators.random_streams import cumulative, normal, pick
from shop.clock import Clock, utc_now
from shop.events import (
    ID_FIELD,
    MAX_FUTURE,
    MAX_MESSAGE_BYTES,
    Event,
    Order,
    RejectReason,
    encode,
    key_of,
)
from shop.ids import EPOCH, IdGenerator, make_id
from shop.node_lease import FAULT_NODE

DEFAULT_RATE: Final = 0.0062
"""Faults per good event where none is given."""
STORED: Final = "stored"
IGNORED: Final = "ignored"

FaultyMessage: TypeAlias = tuple["bytes | None", bytes]


@dataclass(frozen=True)
class FaultKind:
    """One kind of fault.

    Attributes:
        name: in the ledger.
        share: relative frequency, percent of events at the default rate.
        route: a reject reason, ``stored`` or ``ignored``.
        topics: where it can happen.
    """

    name: str
    share: float
    route: str
    topics: tuple[str, ...] = ("users", "products", "orders")


_ORDERS: Final = ("orders",)
R: Final = RejectReason
KINDS: Final[tuple[FaultKind, ...]] = (
    FaultKind("truncated_json", 0.08, R.BAD_JSON.value),
    FaultKind("missing_field", 0.08, R.MISSING_FIELD.value),
    FaultKind("wrong_type", 0.07, R.WRONG_TYPE.value),
    FaultKind("unknown_value", 0.05, R.UNKNOWN_VALUE.value, ("users", "orders")),
    FaultKind("unknown_version", 0.05, R.UNKNOWN_VERSION.value),
    FaultKind("orphan_customer", 0.05, STORED, _ORDERS),
    FaultKind("orphan_product", 0.04, STORED, _ORDERS),
    FaultKind("bad_quantity", 0.04, R.OUT_OF_RANGE.value, _ORDERS),
    FaultKind("wrong_amount", 0.05, R.WRONG_AMOUNT.value, _ORDERS),
    FaultKind("before_sign_up", 0.03, R.BEFORE_SIGN_UP.value, _ORDERS),
    FaultKind("far_future", 0.03, R.OUT_OF_RANGE.value),
    FaultKind("euc_kr", 0.02, R.BAD_ENCODING.value),
    FaultKind("null_key", 0.02, R.NULL_KEY.value),
    FaultKind("oversize", 0.01, R.OVERSIZE.value),
    FaultKind("duplicate", 0.10, IGNORED),
    FaultKind("newer_version", 0.03, STORED, _ORDERS),
    FaultKind("late", 1.0, STORED, _ORDERS),
    FaultKind("out_of_order", 0.3, STORED, _ORDERS),
    FaultKind("status_before_creation", 0.05, STORED, _ORDERS),
    FaultKind("reused_id", 0.02, R.OTHER_CONTENT.value, _ORDERS),
)
"""Shares: percent of events, the first 14 add up to .62. The last is an order of its own, which is
stored, and behind it another one with its id, which must be rejected. Orphans are stored: by
design an order may arrive before its customer or product, whose row then starts as a stub."""
LATE_S: Final = (30.0, 2.35)
"""Median and log-sd of how late an event is, seconds: 99 % come within two hours."""


class FaultGenerator:
    """Makes faulty messages out of good events.

    Args:
        topic: of all of them.
        rate: faults of the first 14 kinds per good event; the others in proportion.
        rng: the stream of the faults, apart from all others.
        clock: UTC.
        ids: those that faults need; by default of the node that is for them, unleased.
    """

    def __init__(
        self,
        topic: str,
        rate: float,
        rng: np.random.Generator,
        *,
        clock: Clock = utc_now,
        ids: IdGenerator | None = None,
    ) -> None:
        self._rng = rng
        self._clock = clock
        self._ids = ids or IdGenerator(FAULT_NODE, lambda: round(clock().timestamp() * 1e9))
        self._kinds = [k for k in KINDS if topic in k.topics]
        self._shares = cumulative([k.share for k in self._kinds])
        self._per_event = rate / DEFAULT_RATE * sum(k.share for k in self._kinds) / 100

    def positions(self, n: int) -> list[tuple[int, FaultKind]]:
        """Return the faults among the next `n` good events: position and kind.

        Events and kinds depend on the stream alone, not on how many are made at a time.
        """
        u = self._rng.random((n, 2))
        rows = np.flatnonzero(u[:, 0] < self._per_event)
        kinds = pick(u[rows, 1], self._shares)
        return [(i, self._kinds[k]) for i, k in zip(rows.tolist(), kinds.tolist(), strict=True)]

    def messages(
        self, kind: FaultKind, topic: str, event: Event
    ) -> Iterator[tuple[FaultyMessage, int, str]]:
        """Return a fault's messages, each with the id that it is about and its route."""
        if kind.name in _MESSAGE:
            message = (key_of(topic, event), encode(event))
            id_ = int(getattr(event, ID_FIELD[topic]))
            yield _MESSAGE[kind.name](message, topic, self._clock()), id_, kind.route
            return
        assert isinstance(event, Order)  # noqa: S101  (the table says so)
        for n, changed in enumerate(self._orders(kind.name, event)):
            route = STORED if kind.name == "reused_id" and n == 0 else kind.route
            yield (key_of(topic, changed), encode(changed)), changed.order_id, route

    def _orders(self, name: str, event: Order) -> Iterator[Order]:
        """Orders of their own, so that the good ones stay as they are."""
        own = msgspec.structs.replace(event, order_id=self._ids())
        second = msgspec.structs.replace(own, rev=2, status="CANCELLED")
        if name == "orphan_customer":
            yield msgspec.structs.replace(own, user_id=self._ids())
        elif name == "orphan_product":
            yield msgspec.structs.replace(own, product_id=self._ids())
        elif name == "late":
            yield self._earlier(own, self._lateness())
        elif name == "out_of_order":
            yield own
            yield self._earlier(msgspec.structs.replace(own, order_id=self._ids()), 1.0)
        elif name == "reused_id":
            yield own
            yield msgspec.structs.replace(own, scenario="reused_id")
        else:
            yield from (own, second) if name == "newer_version" else (second, own)

    def _lateness(self) -> float:
        u = self._rng.random(1)
        median, spread = LATE_S
        return median * float(exp(spread * normal(u))[0])

    def _earlier(self, order: Order, seconds: float) -> Order:
        then = order.ordered_at - timedelta(seconds=min(seconds, 12 * 3_600))
        return msgspec.structs.replace(order, ordered_at=then, updated_at=then)


# -- how each message is spoilt ----------------------------------------------------------------


def _changed(message: FaultyMessage, **changes: Any) -> FaultyMessage:
    key, value = message
    fields = msgspec.json.decode(value)
    fields.update(changes)
    return key, msgspec.json.encode({k: v for k, v in fields.items() if v is not ...})


def _truncated(message: FaultyMessage, _topic: str, _now: datetime) -> FaultyMessage:
    key, value = message
    return key, value[: len(value) * 2 // 3]


def _missing(message: FaultyMessage, topic: str, _now: datetime) -> FaultyMessage:
    return _changed(message, **{_TEXT[topic]: ...})


def _wrong_type(message: FaultyMessage, topic: str, _now: datetime) -> FaultyMessage:
    return _changed(message, **{_NUMBER[topic]: "many"})


def _unknown_value(message: FaultyMessage, topic: str, _now: datetime) -> FaultyMessage:
    return _changed(message, **({"gender": "X"} if topic == "users" else {"status": "LOST"}))


def _unknown_version(message: FaultyMessage, _topic: str, _now: datetime) -> FaultyMessage:
    return _changed(message, v=99)


def _bad_quantity(message: FaultyMessage, _topic: str, _now: datetime) -> FaultyMessage:
    fields = msgspec.json.decode(message[1])
    quantity = 0 if fields["order_id"] % 2 else 1_000
    amount = max(0, quantity * fields["unit_price"] - fields["discount"])
    return _changed(message, quantity=quantity, amount=amount)


def _wrong_amount(message: FaultyMessage, _topic: str, _now: datetime) -> FaultyMessage:
    return _changed(message, amount=msgspec.json.decode(message[1])["amount"] + 10)


def _before_sign_up(message: FaultyMessage, _topic: str, now: datetime) -> FaultyMessage:
    """An order of last week by a customer who signs up now."""
    user_id = make_id(int((now - EPOCH) / timedelta(milliseconds=1)), FAULT_NODE)
    then = (now - timedelta(days=7)).isoformat().replace("+00:00", "Z")
    changed = _changed(message, user_id=user_id, ordered_at=then)
    return str(user_id).encode(), changed[1]


def _far_future(message: FaultyMessage, topic: str, now: datetime) -> FaultyMessage:
    then = (now + MAX_FUTURE + timedelta(days=2)).isoformat().replace("+00:00", "Z")
    return _changed(message, **{"ordered_at" if topic == "orders" else "created_at": then})


def _euc_kr(message: FaultyMessage, topic: str, _now: datetime) -> FaultyMessage:
    key, value = _changed(message, **{_TEXT[topic]: "한국어"})
    return key, value.decode().encode("euc-kr")


def _null_key(message: FaultyMessage, _topic: str, _now: datetime) -> FaultyMessage:
    return None, message[1]


def _oversize(message: FaultyMessage, topic: str, _now: datetime) -> FaultyMessage:
    filler = "x" * (MAX_MESSAGE_BYTES + 1 - len(message[1]))
    return _changed(message, **{_TEXT[topic]: filler + "y" * 64})


def _duplicate(message: FaultyMessage, _topic: str, _now: datetime) -> FaultyMessage:
    return message


_TEXT: Final = {"users": "name", "products": "name", "orders": "payment_method"}
_NUMBER: Final = {"users": "birth_year", "products": "price", "orders": "quantity"}
_MESSAGE: Final[dict[str, Callable[[FaultyMessage, str, datetime], FaultyMessage]]] = {
    "truncated_json": _truncated,
    "missing_field": _missing,
    "wrong_type": _wrong_type,
    "unknown_value": _unknown_value,
    "unknown_version": _unknown_version,
    "bad_quantity": _bad_quantity,
    "wrong_amount": _wrong_amount,
    "before_sign_up": _before_sign_up,
    "far_future": _far_future,
    "euc_kr": _euc_kr,
    "null_key": _null_key,
    "oversize": _oversize,
    "duplicate": _duplicate,
}
