"""The events of the shop: the only definition of User, Product and Order.

Everything else follows from the three classes below: the JSON form (field order and types), the
validation of what arrives, the polars schema, the column order of COPY. A field is added here
and in a migration, and nowhere else. Events of optional topics are defined in `shop.optional`, and
validated and encoded here like the three.

JSON: one object a message, `"v": 1`, times in RFC 3339 with `Z`, money in integer KRW.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias, get_args

import msgspec
from msgspec import Meta, inspect

from shop.clock import UTC
from shop.ids import EPOCH, time_of
from shop.optional.fields import Id, Instant, Krw, Revision, Slug, Text
from shop.optional.registry import OPTIONAL
from shop.optional.topic import OptionalEvent

if TYPE_CHECKING:
    import polars as pl

    SCHEMAS: Mapping[str, dict[str, pl.DataType]]
    """Topic -> polars schema: names, order and types of its table's columns."""

VERSION: Final = 1
MAX_MESSAGE_BYTES: Final = 1_000_000
"""A larger message is rejected; Kafka's own default limit for a record batch is 1,048,588."""
MAX_DEPTH: Final = 100
"""Depth of nested objects and arrays; an event has 1. The JSON reader's own limit depends on the
depth of the caller's stack, so not on the message alone."""
MAX_FUTURE: Final = timedelta(hours=24)
"""How far ahead of the clock an event may be dated (a wrong time zone is at most 14 h off), and
how long before its customer's sign-up an order may be."""

Gender: TypeAlias = Literal["F", "M"]
PaymentMethod: TypeAlias = Literal["SIMPLE_PAY", "CARD", "VIRTUAL_ACCOUNT", "TRANSFER", "PHONE"]
OrderStatus: TypeAlias = Literal["PAID", "CANCELLED", "REFUNDED"]
SaleStatus: TypeAlias = Literal["LISTED", "DELISTED"]

PAYMENT_METHODS: Final[tuple[str, ...]] = get_args(PaymentMethod)
ORDER_STATUSES: Final[tuple[str, ...]] = get_args(OrderStatus)


