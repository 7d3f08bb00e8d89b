"""Decode and validate a batch: in columns where that is exact, message by message elsewhere.

The columnar path reads a whole batch as newline-delimited JSON at about 1,000,000 messages/s; the
exact path (`shop.model.decode`) reads one message in about 2 microseconds and says what is wrong
with it. A JSON reader for whole batches fails, or shifts rows against offsets, on one bad line:
the columnar result is used only where every line is seen to be one object, and a row that fails
any check is decided by the exact path. So the exact path alone defines what is valid.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Final, TypeVar, cast

import msgspec
import numpy as np
import polars as pl
from msgspec import inspect

from flows.batch import Batch, RawBatch, Reject
from shop.clock import Clock, utc_now
from shop.ids import EPOCH, EPOCH_MS, IDS_PER_MS
from shop.model import (
    KEY_FIELD,
    MAX_FUTURE,
    MAX_MESSAGE_BYTES,
    SCHEMAS,
    TOPICS,
    VERSION,
    Event,
    Rejection,
    decode,
)

Value = TypeVar("Value")

INDEX: Final = "_i"
_KEY: Final = "_key"
_QUOTE: Final = ord('"')
_COLON: Final = ord(":")
_MAX_EARLY_MS: Final = MAX_FUTURE // timedelta(milliseconds=1)
_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S%.fZ"
_LONGEST_TIME: Final = len("2026-03-04T05:06:07.123456Z")


def decode_batch(raw: RawBatch, *, clock: Clock = utc_now) -> Batch:
    """Return the batch's good events as columns and its bad messages as rejects.

    Every message of the batch is in exactly one of the two.
    """
    now = clock()
    everything = range(len(raw))
    columns = _columnar(raw, everything)
    doubtful: list[int] = []
    if columns is None:
        readable, doubtful = _set_apart(raw)
        columns = _columnar(raw, readable)
        if columns is None:
            return _exact(raw, everything, now)
    good = columns.select(_valid(raw.topic, now).fill_null(value=False)).to_series()
    if good.all() and not doubtful:
        return Batch(raw, _finish(raw.topic, columns))
    rows = _finish(raw.topic, columns.filter(good))
    # What is wrong with a bad message may have hidden, in the counts, what is odd about a good
    # one: count again without the bad ones.
    if rows.height < columns.height and not _plain(raw.topic, _take(raw.payloads, rows[INDEX])):
        return _exact(raw, everything, now)
    doubtful += columns.filter(~good)[INDEX].to_list()
    exact = _exact(raw, sorted(doubtful), now)
    return Batch(raw, pl.concat([rows, exact.rows]).sort(INDEX), exact.rejects)


def _take(values: Sequence[Value], places: Iterable[int]) -> list[Value]:
    return [values[i] for i in places]


def _set_apart(raw: RawBatch) -> tuple[list[int], list[int]]:
    """Return the places of the messages that a typed decoder can read, and of the others.

    One unreadable line makes the columnar reader refuse a whole batch. Finding it takes 1.2
    microseconds a message; the exact path for all would take 7.
    """
    decoder = _decoders[raw.topic]
    readable: list[int] = []
    others: list[int] = []
    for i, (key, payload) in enumerate(zip(raw.keys, raw.payloads, strict=True)):
        plain = (
            payload is not None
            and key is not None
            and key.isdigit()
            and len(payload) <= MAX_MESSAGE_BYTES
            and payload[:1] == b"{"
            and payload[-1:] == b"}"
            and _plain(raw.topic, [payload])
        )
        (readable if plain and _reads(decoder, cast("bytes", payload)) else others).append(i)
    return readable, others


def _reads(decoder: msgspec.json.Decoder[Event], payload: bytes) -> bool:
    try:
        decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


# -- the columnar path -----------------------------------------------------------------------


def _wire_schema(topic: str) -> dict[str, pl.DataType]:
    """Types as JSON has them: times are still text."""
    return {
        "v": pl.Int64(),
        **{
            name: pl.String() if isinstance(kind, pl.Datetime) else kind
            for name, kind in SCHEMAS[topic].items()
        },
    }


_WIRE: Final = {topic: _wire_schema(topic) for topic in TOPICS}
_decoders: Final = {topic: msgspec.json.Decoder(event) for topic, event in TOPICS.items()}


def _text_fields(topic: str) -> tuple[bytes, ...]:
    """Return how the fields begin that take any text: the reader would turn a number into one."""
    info = cast("inspect.StructType", inspect.type_info(TOPICS[topic]))
    literals = {f.name for f in info.fields if isinstance(f.type, inspect.LiteralType)}
    return tuple(
        f'"{name}":'.encode()
        for name, kind in SCHEMAS[topic].items()
        if kind == pl.String and name not in literals
    )


_TEXTS: Final = {topic: _text_fields(topic) for topic in TOPICS}


def _columnar(raw: RawBatch, places: Sequence[int]) -> pl.DataFrame | None:
    """Read the messages at `places` as columns; None where one row each is not certain."""
    whole = len(places) == len(raw)
    keys = raw.keys if whole else _take(raw.keys, places)
    payloads = raw.payloads if whole else _take(raw.payloads, places)
    if not _plain(raw.topic, payloads):
        return None
    joined = b"\n".join(cast("Sequence[bytes]", payloads))
    try:
        frame = pl.read_ndjson(io.BytesIO(joined), schema=_WIRE[raw.topic])
        key_text = pl.Series(_KEY, keys, dtype=pl.Binary).cast(pl.String)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    if frame.height != len(payloads) or key_text.null_count():
        return None
    times = [name for name, kind in SCHEMAS[raw.topic].items() if isinstance(kind, pl.Datetime)]
    return frame.with_columns(
        # A finer fraction than microseconds would be cut here and rounded there.
        pl.when(pl.col(times).str.len_bytes() <= _LONGEST_TIME)
        .then(pl.col(times))
        .str.to_datetime(_TIME_FORMAT, time_unit="us", time_zone="UTC", strict=False),
        key_text,
        pl.Series(INDEX, places, dtype=pl.Int64),
    )


def _plain(topic: str, payloads: Sequence[bytes | None]) -> bool:
    """Tell whether each message is one compact JSON object with each field once, and no escape.

    The columnar reader shifts rows where a line is no object, takes the first of two equal
    fields where the exact path takes the last, takes 5 or false for text, and turns escaped
    U+0000 and half surrogates into something else. Counting where lines and fields begin finds
    all of these at memory speed: a quote inside a string is escaped, so `"name":` stands only
    where the field `name` begins.
    """
    try:
        joined = b"\n".join(cast("Sequence[bytes]", payloads))
    except TypeError:  # one has no payload
        return False
    lines = len(payloads)
    if not (
        joined.startswith(b"{")
        and joined.endswith(b"}")
        and joined.count(b"\n") == joined.count(b"}\n{") == lines - 1
        and b"\\u" not in joined
        and max(map(len, cast("Sequence[bytes]", payloads))) <= MAX_MESSAGE_BYTES
        and (joined.isascii() or _is_utf8(joined))
    ):
        return False
    return _count_fields(joined) == lines * len(_WIRE[topic]) and all(
        lines == joined.count(start) == joined.count(start + b'"') + joined.count(start + b"null")
        for start in _TEXTS[topic]
    )


def _count_fields(joined: bytes) -> int:
    """Count the places where a field's name ends; `bytes.count` takes three times as long."""
    if len(joined) < 10_000:
        return joined.count(b'":')
    characters = np.frombuffer(joined, np.uint8)
    return int(np.count_nonzero((characters[:-1] == _QUOTE) & (characters[1:] == _COLON)))


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _field_check(name: str, type_: inspect.Type) -> pl.Expr:
    """Translate one field's constraints of the model into an expression."""
    column = pl.col(name)
    if isinstance(type_, inspect.UnionType):  # `X | None`
        inner = next(t for t in type_.types if not isinstance(t, inspect.NoneType))
        return column.is_null() | _field_check(name, inner)
    if isinstance(type_, inspect.IntType):
        return column.is_between(pl.lit(type_.ge), pl.lit(type_.le))
    if isinstance(type_, inspect.LiteralType):
        return column.is_in(list(type_.values))
    if isinstance(type_, inspect.StrType):
        check = column.is_not_null()
        if type_.min_length is not None or type_.max_length is not None:
            length = column.str.len_chars()
            check = length.is_between(type_.min_length or 0, type_.max_length or 2**31)
        if type_.pattern is not None:
            # `\Z` is Python's end of text; the same in Rust's syntax is `\z`.
            check &= column.str.contains(type_.pattern.replace(r"\Z", r"\z"))
        return check
    return column.is_not_null()


