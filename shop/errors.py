"""Errors a person can act on, and the exit codes they end a command with."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a `jangteo` command says with its exit code; each means the same in every command.

    The one exception are commands that become another program: `psql` and, once it runs, `ingest`.
    """

    OK = 0
    """Everything asked for was done."""
    FAILED = 1
    """The work ran and its result is not good: a check failed, a record is missing."""
    USAGE = 2
    """The command line or a setting is wrong; nothing was started."""
    UNREACHABLE = 3
    """A server that the command needs cannot be reached, or no shop runs and none is named."""
    TIMEOUT = 4
    """The work did not finish in the time it was given."""
    CRASH = 70
    """A defect of this program (EX_SOFTWARE of sysexits.h)."""
    INTERRUPTED = 130
    """Ended by Ctrl-C (128 + SIGINT)."""
    BROKEN_PIPE = 141
    """Nobody reads the output any more (128 + SIGPIPE), as after `jangteo ... | head`."""


class JangteoError(Exception):
    """Base of the errors that are shown as one line and never as a traceback."""

    exit_code: ExitCode = ExitCode.FAILED

    @classmethod
    def of(cls, code: int, text: str) -> JangteoError:
        """Return the error of another command of ours, which ended with this exit code."""
        error = cls(text)
        error.exit_code = ExitCode(code) if code in set(ExitCode) - {0} else ExitCode.FAILED
        return error


class UsageError(JangteoError):
    """A command line or setting that cannot be meant; the message says what to do instead."""

    exit_code = ExitCode.USAGE


class DeadlineError(JangteoError):
    """What did not happen in the time it was given; the message says what and how long."""

    exit_code = ExitCode.TIMEOUT


class UnreachableError(JangteoError):
    """A server that does not answer; the message says which, where and what was tried."""

    exit_code = ExitCode.UNREACHABLE
