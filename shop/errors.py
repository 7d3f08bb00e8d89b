"""Errors a person can act on, and the exit codes they end a command with."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """The exit codes of all commands, each with its meaning.

    Commands that become another program, `psql` and `ingest`, end with that program's.
    """

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitCode:
        """Make a member that carries its meaning."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    OK = 0, "everything asked for was done"
    FAILED = 1, "the work ran and its result is not good: a check failed, a record is missing"
    USAGE = 2, "the command line or a setting is wrong; nothing was started"
    UNREACHABLE = 3, "a server that the command needs cannot be reached, or no shop is running"
    TIMEOUT = 4, "the work did not finish in the time it was given"
    CRASH = 70, "a defect of this program (EX_SOFTWARE of sysexits.h)"
    INTERRUPTED = 130, "interrupted by Ctrl-C (128 + SIGINT)"
    BROKEN_PIPE = (
        141,
        "the reader of the output is gone, as with a pipe to `head` (128 + SIGPIPE)",
    )


class JangteoError(Exception):
    """Base of the errors that are shown as one line and never as a traceback."""

    exit_code: ExitCode = ExitCode.FAILED

    @classmethod
    def of(cls, code: int, text: str) -> JangteoError:
        """Return the kind of error with which another command ended, by its exit code."""
        error = cls(text)
        error.exit_code = next((c for c in ExitCode if c == code != 0), ExitCode.FAILED)
        return error


class UsageError(JangteoError):
    """A command line or setting is not valid; the message says what to do instead."""

    exit_code = ExitCode.USAGE


class DeadlineError(JangteoError):
    """Something did not happen in time; the message names it and the time allowed."""

    exit_code = ExitCode.TIMEOUT


class UnreachableError(JangteoError):
    """A server does not answer; the message names it, its address and what was tried."""

    exit_code = ExitCode.UNREACHABLE


TROUBLES: Final[Mapping[str, str]] = {
    "foreign": "{member} at {host} is in {group}, is not an ingest of this shop, and has {what}",
    "holds": "partitions {ids}",
    "holds_none": "none yet",
    "removed": "{count} offsets of partitions {ids} were removed before they were read ({command})",
    "unheld": "no ingest has partitions {ids}",
    "still": "partitions {ids} have not advanced for {seconds} s, with {count} offsets to apply",
    "still_uncounted": "it has not been known for {seconds} s whether partitions {ids} advance: "
    "PostgreSQL does not answer",
    "more": "{first} and {count} more",
    "blocked": "{ingest} has waited {seconds} s for a lock that pid {pid} ({who}, in its "
    "transaction for {lasts} s) holds: {query}",
    "standby": "PostgreSQL is a standby: it takes no writes until it is promoted",
    "read_only": "the database is read-only ({setting})",
    "waits": "{ingest} waits: {error}",
}
"""Lines about what keeps a topic from advancing, by kind, and parts of such lines."""


class Trouble(str):
    """One line of what keeps a topic from advancing, with its kind and its values.

    The line is English, for logs and health checks; a program that shows it in another language
    renders kind and values instead of reading the line.

    >>> line = Trouble("unheld", ids="0, 1")
    >>> line, line.kind, line.values
    ('no ingest has partitions 0, 1', 'unheld', {'ids': '0, 1'})
    """

    kind: str
    values: Mapping[str, str | int]

    def __new__(cls, kind: str, **values: str | int) -> Trouble:
        """Render the line from its kind and values."""
        line = super().__new__(cls, TROUBLES[kind].format(**values))
        line.kind, line.values = kind, values
        return line
