"""The length of the spend windows: one for all rows of `user_spend_windows`, kept in the database.

SPEND_WINDOW must be the same: an ingest with another setting does not start, and one that runs
while the windows are rebuilt stops before it writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

import psycopg

from shop import postgres
from shop.errors import UsageError
from shop.postgres.connections import Connection, Cursor
from shop.postgres.sqlstate import retried
from shop.settings import Settings

_START_CHECK_S: Final = 2
_HELD: Final = "SELECT seconds FROM spend_window_length"
# The lock that every writer of windows takes anyway, but before it reads the length: it then waits
# for a rebuild in progress, and the statement after the lock sees the new length. ONLY: of a
# partitioned table the lock of the parent is enough.
_LOCK: Final = "LOCK TABLE ONLY user_spend_windows IN ROW EXCLUSIVE MODE"
_HOLD: Final = f"{_LOCK}; {_HELD}"
_FOLD: Final = """
INSERT INTO user_spend_windows (window_start, user_id, orders, spend)
SELECT date_bin(make_interval(secs => %s), ordered_at, 'epoch') AS start, user_id,
       count(*), sum(amount)
FROM orders WHERE status = 'PAID' GROUP BY start, user_id ORDER BY start, user_id
"""


class WindowLengthError(UsageError):
    """SPEND_WINDOW is not the length of the stored windows."""

    def __init__(self, held: int, wanted: int) -> None:
        super().__init__(
            f"SPEND_WINDOW is {wanted} s, but user_spend_windows holds windows of {held} s: set "
            f"SPEND_WINDOW={held}s, or rebuild them with `jangteo windows rebuild`"
        )


@dataclass(frozen=True)
class Rebuilt:
    """The result of a rebuild: lengths in seconds, rows before and after."""

    was_s: int | None
    length_s: int
    removed: int
    windows: int


def claim(cur: Cursor, length_s: int) -> None:
    """Declare the length of the windows about to be written; the first writer decides it.

    Args:
        cur: inside a transaction.
        length_s: seconds.

    Raises:
        WindowLengthError: if the stored windows have another length.
    """
    cur.execute(_LOCK)
    cur.execute(
        "INSERT INTO spend_window_length (seconds) VALUES (%s) ON CONFLICT DO NOTHING", (length_s,)
    )
    hold(cur, length_s)


def hold(cur: Cursor, length_s: int) -> None:
    """Keep the length as it is until the transaction ends.

    Args:
        cur: inside a transaction, before it has locked anything else.
        length_s: seconds, claimed earlier.

    Raises:
        WindowLengthError: if the windows have another length by now.
    """
    cur.execute(_HOLD)
    cur.nextset()
    row = cur.fetchone()
    if row is None or row[0] != length_s:
        raise WindowLengthError(row[0] if row else 0, length_s)


def length(conn: Connection) -> int | None:
    """Return the length of the stored windows in seconds; None before the first."""
    row = conn.execute(_HELD).fetchone()
    return int(row[0]) if row else None


def refuse_another(settings: Settings) -> None:
    """Refuse to start with another length than that of the windows, if PostgreSQL answers now.

    Raises:
        WindowLengthError: if the lengths differ; the message says what to do.
    """
    try:
        conn = postgres.connect(settings.postgres, "windows", timeout=_START_CHECK_S)
        with conn:
            held = length(conn)
    except psycopg.Error:  # unreachable, or without a schema yet: the first batch will check
        return
    if held is not None and held != settings.spend_window:
        raise WindowLengthError(held, settings.spend_window)


def rebuild(conn: Connection, length_s: int) -> Rebuilt:
    """Rebuild all windows and rollups from the orders, in one transaction, with the shop running.

    Writers wait, readers see the old windows until it is done (hence DELETE: TRUNCATE would shut
    them out). PAID orders are authoritative, so this repairs windows and rollups, too.

    Args:
        conn: outside a transaction.
        length_s: seconds.
    """
    return retried(partial(_rebuild, conn, length_s))


def _rebuild(conn: Connection, length_s: int) -> Rebuilt:
    with conn.transaction(), conn.cursor() as cur:
        cur.execute("LOCK TABLE user_spend_windows, orders IN SHARE ROW EXCLUSIVE MODE")
        was = length(conn)
        removed = cur.execute("DELETE FROM user_spend_windows").rowcount
        windows = fold_all(cur, length_s)
        cur.execute("SELECT rebuild_sales(), rebuild_customer_rollups()")
        cur.execute(
            "INSERT INTO spend_window_length (seconds) VALUES (%s)"
            " ON CONFLICT (only_row) DO UPDATE SET seconds = excluded.seconds",
            (length_s,),
        )
    return Rebuilt(was, length_s, removed, windows)


def fold_all(cur: Cursor, length_s: int) -> int:
    """Fold the windows of all orders into the empty table; return how many there are."""
    return cur.execute(_FOLD, (length_s,)).rowcount


def fit(conn: Connection, length_s: int, *, alone: bool) -> Rebuilt | None:
    """Make the windows fit a length before any process writes; None if they do already.

    Args:
        conn: a connection to the windows' database.
        length_s: wanted length, seconds.
        alone: whether no other process can write windows, so that they may be rebuilt unasked.

    Raises:
        WindowLengthError: if they have another length, and others may depend on it.
    """
    held = length(conn)
    if held in (None, length_s):
        return None
    if not alone:
        raise WindowLengthError(held, length_s)
    return rebuild(conn, length_s)


def describe(rebuilt: Rebuilt) -> str:
    """Return one line for people.

    >>> describe(Rebuilt(300, 600, 20, 11))
    'windows of 300 s rebuilt as windows of 600 s: 11 rows instead of 20'
    """
    was = f"windows of {rebuilt.was_s} s" if rebuilt.was_s else "windows"
    return (
        f"{was} rebuilt as windows of {rebuilt.length_s} s: "
        f"{rebuilt.windows:,} rows instead of {rebuilt.removed:,}"
    )
