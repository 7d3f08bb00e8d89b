"""The contract of events: what goes in comes out, and every way to be wrong has its reason."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop import events as shop_events
from shop.clock import UTC
from shop.events import Order, Product, Rejection, RejectReason, User, decode, encode
from shop.ids import EPOCH, MAX_ID, make_id
from shop.optional.fields import MAX_KRW

NOW = datetime(2026, 11, 23, 3, tzinfo=UTC)

_ids = st.integers(1, MAX_ID)
_krw = st.integers(0, MAX_KRW)
_texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=200
)
_instants = st.integers(0, int((NOW - EPOCH).total_seconds() * 1_000_000)).map(
    lambda us: EPOCH + timedelta(microseconds=us)
)
_slugs = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,63}\Z", fullmatch=True)

users = st.builds(
    User,
    v=st.just(1),
    user_id=_ids,
    name=_texts,
    email=_texts,
    gender=st.sampled_from("FM"),
    birth_year=st.integers(1900, 2100),
    city=_texts,
    created_at=_instants,
)
products = st.builds(
    Product,
    v=st.just(1),
    product_id=_ids,
    name=_texts,
    category=_texts,
    brand=_texts,
    price=_krw,
    created_at=_instants,
)


@st.composite
def orders(draw: st.DrawFn) -> Order:
    quantity = draw(st.integers(1, 999))
    unit_price = draw(st.integers(0, MAX_KRW // 999))
    discount = draw(st.integers(0, quantity * unit_price))
    ordered_at = draw(_instants)
    # The id carries the sign-up, which an order cannot come before.
    newest_user = make_id(int((ordered_at - EPOCH) / timedelta(milliseconds=1)), 15, 255)
    return Order(
        v=1,
        order_id=draw(_ids),
        rev=draw(st.integers(1, 32_767)),
        user_id=draw(st.integers(1, newest_user)),
        product_id=draw(_ids),
        quantity=quantity,
        unit_price=unit_price,
        discount=discount,
        amount=quantity * unit_price - discount,
        payment_method=draw(st.sampled_from(shop_events.PAYMENT_METHODS)),  # type: ignore[arg-type]  # the strategy is wider than the literal
        status=draw(st.sampled_from(shop_events.ORDER_STATUSES)),  # type: ignore[arg-type]  # the strategy is wider than the literal
        scenario=draw(st.none() | _slugs),
        ordered_at=ordered_at,
        updated_at=draw(_instants),
    )


events = st.one_of(
    st.tuples(st.just("users"), users),
    st.tuples(st.just("products"), products),
    st.tuples(st.just("orders"), orders()),
)


@given(events)
def test_what_is_encoded_is_decoded_the_same(pair: tuple[str, shop_events.Event]) -> None:
    topic, event = pair
    assert decode(topic, shop_events.key_of(topic, event), encode(event), now=NOW) == event


@given(events)
def test_the_row_fits_the_schema(pair: tuple[str, shop_events.Event]) -> None:
    topic, event = pair
    frame = pl.DataFrame([shop_events.as_row(event)], schema=shop_events.SCHEMAS[topic])
    assert frame.row(0, named=True) == shop_events.as_row(event)


@given(events, st.data())
def test_a_cut_message_is_bad_json(
    pair: tuple[str, shop_events.Event], data: st.DataObject
) -> None:
    topic, event = pair
    payload = encode(event)
    cut = payload[: data.draw(st.integers(1, len(payload) - 1))]
    with pytest.raises(Rejection) as e:
        decode(topic, b"1", cut, now=NOW)
    assert e.value.reason in (RejectReason.BAD_JSON, RejectReason.BAD_ENCODING)


@given(st.sampled_from(list(shop_events.TOPICS)), st.none() | st.binary(max_size=20), st.binary())
def test_any_bytes_are_an_event_or_a_rejection(topic: str, key: bytes, payload: bytes) -> None:
    with pytest.raises(Rejection):
        decode(topic, key, payload, now=NOW)


@given(
    st.sampled_from(list(shop_events.TOPICS)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    ),
)
def test_any_json_is_an_event_or_a_rejection(topic: str, value: Any) -> None:
    with pytest.raises(Rejection):
        decode(topic, b"1", json.dumps(value).encode(), now=NOW)


ORDER: dict[str, Any] = {
    "v": 1,
    "order_id": 5,
    "rev": 1,
    "user_id": 7,
    "product_id": 9,
    "quantity": 2,
    "unit_price": 10_000,
    "discount": 500,
    "amount": 19_500,
    "payment_method": "CARD",
    "status": "PAID",
    "scenario": None,
    "ordered_at": "2026-11-23T01:00:00Z",
    "updated_at": "2026-11-23T01:00:00Z",
}


def _order(**changes: Any) -> bytes:
    return json.dumps({**ORDER, **changes}, ensure_ascii=False).encode()


def _without(name: str) -> bytes:
    return json.dumps({k: v for k, v in ORDER.items() if k != name}).encode()


_USER = msgspec.json.encode(
    {
        "v": 1,
        "user_id": 7,
        "name": "김하늘",
        "email": "sky@example.com",
        "gender": "F",
        "birth_year": 1990,
        "city": "서울특별시 마포구",
        "created_at": "2026-11-23T01:00:00Z",
    }
)
_DEEP = b"[" * 100_000

WRONG: list[tuple[RejectReason, str | None, str, bytes | None, bytes | None]] = [
    (RejectReason.EMPTY, None, "orders", b"7", None),
    (RejectReason.EMPTY, None, "orders", b"7", b""),
    (RejectReason.OVERSIZE, None, "orders", b"7", b" " * (shop_events.MAX_MESSAGE_BYTES + 1)),
    (RejectReason.NULL_KEY, None, "orders", None, _order()),
    (RejectReason.KEY_MISMATCH, "user_id", "orders", b"8", _order()),
    (RejectReason.KEY_MISMATCH, "user_id", "orders", b"07", _order()),
    (RejectReason.BAD_ENCODING, None, "users", b"7", _USER.decode().encode("euc-kr")),
    (RejectReason.BAD_ENCODING, None, "users", b"7", _USER.replace("김".encode(), b"\\ud800")),
    (RejectReason.BAD_JSON, None, "orders", b"7", _order()[:-1]),
    (RejectReason.BAD_JSON, None, "orders", b"7", _order() + b"x"),
    (RejectReason.BAD_JSON, None, "orders", b"7", b'{"v": 1, "order_id": ' + _DEEP),
    (RejectReason.UNKNOWN_VERSION, "v", "orders", b"7", _order(v=2)),
    (RejectReason.UNKNOWN_VERSION, "v", "orders", b"7", _order(v=True)),
    (RejectReason.UNKNOWN_VERSION, "v", "orders", b"7", _order(v="1")),
    (RejectReason.UNKNOWN_VERSION, "v", "orders", b"7", _without("v")),
    (RejectReason.MISSING_FIELD, "amount", "orders", b"7", _without("amount")),
    (RejectReason.WRONG_TYPE, None, "orders", b"7", b"[1]"),
    (RejectReason.WRONG_TYPE, "quantity", "orders", b"7", _order(quantity="2")),
    (RejectReason.WRONG_TYPE, "quantity", "orders", b"7", _order(quantity=None)),
    (RejectReason.WRONG_TYPE, "ordered_at", "orders", b"7", _order(ordered_at="yesterday")),
    (
        RejectReason.WRONG_TYPE,
        "ordered_at",
        "orders",
        b"7",
        _order(ordered_at="2026-11-23T01:00:00"),
    ),
    (RejectReason.UNKNOWN_VALUE, "status", "orders", b"7", _order(status="LOST")),
    (RejectReason.UNKNOWN_VALUE, "gender", "users", b"7", _USER.replace(b'"F"', b'"f"')),
    (RejectReason.OUT_OF_RANGE, "quantity", "orders", b"7", _order(quantity=0)),
    (RejectReason.OUT_OF_RANGE, "quantity", "orders", b"7", _order(quantity=1000)),
    (RejectReason.OUT_OF_RANGE, "order_id", "orders", b"7", _order(order_id=2**53)),
    (RejectReason.OUT_OF_RANGE, "unit_price", "orders", b"7", _order(unit_price=10**30)),
    (RejectReason.OUT_OF_RANGE, "scenario", "orders", b"7", _order(scenario="Flash Sale")),
    (
        RejectReason.OUT_OF_RANGE,
        "ordered_at",
        "orders",
        b"7",
        _order(ordered_at="2019-12-31T23:59:59Z"),
    ),
    (
        RejectReason.OUT_OF_RANGE,
        "ordered_at",
        "orders",
        b"7",
        _order(ordered_at="2026-11-24T03:00:01Z"),
    ),
    (RejectReason.OUT_OF_RANGE, "name", "users", b"7", _USER.replace("김하늘".encode(), b"")),
    (RejectReason.NUL_CHARACTER, "name", "users", b"7", _USER.replace("김".encode(), b"\\u0000")),
    (RejectReason.WRONG_AMOUNT, "amount", "orders", b"7", _order(amount=20_000)),
    (
        RejectReason.BEFORE_SIGN_UP,
        "ordered_at",
        "orders",
        b"9000000000000000",
        _order(user_id=9_000_000_000_000_000),
    ),
]


@pytest.mark.parametrize(("reason", "field", "topic", "key", "payload"), WRONG)
def test_what_is_wrong_is_named(
    reason: RejectReason, field: str | None, topic: str, key: bytes | None, payload: bytes | None
) -> None:
    with pytest.raises(Rejection) as e:
        decode(topic, key, payload, now=NOW)
    assert (e.value.reason, e.value.field) == (reason, field), e.value.detail
    assert e.value.detail
    assert "\n" not in e.value.detail


def test_every_reason_is_reached() -> None:
    # The others need what is stored: see the tests of the ingest.
    assert {w[0] for w in WRONG} == set(RejectReason) - {
        RejectReason.OTHER_CONTENT,
        RejectReason.REFUSED_BY_DATABASE,
    }


_NAME = "김하늘".encode()
WORDS: list[tuple[str, bytes, str, str]] = [
    ("users", _USER.decode().encode("euc-kr"), "bad_encoding",
     "not UTF-8: byte 0xb1 at position 27"),
    ("users", _USER.replace(_NAME, b"\\ud800"), "bad_encoding", "half of a surrogate pair"),
    ("orders", _order()[:-1], "bad_json", "Input data was truncated"),
    ("orders", b"{}x", "bad_json", "JSON is malformed: trailing characters (byte 3)"),
    ("orders", b"\x00", "bad_json", "JSON is malformed: invalid character (byte 0)"),
    ("orders", b'{"v":1,,}', "bad_json", "JSON is malformed: object keys must be strings (byte 7)"),
    ("orders", b'{"v":01}', "bad_json", "JSON is malformed: invalid number (byte 6)"),
    ("users", _USER.replace(_NAME, b"\\x"), "bad_json",
     "JSON is malformed: invalid escape character in string (byte 29)"),
    ("orders", b"[" * 101, "bad_json", "more than 100 objects and arrays nested in one another"),
    ("orders", _order(v=2), "unknown_version", "v is 2; this program knows 1"),
    ("orders", _without("amount"), "missing_field", "Object missing required field `amount`"),
    ("orders", b"[1]", "wrong_type", "Expected `object`, got `array`"),
    ("orders", _order(quantity="2"), "wrong_type", "Expected `int`, got `str` - at `$.quantity`"),
    ("orders", _order(quantity=2.5), "wrong_type",
     "Expected `int`, got `float` - at `$.quantity`"),
    ("orders", _order(quantity=None), "wrong_type",
     "Expected `int`, got `null` - at `$.quantity`"),
    ("orders", _order(status=5), "wrong_type", "Expected `str`, got `int` - at `$.status`"),
    ("orders", _order(ordered_at="yesterday"), "wrong_type",
     "Invalid RFC3339 encoded datetime - at `$.ordered_at`"),
    ("orders", _order(ordered_at="2026-11-23T01:00:00"), "wrong_type",
     "Expected `datetime` with a timezone component - at `$.ordered_at`"),
    ("orders", _order(status="LOST"), "unknown_value", "Invalid enum value 'LOST' - at `$.status`"),
    ("orders", _order(quantity=0), "out_of_range", "Expected `int` >= 1 - at `$.quantity`"),
    ("orders", _order(quantity=1000), "out_of_range", "Expected `int` <= 999 - at `$.quantity`"),
    ("orders", _order(order_id=10**400), "out_of_range",
     f"Expected `int` <= {MAX_ID} - at `$.order_id`"),
    ("orders", _order(scenario="Flash Sale"), "out_of_range",
     r"Expected `str` matching regex '^[a-z0-9][a-z0-9_.-]{0,63}\\Z' - at `$.scenario`"),
    ("users", _USER.replace(_NAME, b""), "out_of_range",
     "Expected `str` of length >= 1 - at `$.name`"),
    ("users", _USER.replace(_NAME, b"a" * 201), "out_of_range",
     "Expected `str` of length <= 200 - at `$.name`"),
]  # fmt: skip


@pytest.mark.parametrize(("topic", "payload", "reason", "detail"), WORDS)
def test_reasons_are_read_from_these_words_of_the_json_reader(
    topic: str, payload: bytes, reason: str, detail: str
) -> None:
    """A version of msgspec with other words must not change a reason or what a caret points at."""
    with pytest.raises(Rejection) as e:
        decode(topic, b"7", payload, now=NOW)
    assert (e.value.reason.value, e.value.detail) == (reason, detail)


def test_times_come_back_in_utc_whatever_their_offset() -> None:
    payload = _order(ordered_at="2026-11-23T10:00:00+09:00")
    event = decode("orders", b"7", payload, now=NOW)
    assert isinstance(event, Order)
    assert event.ordered_at == datetime(2026, 11, 23, 10, tzinfo=timezone(timedelta(hours=9)))
    assert event.ordered_at.tzinfo is UTC


def test_unknown_fields_are_for_later_versions_to_use() -> None:
    assert decode("orders", b"7", _order(colour="red"), now=NOW) == decode(
        "orders", b"7", _order(), now=NOW
    )


def test_an_event_may_be_dated_a_day_ahead_and_no_more() -> None:
    edge = (NOW + shop_events.MAX_FUTURE).isoformat()
    assert decode("orders", b"7", _order(ordered_at=edge), now=NOW)
