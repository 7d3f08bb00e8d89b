"""What an error of PostgreSQL means for a batch, by SQLSTATE (PostgreSQL docs, appendix A).

No error means that a message is bad. What decoding accepts fits every type and constraint of our
own schema (a test compares the two), so a refusal has another cause: another service's constraint,
trigger, column or policy, a missing right, a schema of another version. Fixing the cause stores the
message; a dead letter would lose it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from enum import Enum
from typing import Final, TypeVar

import psycopg

from shop.log import get_logger
from shop.retry import backoff, first_line

Result = TypeVar("Result")


class Verdict(Enum):
    """The reaction to an error."""

    RETRY = "retry"
    """The server is away or busy: try the same batch again, for ever."""
    HOLD = "hold"
    """The schema, a right or a session is wrong: report it, and try again until it is fixed."""
    STOP = "stop"
    """A defect of this program: stop."""


_RETRY_CLASSES: Final = {
    "08": "connection",
    "53": "resources: disk full, out of memory, too many connections",
    "57": "operator intervention: shutdown, restart, cancelled, statement time-out",
    "58": "system error: input/output",
    "40": "rolled back: deadlock, serialization",
}
_RETRY_STATES: Final = {
    "55P03": "lock not available",
    "55006": "object in use",
    "25006": "read only: a standby that is about to be promoted",
    "25P02": "transaction aborted earlier",
    "25P03": "idle in transaction time-out",
    "25P04": "transaction time-out",
}
COLLISIONS: Final = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)
"""Another session got in the way: what was rolled back can be done again at once."""
_TRIES: Final = 6
_COPY_LINE: Final = re.compile(r"^COPY \S+, line (\d+)(?:, column ([^\s:]+))?", re.MULTILINE)
_RIGHTS: Final = ("28", "42501")
_MISSING: Final = ("3D", "3F", "42P01", "42703", "42883", "42P10", "42704", "42804")


def judge(error: psycopg.Error) -> Verdict:
    """Return what to do about an error.

    >>> judge(psycopg.errors.DiskFull()), judge(psycopg.errors.NumericValueOutOfRange())
    (<Verdict.RETRY: 'retry'>, <Verdict.HOLD: 'hold'>)
    >>> judge(psycopg.errors.UndefinedTable())
    <Verdict.HOLD: 'hold'>
    """
    state = error.sqlstate
    if state is None:  # no answer from the server: the connection broke or was never made
        return Verdict.RETRY if isinstance(error, psycopg.OperationalError) else Verdict.STOP
    if state[:2] in _RETRY_CLASSES or state in _RETRY_STATES:
        return Verdict.RETRY
    return Verdict.HOLD


def explain(error: psycopg.Error) -> str:
    """Return in one line what is refused, by what, and what to do; for `Verdict.HOLD`.

    >>> explain(psycopg.errors.UndefinedTable('relation "orders" does not exist'))
    'relation "orders" does not exist (42P01): run `jangteo init`, or restore what was removed'
    """
    state = error.sqlstate or ""
    by = _culprit(error)
    return f"{first_line(error)} ({state}{by}): {_advice(error)}"


def _culprit(error: psycopg.Error) -> str:
    """Name the constraint, column and table that the server's answer names."""
    found = error.diag
    in_copy = _COPY_LINE.search(found.context or "")
    column = found.column_name or (in_copy[2] if in_copy else None)
    named = (
        ("constraint", found.constraint_name),
        ("column", column),
        ("type", found.datatype_name),
        ("table", found.table_name),
        ("function", _function(found.context)),
    )
    return "".join(f", {kind} {name}" for kind, name in named if name)


def _function(context: str | None) -> str | None:
    match = re.search(r"^(?:PL/\S+|SQL) function (\S+)", context or "", re.MULTILINE)
    return match[1] if match else None


def _advice(error: psycopg.Error) -> str:
    state = error.sqlstate or ""
    if state == "23514" and not error.diag.constraint_name:  # every check has a name but this one
        return "create the partition for these rows, or a default one"
    if state.startswith(_RIGHTS):
        return "give the role its rights (`jangteo init --roles`), or drop the policy"
    if state.startswith(_MISSING):
        return "run `jangteo init`, or restore what was removed"
    return "the shop's own tables take this; remove or change what was added to them"


def retried(work: Callable[[], Result]) -> Result:
    """Do a piece of work, again if another session interfered (deadlock, serialization failure).

    Args:
        work: one whole transaction.
    """
    for attempt in range(1, _TRIES):
        try:
            return work()
        except COLLISIONS as e:
            get_logger().warning("rolled back, trying again", error=first_line(e))
            time.sleep(backoff(attempt))
    return work()


def copy_line(error: psycopg.Error) -> int | None:
    """Return the line of the COPY data that an error names, from 0; None if it names none."""
    match = _COPY_LINE.search(error.diag.context or "")
    return int(match[1]) - 1 if match else None
