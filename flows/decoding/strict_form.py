"""The one form in which our own producers write an event, generated from the model, and its reader.

The form is what `shop.events.encode` writes: the fields in the model's order, no space, each value
in one spelling. `flows.decoding.byte_cursor` reads a batch of it in columns, 8,000 messages at a
time, in a third of the time in which JSON is read, written again and compared: 1.0 microseconds of
CPU an order instead of 3.2, in one process.

What is accepted here is a subset of what `shop.events.decode` accepts, with the same values: the
steps accept one grammar, and the checks below are the model's. Whatever else comes, in another
form or invalid, is not judged here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import polars as pl
from msgspec import inspect

from flows.batch import INDEX, RawBatch
from flows.decoding.byte_cursor import FURTHEST, INTEGER_DIGITS, ByteCursor, KnownTexts, Numbers
from shop.clock import UTC
from shop.events import CONTRACTS, KEY_FIELD, MAX_FUTURE, SCHEMAS
from shop.ids import EPOCH_MS, IDS_PER_MS, MAX_ID

Mask: TypeAlias = npt.NDArray[np.bool_]

LONGEST: Final = 8_192
"""Bytes of a message that is read in columns at most."""
_CHUNK: Final = 8_192
_LONGEST_CHOICE: Final = 15
_UNIX: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MAX_EARLY_MS: Final = MAX_FUTURE // timedelta(milliseconds=1)


@dataclass(frozen=True)
class _Whole:
    """A whole number from `least` to `most`."""

    name: str
    literal: bytes
    least: int
    most: int


@dataclass(frozen=True)
class _Choice:
    """A text of an enumeration."""

    name: str
    literal: bytes
    values: Sequence[str]


@dataclass(frozen=True)
class _Slug:
    """Null, or a text that few others differ from."""

    name: str
    literal: bytes
    pattern: str


@dataclass(frozen=True)
class _Time:
    """A time in UTC."""

    name: str
    literal: bytes


_Field: TypeAlias = "_Whole | _Choice | _Slug | _Time"


def _field(name: str, literal: bytes, type_: inspect.Type) -> _Field | None:
    """Return how a field is read; None if its values have no one form of few bytes."""
    if isinstance(type_, inspect.UnionType):
        others = [t for t in type_.types if not isinstance(t, inspect.NoneType)]
        slug = others[0]
        if len(others) == 1 and isinstance(slug, inspect.StrType) and slug.pattern is not None:
            return _Slug(name, literal, slug.pattern)
    if isinstance(type_, inspect.IntType) and None not in (type_.ge, type_.le):
        least, most = int(type_.ge or 0), int(type_.le or 0)
        if 0 <= least <= most < 10**INTEGER_DIGITS:
            return _Whole(name, literal, least, most)
    if isinstance(type_, inspect.LiteralType) and all(
        isinstance(v, str) and v.isascii() and len(v) <= _LONGEST_CHOICE for v in type_.values
    ):
        return _Choice(name, literal + b'"', [str(v) for v in type_.values])
    if isinstance(type_, inspect.DateTimeType) and type_.tz:
        return _Time(name, literal + b'"')
    return None


class StrictForm:
    """The form of one topic's events.

    Args:
        topic: whose.
        fields: how each field is read, in order.
        end: what follows the last one.
    """

    def __init__(self, topic: str, fields: Sequence[_Field], end: bytes) -> None:
        self._topic = topic
        self._fields = fields
        self._end = end
        self._beyond = bytes(sum(len(f.literal) + FURTHEST for f in fields) + FURTHEST)

    def read(self, raw: RawBatch, now: datetime) -> tuple[pl.DataFrame, Mask]:
        """Read a batch.

        Args:
            raw: the messages, at least one.
            now: the clock, for events dated in the future.

        Returns:
            A row for each message, and which of them are as the model wants them: the others mean
            nothing.
        """
        known = {
            f.name: KnownTexts(partial(_matches, f.pattern))
            for f in self._fields
            if isinstance(f, _Slug)
        }
        parts, good = [], []
        for at in range(0, len(raw), _CHUNK):
            cursor, columns = self._read(raw.payloads[at : at + _CHUNK], known)
            parts.append(columns)
            good.append(
                (cursor.bad == 0)
                & self._is_valid(columns, now)
                & _are_keys(raw.keys[at : at + _CHUNK], columns[KEY_FIELD[self._topic]])
            )
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return self._frame(columns, known), np.concatenate(good)

    def _read(
        self, payloads: Sequence[bytes | None], known: Mapping[str, KnownTexts]
    ) -> tuple[ByteCursor, dict[str, Numbers]]:
        data, starts, ends = _joined(payloads, self._beyond)
        cursor = ByteCursor(data, starts)
        columns = {}
        for field in self._fields:
            if isinstance(field, _Whole):
                values = cursor.integer(field.literal, field.least, field.most)
            elif isinstance(field, _Choice):
                values = cursor.choice(field.literal, [f'{v}"'.encode() for v in field.values])
            elif isinstance(field, _Slug):
                values = cursor.text_or_null(field.literal, known[field.name])
            else:
                values = cursor.instant(field.literal)
            columns[field.name] = values
        cursor.end(self._end, ends)
        return cursor, columns

    def _is_valid(self, columns: Mapping[str, Numbers], now: datetime) -> Mask:
        """Check what more than one field, or the clock, decides."""
        valid = np.ones(len(next(iter(columns.values()))), np.bool_)
        latest = (now + MAX_FUTURE - _UNIX) // _MICROSECOND
        for field in self._fields:
            if isinstance(field, _Time):
                values = columns[field.name]
                valid &= (values >= EPOCH_MS * 1_000) & (values <= latest)
        if self._topic == "orders":
            list_price = columns["quantity"] * columns["unit_price"]
            valid &= columns["amount"] == list_price - columns["discount"]
            signed_up_ms = columns["user_id"] // IDS_PER_MS + EPOCH_MS
            valid &= columns["ordered_at"] >= (signed_up_ms - _MAX_EARLY_MS) * 1_000
        return valid

    def _frame(
        self, columns: Mapping[str, Numbers], known: Mapping[str, KnownTexts]
    ) -> pl.DataFrame:
        series = []
        for field in self._fields:
            values = pl.Series(field.name, columns[field.name])
            if isinstance(field, _Choice):
                values = _texts(values, field.values)
            elif isinstance(field, _Slug):
                values = _texts(values, known[field.name].texts)
            series.append(values.cast(SCHEMAS[self._topic][field.name]))
        index = pl.int_range(len(series[0]), eager=True).alias(INDEX)
        return pl.DataFrame([*series, index])


def _form(topic: str) -> StrictForm | None:
    """Generate the form of a topic; None if the model has a field that `_field` does not know."""
    info = cast("inspect.StructType", inspect.type_info(CONTRACTS[topic]))
    fields, literal = [], b"{"
    for f in info.fields:
        literal += f'"{f.encode_name}":'.encode()
        if isinstance(f.type, inspect.LiteralType) and f.name not in SCHEMAS[topic]:
            (value,) = f.type.values  # the version, a number
            literal += str(value).encode()
        else:
            field = _field(f.name, literal, f.type)
            if field is None:
                return None
            fields.append(field)
            literal = b""
        literal += b","
    return StrictForm(topic, fields, literal[:-1] + b"}")


FORMS: Final[Mapping[str, StrictForm]] = {
    topic: form for topic in CONTRACTS if (form := _form(topic)) is not None
}
"""Of the topics whose events have a form: orders, and optional ones of numbers, enumerations, times
and null or a `Slug`. Names of customers and products are any text."""


def _joined(payloads: Sequence[bytes | None], beyond: bytes) -> tuple[bytes, Numbers, Numbers]:
    """Return the messages one after the other, and where each begins and ends."""
    try:
        joined = b"\n".join(cast("Sequence[bytes]", (*payloads, beyond)))
        sizes = np.fromiter(map(len, cast("Sequence[bytes]", payloads)), np.int64, len(payloads))
        longest = int(sizes.max())
    except TypeError:  # one has no payload
        longest = LONGEST + 1
    if longest > LONGEST:
        short = [p if p and len(p) <= LONGEST else b"" for p in payloads]
        return _joined(short, beyond)
    ends = np.cumsum(sizes + 1) - 1
    return joined, ends - sizes, ends


def _are_keys(keys: Sequence[bytes | None], ids: Numbers) -> Mask:
    """Return which keys are the decimal digits of these ids."""
    data, starts, ends = _joined(keys, bytes(FURTHEST))
    cursor = ByteCursor(data, starts)
    values = cursor.integer(b"", 1, MAX_ID)
    same: Mask = (cursor.bad == 0) & (values == ids) & (cursor.at == ends)
    return same


def _matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text) is not None


def _texts(codes: pl.Series, values: Sequence[str | None]) -> pl.Series:
    return pl.Series(codes.name, values, dtype=pl.String).gather(codes)
