"""What an error of PostgreSQL means for a batch, by SQLSTATE (PostgreSQL docs, appendix A)."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

import psycopg


class Verdict(Enum):
    """What to do about an error."""

    RETRY = "retry"
    """The server, not the data: try the same batch again, for ever."""
    REJECT = "reject"
    """One record's data: put that record aside, store the others."""
    STOP = "stop"
    """Nothing that time or another record would mend: stop loudly."""


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
}
_DATA_CLASSES: Final = {"22": "data exception", "23": "integrity constraint"}
_UNIQUE_VIOLATION: Final = "23505"
_COPY_LINE: Final = re.compile(r"^COPY \S+, line (\d+)", re.MULTILINE)


def judge(error: psycopg.Error) -> Verdict:
    """Return what to do about an error.

    >>> judge(psycopg.errors.DiskFull()), judge(psycopg.errors.NumericValueOutOfRange())
    (<Verdict.RETRY: 'retry'>, <Verdict.REJECT: 'reject'>)
    >>> judge(psycopg.errors.UndefinedTable())
    <Verdict.STOP: 'stop'>
    """
    state = error.sqlstate
    if state is None:  # no word from the server: the connection broke or was never made
        return Verdict.RETRY if isinstance(error, psycopg.OperationalError) else Verdict.STOP
    if state[:2] in _RETRY_CLASSES or state in _RETRY_STATES:
        return Verdict.RETRY
    if state[:2] in _DATA_CLASSES and state != _UNIQUE_VIOLATION:
        return Verdict.REJECT
    return Verdict.STOP


def copy_line(error: psycopg.Error) -> int | None:
    """Return the line of the COPY data that an error names, from 0; None if it names none."""
    match = _COPY_LINE.search(error.diag.context or "")
    return int(match[1]) - 1 if match else None
