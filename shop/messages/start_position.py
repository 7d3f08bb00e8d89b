"""Where in a topic reading begins, as a person types it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from shop.clock import UTC, parse_time_or_ago
from shop.errors import UsageError

MOST_LAST: Final = 100_000


@dataclass(frozen=True)
class StartPosition:
    """Where reading begins.

    Attributes:
        kind: the beginning, the end, an offset, the last N messages, a time.
        value: the offset, the number of messages, or milliseconds since 1970.
    """

    kind: Literal["beginning", "end", "offset", "last", "time"]
    value: int = 0


def parse(text: str, now: datetime) -> StartPosition:
    """Return the position that a text names, such as `-50`, `beginning` or `15m`.

    Raises:
        UsageError: if it has none of the five forms.

    >>> parse("-5", datetime.now(UTC)), parse("42", datetime.now(UTC))
    (StartPosition(kind='last', value=5), StartPosition(kind='offset', value=42))
    >>> parse("2026-01-01", datetime(2026, 1, 2, tzinfo=UTC)).value == 1767225600000
    True
    """
    words = {"beginning": "beginning", "earliest": "beginning", "end": "end", "latest": "end"}
    if text in words:
        return StartPosition("beginning" if words[text] == "beginning" else "end")
    if re.fullmatch(r"-?\d{1,18}", text):
        number = int(text)
        if not text.startswith("-"):
            return StartPosition("offset", number)
        if not 1 <= -number <= MOST_LAST:
            raise UsageError(f"{text}: the last 1 to {MOST_LAST:,} messages can be shown")
        return StartPosition("last", -number)
    try:
        at = parse_time_or_ago(text, now, zone=UTC)
    except ValueError:
        raise UsageError(
            f"{text!r}: expected beginning, end, an offset, -N for the last N messages, "
            "a time such as 2026-11-28T09:00:00Z (UTC unless it has an offset), or 15m for "
            "15 minutes ago"
        ) from None
    if at > now:
        raise UsageError(f"{text}: that is in the future; it is {now:%Y-%m-%dT%H:%M:%SZ}")
    return StartPosition("time", int(at.timestamp() * 1000))
