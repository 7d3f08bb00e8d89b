"""Structured logs on stderr: logfmt for people, JSON with LOG_FORMAT=json; never a secret."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

_SECRET_KEY: Final = re.compile(r"passw|secret|token|credential", re.IGNORECASE)
_URL_PASSWORD: Final = re.compile(r"(\w+://[^:/@\s]*):[^@/\s]+@")
MASK: Final = "********"  # of fixed width: the length of a secret is a hint too
_pending: Callable[[], None] | None = None
"""What is still to be set up: structlog takes 0.1 s to import, and many commands say nothing."""


def redact(text: str) -> str:
    """Mask the password of any URL in `text`.

    >>> redact("redis://:hunter2@127.0.0.1:6379/0")
    'redis://:********@127.0.0.1:6379/0'
    """
    return _URL_PASSWORD.sub(rf"\1:{MASK}@", text)


def _redact_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if _SECRET_KEY.search(key):
            event[key] = MASK
        elif isinstance(value, str):
            event[key] = redact(value)
    return event


def _name_process(process: str, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
    # Not a context variable: those are empty in a new thread.
    event.setdefault("process", process)
    return event


def configure(
    process: str, *, level: str = "info", fmt: str = "logfmt", stream: TextIO | None = None
) -> None:
    """Set up logging for this process; done when the first logger is asked for.

    Args:
        process: name that every line carries, e.g. ``orders``.
        level: debug, info, warning or error.
        fmt: ``logfmt`` or ``json``.
        stream: where lines go; stderr by default, stdout is for data.
    """
    global _pending  # noqa: PLW0603  (the process's logging is one)
    _pending = partial(_set_up, process, level, fmt, stream)


def _set_up(process: str, level: str, fmt: str, stream: TextIO | None) -> None:
    import structlog  # noqa: PLC0415  (see `_pending`)

    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if fmt == "json"
        else structlog.processors.LogfmtRenderer(
            key_order=["timestamp", "level", "process", "event"], drop_missing=True
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            partial(_name_process, process),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_event,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(file=stream or sys.stderr),
        cache_logger_on_first_use=False,
    )


def bind(**fields: str) -> None:
    """Let every line that this thread logs from now on carry these fields."""
    import structlog  # noqa: PLC0415  (see `_pending`)

    structlog.contextvars.bind_contextvars(**fields)


def get_logger() -> FilteringBoundLogger:
    """Return the process's logger."""
    import structlog  # noqa: PLC0415  (see `_pending`)

    global _pending  # noqa: PLW0603  (the process's logging is one)
    if (set_up := _pending) is not None:
        set_up()  # by two threads at once: the same twice
        _pending = None
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger
