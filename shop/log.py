"""Structured logs on stderr: logfmt for people, JSON with LOG_FORMAT=json; never a secret."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TextIO

from shop.output import attempt, escape_in_lines

if TYPE_CHECKING:
    from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

_SECRET_KEY: Final = re.compile(r"passw|secret|token|credential", re.IGNORECASE)
_URL_PASSWORD: Final = re.compile(r"(\w+://[^:/@\s]*):[^/\s]+@")
_QUERY_PASSWORD: Final = re.compile(r"(\w+://\S*?[?&](?:ssl_)?password)=[^&\s]+")
MASK: Final = "********"  # of fixed width: the length of a secret is a hint too
_pending: Callable[[], None] | None = None
"""The pending set-up: structlog takes 0.1 s to import, and many commands log nothing."""


def redact(text: str) -> str:
    """Mask the password of any URL in `text`.

    >>> redact("redis://:hunter2@127.0.0.1:6379/0")
    'redis://:********@127.0.0.1:6379/0'
    >>> redact("redis://:a@b@h/0?password=x&db=1")
    'redis://:********@h/0?password=********&db=1'
    """
    masked = _URL_PASSWORD.sub(rf"\1:{MASK}@", text)
    return _QUERY_PASSWORD.sub(rf"\1={MASK}", masked)


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


def _rendered(renderer: Any, logger: WrappedLogger, name: str, event: EventDict) -> str:
    """Render an event as one line without terminal control characters; JSON stays JSON."""
    return escape_in_lines(str(renderer(logger, name, event))).replace("\n", "\\n")


class _Lines:
    """Where lines go: a log on a full disk, or without a reader, never ends what it reports on.

    Args:
        stream: where lines go; None: `sys.stderr` at the time of writing.
        as_json: whether lost lines are reported as JSON.
    """

    def __init__(self, stream: TextIO | None, *, as_json: bool) -> None:
        self._stream = stream
        self._json = as_json
        self._lost = 0
        self._lock = threading.Lock()

    def msg(self, line: str) -> None:
        """Write a line, or count it as lost; the next line that succeeds reports the count."""
        with self._lock:
            note = self._note() if self._lost else ""
            failed = attempt(self._stream or sys.stderr, f"{note}{line}\n")
            self._lost = self._lost + 1 if failed else 0

    log = debug = info = warn = warning = error = critical = exception = fatal = failure = err = msg

    def _note(self) -> str:
        event = "log lines are missing before this one"
        if self._json:
            return json.dumps({"level": "warning", "event": event, "lines": self._lost}) + "\n"
        return f'level=warning event="{event}" lines={self._lost}\n'


def configure(
    process: str, *, level: str = "info", fmt: str = "logfmt", stream: TextIO | None = None
) -> None:
    """Set up logging for this process; done when the first logger is asked for.

    Args:
        process: name that every line carries, such as ``orders``.
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
    lines = _Lines(stream, as_json=fmt == "json")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            partial(_name_process, process),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact_event,
            partial(_rendered, renderer),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )


def bind(**fields: str) -> None:
    """Add these fields to every line that this thread logs from now on."""
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
