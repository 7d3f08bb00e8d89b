"""Decode and validate a batch: in columns where that is exact, message by message elsewhere.

The exact path (`shop.events.decode`) alone defines what is valid: it reads one message in about 7
microseconds and reports what is wrong with it. Two columnar paths take what our own producers
write, and nothing that the exact path would judge otherwise:

- orders of the one strict form are read field by field in 1 microsecond
  (`flows.decoding.strict_form`);
- other events, or a batch of which more than a few orders have another form, are read by a JSON
  reader, written as JSON again and compared with the bytes that came (4 microseconds).

A message that differs in a single byte, or fails any check, is decided by the exact path, so the
result for a message never depends on its neighbours.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import zip_longest
from operator import attrgetter
from typing import Final, TypeAlias, TypeVar, cast

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
from msgspec import inspect

from flows.batch import INDEX, Batch, RawBatch, Reject
from flows.decoding.strict_form import FORMS, LONGEST
from shop.clock import Clock, utc_now
from shop.events import (
    CONTRACTS,
    KEY_FIELD,
    MAX_FUTURE,
    SCHEMAS,
    VERSION,
    Event,
    Rejection,
    decode,
)
from shop.ids import EPOCH, EPOCH_MS, IDS_PER_MS

Value = TypeVar("Value")
Places: TypeAlias = npt.NDArray[np.int64]

_KEY: Final = "_key"
_SAME: Final = "_canonical"
_FEW: Final = 0.1
"""The share of a batch that is left to the exact path at once: beyond it the JSON reader, which
takes 4 microseconds a message where the exact path takes 7, may still read most of them."""
_PART: Final = 8_192
"""Messages that are read and written again at a time: all 50,000 of a batch take 30 MB more."""
_MAX_EARLY_MS: Final = MAX_FUTURE // timedelta(milliseconds=1)
_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S%.fZ"
# The parser takes one digit for two, a sign, spaces, a second of 60; and a fraction finer than
# microseconds would be cut here and rounded on the exact path.
_TIME: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?Z$"


def decode_batch(raw: RawBatch, *, clock: Clock = utc_now) -> Batch:
    """Return the batch's good events as columns and its bad messages as rejects.

    Every message of the batch is in exactly one of the two.
    """
    now = clock()
    return _strict(raw, now) or _by_json_reader(raw, now)


def _strict(raw: RawBatch, now: datetime) -> Batch | None:
    """Decode messages of the strict form; None where more than a few are of another."""
    form = FORMS.get(raw.topic)
    if form is None or not len(raw):
        return None
    rows, good = form.read(raw, now)
    if good.all():
        return Batch(raw, rows)
    doubtful = np.flatnonzero(~good)
    if len(doubtful) > _FEW * len(raw):
        return None
    return _with_exact(raw, rows.filter(pl.Series(good)), doubtful, now)


def _with_exact(raw: RawBatch, rows: pl.DataFrame, doubtful: Places, now: datetime) -> Batch:
    """Add what the exact path says about the messages that are not among the rows."""
    exact = _exact(raw, doubtful.tolist(), now)
    return Batch(raw, pl.concat([rows, exact.rows]).sort(INDEX), exact.rejects)


def _by_json_reader(raw: RawBatch, now: datetime) -> Batch:
    places: Sequence[int] = range(len(raw))
    columns = _columnar(raw, places)
    if columns is None:  # one unreadable line makes the reader refuse or shift all of them
        places = _readable(raw)
        columns = _columnar(raw, places)
    if columns is None:
        return _exact(raw, range(len(raw)), now)
    good = columns.select(_valid(raw.topic, now).fill_null(value=False)).to_series()
    if good.all() and len(places) == len(raw):
        return Batch(raw, _finish(raw.topic, columns))
    rows = _finish(raw.topic, columns.filter(good))
    doubtful = np.setdiff1d(np.arange(len(raw)), rows[INDEX].to_numpy(), assume_unique=True)
    return _with_exact(raw, rows, doubtful, now)


def _take(values: Sequence[Value], places: Iterable[int]) -> list[Value]:
    return [values[i] for i in places]


def _readable(raw: RawBatch) -> list[int]:
    """Return the places of the messages that a typed decoder reads, each on one line.

    Finding them takes about 1 microsecond a message; the exact path for all would take 7.
    """
    decoder = _decoders[raw.topic]
    return [
        i
        for i, payload in enumerate(raw.payloads)
        if payload is not None
        and len(payload) <= LONGEST
        and b"\n" not in payload
        and _reads(decoder, payload)
    ]


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


_WIRE: Final = {topic: _wire_schema(topic) for topic in CONTRACTS}
_decoders: Final = {topic: msgspec.json.Decoder(event) for topic, event in CONTRACTS.items()}


def _columnar(raw: RawBatch, places: Sequence[int]) -> pl.DataFrame | None:
    """Read the messages at `places` as columns; None where one row each is not certain.

    The column `_canonical` tells which messages are, byte for byte, what the row is as JSON.
    """
    parts = []
    for at in range(0, len(places), _PART):
        part = _read(raw, places[at : at + _PART])
        if part is None:
            return None
        parts.append(part)
    return pl.concat(parts, rechunk=True) if parts else None


def _read(raw: RawBatch, places: Sequence[int]) -> pl.DataFrame | None:
    payloads = _take(raw.payloads, places)
    try:
        joined = b"\n".join(cast("Sequence[bytes]", payloads))
    except TypeError:  # one has no payload
        return None
    if (
        joined.count(b"\n") != len(payloads) - 1
        or max(map(len, cast("Sequence[bytes]", payloads))) > LONGEST
        or not (joined.isascii() or _is_utf8(joined))
    ):
        return None
    try:
        frame = pl.read_ndjson(io.BytesIO(joined), schema=_WIRE[raw.topic])
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    if frame.height != len(payloads):
        return None
    times = [name for name, kind in SCHEMAS[raw.topic].items() if isinstance(kind, pl.Datetime)]
    return frame.with_columns(
        pl.when(pl.col(times).str.contains(_TIME))
        .then(pl.col(times))
        .str.to_datetime(_TIME_FORMAT, time_unit="us", time_zone="UTC", strict=False),
        pl.Series(_KEY, _take(raw.keys, places), dtype=pl.Binary),
        _canonical(frame, joined),
        pl.Series(INDEX, places, dtype=pl.Int64),
    )


def _canonical(frame: pl.DataFrame, joined: bytes) -> pl.Series:
    """Return which lines are exactly what the rows are as JSON.

    This leaves nothing to the reader: a field that is missing, unknown, given twice or in another
    order, a number written otherwise (1.0, 1e3, -0), a space, an escape that need not be one, a
    row read from another line, all give other bytes. U+0000 is the one exception that matters: it
    is written back as it came, but PostgreSQL cannot store it.
    """
    written = _written(frame)
    if written == joined and b"\\u0000" not in joined:
        return pl.repeat(value=True, n=frame.height, dtype=pl.Boolean, eager=True).alias(_SAME)
    pairs = zip_longest(joined.split(b"\n"), written.split(b"\n"))
    same = [came == made and b"\\u0000" not in made for came, made in pairs]
    return pl.Series(_SAME, same[: frame.height], dtype=pl.Boolean)


def _written(frame: pl.DataFrame) -> bytes:
    """Return rows as JSON, a line each; no end of line after the last."""
    written = io.BytesIO()
    frame.write_ndjson(written)
    return written.getvalue().removesuffix(b"\n")


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
    info = inspect.type_info(CONTRACTS[topic])
    fields = cast("inspect.StructType", info).fields
    key = pl.col(KEY_FIELD[topic]).cast(pl.String).cast(pl.Binary) == pl.col(_KEY)
    check = pl.col(_SAME) & key & (pl.col("v") == VERSION)
    for f in fields:
        if f.name != "v":
            check &= _field_check(f.name, f.type)
    if topic == "orders":
        list_price = pl.col("quantity") * pl.col("unit_price")
        check &= pl.col("amount") == list_price - pl.col("discount")
        signed_up_ms = pl.col("user_id") // IDS_PER_MS + EPOCH_MS
        check &= pl.col("ordered_at").dt.timestamp("ms") >= signed_up_ms - _MAX_EARLY_MS
    return check


_CHECKS: Final = {topic: _model_check(topic) for topic in CONTRACTS}


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