class User(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A customer signed up. Key: `user_id`. Grades and counters are the shop's, not the event's."""

    v: Literal[1]
    user_id: Id
    name: Text
    email: Text
    gender: Gender
    birth_year: Annotated[int, Meta(ge=1900, le=2100)]
    city: Text
    created_at: Instant


class Product(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The full state of a product at one revision. Key: `product_id`. Price in KRW.

    `rev` 1 lists it; a later event with the same id and a higher `rev` changes its price or takes
    it off sale; the highest `rev` wins. Messages of producers that know no revisions leave `rev`,
    `sale_status` and `updated_at` out.
    """

    v: Literal[1]
    product_id: Id
    name: Text
    category: Text
    brand: Text
    price: Krw
    created_at: Instant
    rev: Revision = 1
    sale_status: SaleStatus = "LISTED"
    updated_at: Instant | None = None


class Order(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The full state of an order at one revision. Key: `user_id`. Money in KRW.

    `amount` = `quantity` * `unit_price` - `discount`. `rev` 1 is PAID; a later event with the
    same id and a higher `rev` makes it CANCELLED or REFUNDED; the highest `rev` wins.
    """

    v: Literal[1]
    order_id: Id
    rev: Revision
    user_id: Id
    product_id: Id
    quantity: Annotated[int, Meta(ge=1, le=999)]
    unit_price: Krw
    discount: Krw
    amount: Krw
    payment_method: PaymentMethod
    status: OrderStatus
    scenario: Slug | None = None
    ordered_at: Instant
    updated_at: Instant


Event: TypeAlias = User | Product | Order | OptionalEvent

TOPICS: Final[dict[str, type[Event]]] = {"users": User, "products": Product, "orders": Order}
"""The topics that every shop has."""
CONTRACTS: Final[Mapping[str, type[Event]]] = TOPICS | {n: t.event for n, t in OPTIONAL.items()}
"""All topics that a shop may have: `TOPICS` and the optional ones."""
GROUPS: Final[Mapping[str, str]] = {topic: f"{topic}_group" for topic in CONTRACTS}
ID_FIELD: Final[Mapping[str, str]] = {t: f"{t[:-1]}_id" for t in TOPICS} | {
    name: topic.id_field for name, topic in OPTIONAL.items()
}
"""The primary key column of each topic's table."""
KEY_FIELD: Final[Mapping[str, str]] = {
    **ID_FIELD, "orders": "user_id", **{name: topic.key_field for name, topic in OPTIONAL.items()}
}  # fmt: skip
"""The field whose decimal digits are the message key: a user's orders share a partition."""


class RejectReason(str, Enum):
    """Why a message is in `rejected_messages`. The values are stable: dashboards use them."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> RejectReason:
        """Make a member that carries its meaning."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    EMPTY = "empty", "No payload (a tombstone) or an empty one."
    OVERSIZE = "oversize", "Longer than `MAX_MESSAGE_BYTES`."
    BAD_ENCODING = (
        "bad_encoding",
        "Not UTF-8 (EUC-KR, say), or an escape that is half of a surrogate pair.",
    )
    BAD_JSON = "bad_json", "Not one whole JSON value: truncated, trailing bytes, a syntax error."
    UNKNOWN_VERSION = "unknown_version", "`v` is missing or not a known version."
    MISSING_FIELD = "missing_field", "A required field is absent."
    WRONG_TYPE = (
        "wrong_type",
        "A field, or the whole message, has a JSON type that the contract does not allow.",
    )
    UNKNOWN_VALUE = "unknown_value", "A value outside an enumeration."
    OUT_OF_RANGE = "out_of_range", "A number, length or time outside its bounds."
    NUL_CHARACTER = "nul_character", "A string holds U+0000, which PostgreSQL cannot store."
    WRONG_AMOUNT = "wrong_amount", "`amount` is not quantity * unit_price - discount."
    BEFORE_SIGN_UP = (
        "before_sign_up",
        "An order dated more than 24 hours before the time that its `user_id` carries.",
    )
    NULL_KEY = "null_key", "The message has no key, so nothing orders it among its user's events."
    KEY_MISMATCH = "key_mismatch", "The key is not the id that the payload carries."
    OTHER_CONTENT = (
        "other_content",
        "Its id (and revision, if it has one) is stored with other content, shown in `detail`.",
    )
    REFUSED_BY_DATABASE = (
        "refused_by_database",
        "PostgreSQL refused the row. Given by earlier versions only: the ingest now waits.",
    )


class Rejection(Exception):
    """One message does not meet the contract.

    Attributes:
        reason: what kind of fault.
        field: the field at fault, None if the message as a whole.
        detail: one line for a person.
    """

    def __init__(self, reason: RejectReason, field: str | None, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.field = field
        self.detail = detail


def _column_type(type_: inspect.Type) -> pl.DataType:
    import polars as pl  # noqa: PLC0415  (see __getattr__)

    columns: Mapping[type[inspect.Type], pl.DataType] = {
        inspect.IntType: pl.Int64(),
        inspect.StrType: pl.String(),
        inspect.LiteralType: pl.String(),
        inspect.DateTimeType: pl.Datetime("us", "UTC"),
    }
    if isinstance(type_, inspect.UnionType):  # `X | None`
        type_ = next(t for t in type_.types if not isinstance(t, inspect.NoneType))
    return columns[type(type_)]


def schema(event: type[Event]) -> dict[str, pl.DataType]:
    """Return the polars schema of an event, which is also the column order of COPY.

    The version field `v` belongs to the message, not to the table.

    >>> list(schema(User))
    ['user_id', 'name', 'email', 'gender', 'birth_year', 'city', 'created_at']
    """
    info = inspect.type_info(event)
    assert isinstance(info, inspect.StructType)  # noqa: S101  (tells the type checker)
    return {f.name: _column_type(f.type) for f in info.fields if f.name != "v"}


@cache
def _schemas() -> Mapping[str, dict[str, pl.DataType]]:
    return {topic: schema(event) for topic, event in CONTRACTS.items()}


def __getattr__(name: str) -> Any:
    """Make `SCHEMAS` when it is asked for.

    polars takes 0.2 s and 40 MB; a command that only reads the settings, which need the topics'
    names, does not load it.
    """
    if name == "SCHEMAS":
        return _schemas()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_encoder: Final = msgspec.json.Encoder()


def encode(event: Event) -> bytes:
    """Return the JSON form of an event."""
    return _encoder.encode(event)


def key_of(topic: str, event: Event) -> bytes:
    """Return the message key of an event: the decimal digits of its key field."""
    return str(getattr(event, KEY_FIELD[topic])).encode()


def as_row(event: Event) -> dict[str, Any]:
    """Return an event as a table row, without the version field."""
    row = msgspec.structs.asdict(event)
    del row["v"]
    return row


_decoders: Final = {topic: msgspec.json.Decoder(event) for topic, event in CONTRACTS.items()}


class _Version(msgspec.Struct):
    v: Any = None


_version_decoder: Final = msgspec.json.Decoder(_Version)


def decode(topic: str, key: bytes | None, payload: bytes | None, *, now: datetime) -> Event:
    """Decode and validate one message exactly; times come back in UTC.

    Args:
        topic: a key of `CONTRACTS`.
        key: the Kafka message key.
        payload: the Kafka message value.
        now: the present time, to reject events dated in the future.

    Raises:
        Rejection: if the message breaks the contract; it names the fault and the field.

    >>> decode("users", b"1", b'{"v": 1}', now=EPOCH)
    Traceback (most recent call last):
    shop.events.Rejection: missing_field: Object missing required field `user_id`
    """
    if not payload:
        raise Rejection(RejectReason.EMPTY, None, "the message has no payload")
    if len(payload) > MAX_MESSAGE_BYTES:
        detail = f"{len(payload)} bytes, at most {MAX_MESSAGE_BYTES} are taken"
        raise Rejection(RejectReason.OVERSIZE, None, detail)
    if key is None:
        raise Rejection(RejectReason.NULL_KEY, None, f"no key; {KEY_FIELD[topic]} is expected")
    event = _decode_types(topic, payload)
    event = _decode_values(event, now)
    expected = key_of(topic, event)
    if key != expected:
        detail = f"key is {key[:40]!r}, {KEY_FIELD[topic]} is {expected.decode()}"
        raise Rejection(RejectReason.KEY_MISMATCH, KEY_FIELD[topic], detail)
    return event


def _decode_types(topic: str, payload: bytes) -> Event:
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as e:
        detail = f"not UTF-8: byte 0x{payload[e.start]:02x} at position {e.start}"
        raise Rejection(RejectReason.BAD_ENCODING, None, detail) from None
    if _is_deep(text):
        detail = f"more than {MAX_DEPTH} objects and arrays nested in one another"
        raise Rejection(RejectReason.BAD_JSON, None, detail)
    try:
        event: Event = _decoders[topic].decode(payload)
    except msgspec.ValidationError as e:
        raise _classify(payload, str(e)) from None
    except msgspec.DecodeError as e:
        raise _not_json(payload, e) from None
    return event


_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)


def _is_deep(text: str) -> bool:
    if text.count("{") + text.count("[") <= MAX_DEPTH:  # nearly always
        return False
    depth = 0
    for bracket in re.findall(r"[][{}]", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def _not_json(payload: bytes, error: msgspec.DecodeError) -> Rejection:
    # msgspec reports half a surrogate pair as truncation or as an invalid escape.
    if _has_lone_surrogate(payload):
        return Rejection(RejectReason.BAD_ENCODING, None, "half of a surrogate pair")
    return Rejection(RejectReason.BAD_JSON, None, str(error))


def _has_lone_surrogate(payload: bytes) -> bool:
    import json  # noqa: PLC0415  (a rare path; unlike msgspec it keeps lone surrogates)

    try:
        # Python refuses whole numbers with more digits than an environment variable allows.
        value = json.loads(payload.decode(), parse_int=float)
    except ValueError:
        return False
    return any("\ud800" <= c <= "\udfff" for c in json.dumps(value, ensure_ascii=False))


def _classify(payload: bytes, message: str) -> Rejection:
    """Turn msgspec's words into a reason; tests pin the words, pyproject.toml its version.

    A message that is not one whole JSON value is reported as that first: cut short, it may end in a
    number that is out of range because its last digits are missing. An unknown version comes next:
    it explains every other fault.
    """
    try:
        version = _version_decoder.decode(payload).v
    except msgspec.ValidationError:  # no object
        version = VERSION
    except msgspec.DecodeError as e:
        return _not_json(payload, e)
    if version is None or version is True or version != VERSION:
        detail = f"v is {version!r:.40}; this program knows {VERSION}"
        return Rejection(RejectReason.UNKNOWN_VERSION, "v", detail)
    text, _, path = message.partition(" - at `$")
    field = path.strip("`.") or None
    if text.startswith("Object missing required field"):
        return Rejection(RejectReason.MISSING_FIELD, text.split("`")[1], message)
    if text.startswith("Invalid enum value"):
        return Rejection(RejectReason.UNKNOWN_VALUE, field, message)
    if ", got `" in text or text.startswith("Invalid RFC3339") or "timezone" in text:
        return Rejection(RejectReason.WRONG_TYPE, field, message)
    return Rejection(RejectReason.OUT_OF_RANGE, field, message)


def _decode_values(event: Event, now: datetime) -> Event:
    """Check what the types alone cannot express, and convert times to UTC."""
    changes: dict[str, datetime] = {}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, str) and "\x00" in value:
            raise Rejection(RejectReason.NUL_CHARACTER, name, f"{name} holds U+0000")
        if isinstance(value, datetime):
            changes[name] = _utc(name, value, now)
    if isinstance(event, Order):
        expected = event.quantity * event.unit_price - event.discount
        if event.amount != expected:
            detail = f"amount is {event.amount}, quantity * unit_price - discount is {expected}"
            raise Rejection(RejectReason.WRONG_AMOUNT, "amount", detail)
        signed_up = time_of(event.user_id)
        if changes["ordered_at"] < signed_up - MAX_FUTURE:
            detail = f"ordered_at is {changes['ordered_at'].isoformat()}, the customer's id is of "
            detail += signed_up.isoformat()
            raise Rejection(RejectReason.BEFORE_SIGN_UP, "ordered_at", detail)
    return msgspec.structs.replace(event, **changes)


def _utc(name: str, value: datetime, now: datetime) -> datetime:
    try:
        value = value.astimezone(UTC)
    except OverflowError:
        value = datetime.max.replace(tzinfo=UTC)
    if not EPOCH <= value <= now + MAX_FUTURE:
        detail = f"{name} is {value.isoformat()}, outside {EPOCH:%Y-%m-%d} to 24 h from now"
        raise Rejection(RejectReason.OUT_OF_RANGE, name, detail)
    return value
