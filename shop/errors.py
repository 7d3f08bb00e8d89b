"""Errors a person can act on, and the exit codes they end a command with."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a `jangteo` command says with its exit code."""

    OK = 0
    """Everything asked for was done."""
    FAILED = 1
    """The work ran and its result is not good: a check failed, a record is missing."""
    USAGE = 2
    """The command line or a setting is wrong; nothing was started."""
    UNREACHABLE = 3
    """A server that the command needs cannot be reached."""
    TIMEOUT = 4
    """The work did not finish in the time it was given."""
    CRASH = 70
    """A defect of this program (EX_SOFTWARE of sysexits.h)."""
    INTERRUPTED = 130
    """Ended by Ctrl-C (128 + SIGINT)."""


class JangteoError(Exception):
    """Base of the errors that are shown as one line and never as a traceback."""

    exit_code: ExitCode = ExitCode.FAILED


class UsageError(JangteoError):
    """A command line or setting that cannot be meant; the message says what to do instead."""

    exit_code = ExitCode.USAGE


class UnreachableError(JangteoError):
    """A server that does not answer; the message says which, where and what was tried."""

    exit_code = ExitCode.UNREACHABLE
