"""The values of the variables of the console's notifications."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

WAYS: Final = ("bell", "osc9")
"""How a terminal notifies: it rings, or shows a desktop notification (OSC 9)."""
KINDS: Final = ("server", "lag", "brokers", "cache", "process", "clock")
"""Of what the console notifies."""


def read_ways(text: str) -> tuple[str, ...]:
    """Read ways of a terminal.

    Raises:
        ValueError: if one is not known.
    """
    found = tuple(w.strip().lower() for w in text.split(",") if w.strip())
    if not set(found) <= set(WAYS):
        raise ValueError(text)
    return found


def read_kinds(text: str) -> tuple[tuple[str, float | None], ...]:
    """Read kinds with seconds.

    >>> read_kinds("server, lag:60")
    (('server', None), ('lag', 60.0))

    Raises:
        ValueError: if a kind is not known or the seconds are not a number from 0 on.
    """
    found = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        kind, _, seconds = part.partition(":")
        wait = float(seconds) if seconds else None
        if kind not in KINDS or (wait is not None and not 0 <= wait < float("inf")):
            raise ValueError(text)
        found.append((kind, wait))
    return tuple(found)


def checked_address(text: str) -> str:
    """Return an address of a webhook; empty for none.

    Raises:
        ValueError: if it is not an http or https URL with a host.
    """
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise ValueError(text)
    return text