def _model_check(topic: str) -> pl.Expr:
    info = inspect.type_info(TOPICS[topic])
    fields = cast("inspect.StructType", info).fields
    key = pl.col(KEY_FIELD[topic]).cast(pl.String) == pl.col(_KEY)
    check = key & (pl.col("v") == VERSION)
    for f in fields:
        if f.name != "v":
            check &= _field_check(f.name, f.type)
    if topic == "orders":
        list_price = pl.col("quantity") * pl.col("unit_price")
        check &= pl.col("amount") == list_price - pl.col("discount")
        signed_up_ms = pl.col("user_id") // IDS_PER_MS + EPOCH_MS
        check &= pl.col("ordered_at").dt.timestamp("ms") >= signed_up_ms - _MAX_EARLY_MS
    return check


_CHECKS: Final = {topic: _model_check(topic) for topic in TOPICS}


def _valid(topic: str, now: datetime) -> pl.Expr:
    check = _CHECKS[topic]
    for name, kind in SCHEMAS[topic].items():
        if isinstance(kind, pl.Datetime):
            check &= pl.col(name).is_between(pl.lit(EPOCH), pl.lit(now + MAX_FUTURE))
    return check


def _finish(topic: str, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(*SCHEMAS[topic], INDEX)


# -- the exact path --------------------------------------------------------------------------


def _exact(raw: RawBatch, indices: Sequence[int], now: datetime) -> Batch:
    events: list[Event] = []
    places: list[int] = []
    rejects: list[Reject] = []
    for i in indices:
        try:
            event = decode(raw.topic, raw.keys[i], raw.payloads[i], now=now)
        except Rejection as r:
            rejects.append(Reject(i, r.reason, r.field, r.detail))
        else:
            events.append(event)
            places.append(i)
    return Batch(raw, _frame(raw.topic, events, places), tuple(rejects))


def _frame(topic: str, events: Sequence[msgspec.Struct], places: Sequence[int]) -> pl.DataFrame:
    columns = [
        pl.Series(name, list(map(attrgetter(name), events)), dtype=kind)
        for name, kind in SCHEMAS[topic].items()
    ]
    return pl.DataFrame([*columns, pl.Series(INDEX, places, dtype=pl.Int64)])
