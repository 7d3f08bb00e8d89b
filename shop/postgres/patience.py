"""How long this process waits for PostgreSQL: longer where it lately answered too late.

A session begins with four or five answers, one after the other. A server behind a slow network, or
on a machine that is overloaded, gives each of them, but not all within the time that a dead one is
worth waiting for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

import psycopg

from shop.postgres.deadline import Deadline
from shop.retry import Patience
from shop.settings import PostgresSettings

FIRST_S: Final = 5
LONGEST_S: Final = 20
"""Enough where each answer takes four seconds."""

_known: Final[dict[str, Patience]] = {}
"""By the address of a server."""


def patience_with(settings: PostgresSettings) -> Patience:
    """Return this process's patience with a server."""
    return _known.setdefault(settings.where, Patience(FIRST_S, LONGEST_S))


@contextlib.contextmanager
def patient(conn: psycopg.Connection[Any], settings: PostgresSettings) -> Iterator[None]:
    """Shut a connection down unless the context ends in the time that the server is allowed.

    Args:
        conn: a connection that only this thread uses.
        settings: name its server.
    """
    patience = patience_with(settings)
    with patience.waiting(), Deadline(conn, patience.seconds):
        yield
