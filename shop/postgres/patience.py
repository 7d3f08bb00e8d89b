"""How long this process waits for PostgreSQL: longer where it lately answered too late.

A session begins with four or five answers, one after the other. A server behind a slow network, or
on a machine that is overloaded, gives each of them, but not all within the time that a dead one is
worth waiting for.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Final

import psycopg

from shop.postgres.deadline import Deadline
from shop.retry import Patience
from shop.settings import PostgresSettings

FIRST_S: Final = 5
LONGEST_S: Final = 20
"""Enough where each answer takes four seconds."""
_LATE: Final = 0.9
"""A failure after this share of the time is one of time."""

_known: Final[dict[str, Patience]] = {}
"""By the address of a server."""


def _of(settings: PostgresSettings) -> Patience:
    return _known.setdefault(settings.where, Patience(FIRST_S, LONGEST_S))


def patience_s(settings: PostgresSettings) -> int:
    """Return the seconds that a server is waited for now."""
    return _of(settings).seconds


@contextlib.contextmanager
def waiting(settings: PostgresSettings, allowed_s: float) -> Iterator[None]:
    """Note whether the server answers in the time that it is allowed, or would need more.

    Args:
        settings: name the server.
        allowed_s: seconds after which the work in the context fails.
    """
    began = time.monotonic()
    try:
        yield
    except psycopg.OperationalError:
        if time.monotonic() - began >= _LATE * allowed_s:
            _of(settings).too_late()
        raise
    _of(settings).answered(time.monotonic() - began)


@contextlib.contextmanager
def patient(
    conn: psycopg.Connection[Any], settings: PostgresSettings, times: int = 1
) -> Iterator[None]:
    """Shut a connection down unless the context ends in the time that the server is allowed.

    Args:
        conn: a connection that only this thread uses.
        settings: name its server.
        times: how many times `patience_s`.
    """
    allowed = times * patience_s(settings)
    with waiting(settings, allowed), Deadline(conn, allowed):
        yield
