"""Messages of a topic on one line each: for a terminal, for a pipe, or as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, cast

import msgspec
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from shop.clock import UTC
from shop.output import UNFIT, escape

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_encode: Final = msgspec.json.Encoder().encode


def time_of(message: Message) -> datetime | None:
    """Return when the message was produced, UTC; None if it has no timestamp."""
    kind, ms = message.timestamp()
    if kind == TIMESTAMP_NOT_AVAILABLE or ms < 0:
        return None
    try:
        return _EPOCH + timedelta(milliseconds=ms)
    except OverflowError:  # microseconds, say, taken for milliseconds
        return None


def shown(data: bytes | None) -> str:
    r"""Return bytes on one line: text as text, anything else in hexadecimal digits.

    >>> shown(b"42"), shown(None), shown(b""), shown(b"\xff\x00"), shown("컵\t".encode())
    ('42', 'null', '', '0xff00', '컵\\x09')
    """
    if data is None:
        return "null"
    try:
        return escape(data.decode())
    except UnicodeDecodeError:
        return f"0x{data.hex()}"


def _time(message: Message) -> str | None:
    at = time_of(message)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z" if at else None


def headers_of(message: Message) -> list[tuple[str, bytes | None]]:
    """Return the headers in their order; a name may occur more than once."""
    found = cast("list[tuple[str, bytes | None]]", message.headers() or [])  # the stubs allow text
    return [(k, _bytes(v)) for k, v in found]


def fields(message: Message) -> dict[str, Any]:
    """Return the fields that a condition may name.

    They are the payload's fields if it is a JSON object, and `partition`, `offset`, `key`,
    `timestamp`, `headers` and `payload` where the payload has no field of that name.
    """
    payload = _bytes(message.value())
    found: dict[str, Any] = {
        "partition": message.partition(),
        "offset": message.offset(),
        "key": _as_text(_bytes(message.key())),
        "timestamp": _time(message),
        "headers": {k: _as_text(v) for k, v in headers_of(message)},
        "payload": _as_text(payload),
    }
    try:
        event = msgspec.json.decode(payload or b"")
    except (ValueError, RecursionError):  # msgspec raises UnicodeDecodeError, too
        event = None
    return {**found, **event} if isinstance(event, dict) else found


def as_json(message: Message) -> str:
    """Return a message as one line of JSON.

    A key, header or payload that is not UTF-8 is written as `{"base64": ...}`; a payload that is a
    JSON object is written as that object, digit by digit as it was sent, any other as text.
    """
    payload = _bytes(message.value())
    whole = msgspec.Raw(_encode(_as_value(payload)))
    if payload is not None and payload.lstrip()[:1] == b"{":
        try:
            msgspec.json.decode(payload)
            whole = msgspec.Raw(msgspec.json.format(payload, indent=-1))
        except (ValueError, RecursionError):  # msgspec raises UnicodeDecodeError, too
            pass
    record = {
        "topic": message.topic(),
        "partition": message.partition(),
        "offset": message.offset(),
        "timestamp": _time(message),
        "key": _as_value(_bytes(message.key())),
        "headers": [[k, _as_value(v)] for k, v in headers_of(message)],
        "payload": whole,
    }
    text = _encode(record).decode()
    # JSON escapes only what is below a space; the others are inside strings, and may be written so.
    return UNFIT.sub(lambda found: json.dumps(found[0])[1:-1], text)


def cells(message: Message) -> list[str]:
    """Return time, partition, offset, key, payload and, if there are any, headers, as text."""
    row = [
        _time(message) or "no time",
        str(message.partition()),
        str(message.offset()),
        shown(_bytes(message.key())),
        shown(_bytes(message.value())),
    ]
    if headers := headers_of(message):
        row.append(" ".join(f"{escape(k)}={shown(v)}" for k, v in headers))
    return row


def _bytes(data: bytes | str | None) -> bytes | None:
    return data.encode() if isinstance(data, str) else data


def _as_text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="replace")


def _as_value(data: bytes | None) -> str | Mapping[str, str] | None:
    try:
        return None if data is None else data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data or b"").decode()}
