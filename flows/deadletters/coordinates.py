"""Parses the place of a dead letter in every form in which it is printed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from shop.errors import UsageError
from shop.events import CONTRACTS
from shop.output import escape

_PLACE: Final = re.compile(
    rf"(?P<topic>{'|'.join(CONTRACTS)})(?:\[(?P<p>\d{{1,10}})\]@|[ /](?P<p2>\d{{1,10}})[ /])"
    r"(?P<offset>\d{1,19})(?: +log +(?P<log_id>\S+))?"
)


def place_in(words: Sequence[str]) -> dict[str, Any]:
    """Read a place in any form that `list` and `show` print, with or without --json.

    Raises:
        UsageError: if it is none of them.

    >>> place_in(["orders", "3", "17"]) == place_in(["orders[3]@17"])
    True
    >>> place_in(["orders[3]@17  log tAn5u/9f3c"])["log_id"]
    'tAn5u/9f3c'
    """
    given = " ".join(words).strip()
    if given.startswith("{"):
        given = _place_of_json(given)
    match = _PLACE.fullmatch(given)
    place = match.groupdict() if match else {}
    partition, offset = int(place.get("p") or place.get("p2") or 0), int(place.get("offset", 0))
    if match is None or partition >= 2**31 or offset >= 2**63:
        raise UsageError(
            f"{escape(given)[:200]!r}: expected TOPIC PARTITION OFFSET, such as orders 3 "
            "17, or a place as `list` prints it, such as 'orders[3]@17'"
        )
    found = {"topics": (match["topic"],), "partition": partition, "offset": offset}
    return {**found, "log_id": match["log_id"]} if match["log_id"] else found


def _place_of_json(text: str) -> str:
    """Return the place in a line of `list --json`, as `show` prints it."""
    try:
        record = msgspec.json.decode(text)
        log = f" log {record['log_id']}" if record.get("log_id") else ""
        return f"{record['topic']}[{record['partition']}]@{record['offset']}{log}"
    except (msgspec.DecodeError, KeyError, RecursionError):
        return text
