"""Errors a person can act on, and the exit codes they end a command with."""

from __future__ import annotations

from enum import IntEnum


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
        "the reader of the output is gone, as in `jangteo ... | head` (128 + SIGPIPE)",
    )


class JangteoError(Exception):
    """Base of the errors that are shown as one line and never as a traceback."""

    exit_code: ExitCode = ExitCode.FAILED

    @classmethod
    def of(cls, code: int, text: str) -> JangteoError:
        """Return the error of another command, which ended with this exit code."""
        error = cls(text)
        error.exit_code = next((c for c in ExitCode if c == code != 0), ExitCode.FAILED)
        return error


class UsageError(JangteoError):
    """A command line or setting that is not valid; the message says what to do instead."""

    exit_code = ExitCode.USAGE


class DeadlineError(JangteoError):
    """Something did not happen in time; the message says what, and how long was allowed."""

    exit_code = ExitCode.TIMEOUT


class UnreachableError(JangteoError):
    """A server that does not answer; the message says which, where and what was tried."""

    exit_code = ExitCode.UNREACHABLE
