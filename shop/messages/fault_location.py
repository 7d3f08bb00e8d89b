"""Finds the bytes of a message that are at fault."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from shop.events import MAX_MESSAGE_BYTES, RejectReason

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_LONE_SURROGATE: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)


@dataclass(frozen=True)
class Fault:
    """The bytes `start` <= i < `end` of the payload, and what is wrong with them."""

    start: int
    end: int
    comment: str


def members(text: str) -> dict[str, tuple[int, int]]:
    """Return where the value of each member of a JSON object stands, in characters.

    Reads as far as it can: of a damaged object, the members before the damage. Of two members
    with one name, the last, which is the one that counts.

    >>> members('{"a": 1, "b": [2]}')
    {'a': (6, 7), 'b': (14, 17)}
    >>> members('{"a": 1, "b": [2')
    {'a': (6, 7)}
    """
    found: dict[str, tuple[int, int]] = {}
    decoder = json.JSONDecoder(strict=False)
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        return found
    at = _skip(text, at + 1)
    while text[at : at + 1] == '"':
        try:
            name, at = decoder.raw_decode(text, at)
            at = _skip(text, at)
            if text[at : at + 1] != ":":
                break
            start = _skip(text, at + 1)
            _, at = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            break
        found[name] = (start, at)
        at = _skip(text, at)
        if text[at : at + 1] != ",":
            break
        at = _skip(text, at + 1)
    return found


def locate(reason: str, field: str | None, detail: str, payload: bytes) -> Fault | None:
    """Return where the fault is, None if it has no place in the payload.

    Args:
        reason: value of `RejectReason`.
        field: the field at fault, if it is one.
        detail: the words it was rejected with.
        payload: not empty.
    """
    if reason == RejectReason.OVERSIZE.value:
        if len(payload) <= MAX_MESSAGE_BYTES:  # only its beginning was kept
            return None
        end = len(payload)
        return Fault(MAX_MESSAGE_BYTES, end, f"{end - MAX_MESSAGE_BYTES} bytes too many")
    try:
        text = payload.decode()
    except UnicodeDecodeError as e:
        return Fault(e.start, e.end, f"not UTF-8: {e.reason}")
    if reason == RejectReason.BAD_JSON.value:
        return _json_fault(detail, payload)
    if field is not None:
        return _field_fault(reason, field, text)
    return _whole_fault(reason, text)


def _whole_fault(reason: str, text: str) -> Fault | None:
    """Return the fault of a message as a whole."""
    if reason == RejectReason.WRONG_TYPE.value:
        start = _skip(text, 0)
        return _fault(text, start, start + 1, "an object is expected")
    half = _LONE_SURROGATE.search(text)
    if reason == RejectReason.BAD_ENCODING.value and half:
        return _fault(text, half.start(), half.end(), "half of a surrogate pair")
    return None


def _json_fault(detail: str, payload: bytes) -> Fault | None:
    if at := re.search(r"\(byte (\d+)\)", detail):
        # msgspec names the byte behind the first trailing one, otherwise the one at fault.
        start = min(int(at[1]) - ("trailing characters" in detail), len(payload))
        return Fault(start, start + 1, "here it stops being JSON")
    if "truncated" in detail:
        return Fault(len(payload), len(payload), "it ends here, too early")
    return None


def _field_fault(reason: str, field: str, text: str) -> Fault | None:
    values = members(text)
    if field in values:
        start, end = values[field]
        return _fault(text, start, end, _SAYS.get(reason, "").format(field=field) or field)
    closing = text.rfind("}")
    if closing >= 0:
        return _fault(text, closing, closing + 1, f"{field} is missing")
    return None


_SAYS: Final = {
    RejectReason.WRONG_TYPE.value: "{field} has the wrong type",
    RejectReason.UNKNOWN_VALUE.value: "{field} has no such value",
    RejectReason.OUT_OF_RANGE.value: "{field} is out of range",
    RejectReason.NUL_CHARACTER.value: "{field} holds U+0000",
    RejectReason.WRONG_AMOUNT.value: "{field} is not quantity * unit_price - discount",
    RejectReason.BEFORE_SIGN_UP.value: "{field} is before the customer's sign-up",
    RejectReason.KEY_MISMATCH.value: "{field} is not the key",
    RejectReason.UNKNOWN_VERSION.value: "{field} is not known",
    RejectReason.OTHER_CONTENT.value: "{field} is stored with another value",
    RejectReason.REFUSED_BY_DATABASE.value: "{field} was refused by PostgreSQL",
}


def _fault(text: str, start: int, end: int, comment: str) -> Fault:
    """Return a fault, from characters to bytes."""
    first = len(text[:start].encode())
    return Fault(first, first + len(text[start:end].encode()), comment)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
