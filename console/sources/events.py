"""Events: the ends of the processes' logs, and the operators' actions."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import redis

from console import translations as msg
from console.actions import journal
from console.snapshot.model import EventKind, Happening
from console.sources import LONGEST_DEADLINE_S, CurrentSettings
from console.text import printable, without_escapes
from console.translations import Message, Text, word
from shop.clock import UTC, Clock, parse_time, utc_now
from shop.events import CONTRACTS
from shop.log import redact
from shop.private_files import open_to_read
from shop.redis import cache

FIRST_BYTES: Final = 4_096
"""How far back a log is read when the console starts."""
MOST_BYTES: Final = 64 << 10
"""Read of one log at a time; what is beyond is skipped, and a line reports it."""
_REDIS_REST_S: Final = 5.0

_PAIR: Final = re.compile(r'([\w.]+)=("(?:[^"\\]|\\.)*"|\S*)')
_POSTGRES: Final = re.compile(
    r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(\.\d+)? UTC \[\d+\] .*?([A-Z]+[0-9]?):\s+(.*)"
)
_POSTGRES_LEVELS: Final = {
    "WARNING": "warning",
    "ERROR": "error",
    "FATAL": "error",
    "PANIC": "error",
}
_HANDLED: Final = re.compile(
    rf'duplicate key value violates unique constraint "(?:{"|".join(CONTRACTS)})\w*_pkey"'
)
"""What PostgreSQL logs where a message came twice: the ingest takes its other path, by design."""
_LIBRDKAFKA: Final = re.compile(r"%(\d)\|[\d.]+\|(\w+)\|[^|]*\| ?(.*)")
_STAMPED: Final = re.compile(
    r"\[?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?)(?: ?(Z|UTC|[+-]\d\d:?\d\d))?\]?"
    r"[ :|-]*(?:\[?(TRACE|DEBUG|INFO|WARN(?:ING)?|ERROR|FATAL|CRITICAL)\]?[ :|-]+)?(.*)",
    re.IGNORECASE,
)
_LEVELS: Final = {
    "TRACE": "debug", "DEBUG": "debug", "WARN": "warning", "WARNING": "warning",
    "ERROR": "error", "FATAL": "error", "CRITICAL": "critical",
}  # fmt: skip
_REDIS_SIGNAL: Final = re.compile(r"\d+:signal-handler \((\d+)\) (.*)")
"""What Redis logs where a signal reaches it: the time in seconds since 1970."""
_REDIS: Final = re.compile(r"\d+:[A-Z] (\d+ \w{3} \d{4} [\d:]+)\.\d+ ([.*#-]) (.*)")
_REDIS_USUAL: Final = re.compile(
    r"oO0OoO0OoO0Oo |Redis version=|Configuration loaded|Server initialized|User requested shutdown"
    r"|Redis is now ready to exit"
)
"""What every start and stop of Redis logs as a warning, so that it is never filtered out there."""
_KNOWN: Final = ("timestamp", "level", "process", "event")
_LONGEST: Final = 1_000
"""Characters of a line: the counters of an ingest with all optional topics have 600."""


class EventSource:
    """Follows every log of a data directory, and the operators' journal.

    Args:
        current: the data directory and Redis are.
        clock: dates lines that carry no time.
    """

    name = "events"

    def __init__(
        self, current: CurrentSettings, *, interval: float = 0.5, clock: Clock = utc_now
    ) -> None:
        self.interval = interval
        self.deadline = LONGEST_DEADLINE_S
        self._current = current
        self._clock = clock
        self._tails: dict[Path, Tail] = {}
        self._client: redis.Redis | None = None
        self._last = "-"
        self._rest_until = float("-inf")

    def read(self) -> list[Happening]:
        """Return what happened since the last call, by time."""
        return sorted([*self._logs(), *self._actions()], key=lambda h: h.at)

    def reset(self) -> None:
        """Close the connection to Redis; the places in the logs are kept."""
        if self._client is not None:
            self._client.close()
        self._client = None

    def _logs(self) -> Iterator[Happening]:
        folder = self._current.settings.data_dir / "logs"
        for path in sorted(folder.glob("*.log")):
            tail = self._tails.setdefault(path, Tail(path))
            for line in tail.read():
                if isinstance(line, Message):
                    yield Happening(self._clock(), EventKind.LOG, "info", path.stem, line)
                elif line.strip():
                    yield parse(line, path.stem, self._clock())

    def _actions(self) -> Iterator[Happening]:
        """Yield the journal's new entries; Redis being away is another source's story."""
        if time.monotonic() < self._rest_until:
            return
        try:
            if self._client is None:
                url = self._current.settings.redis_url
                self._client = cache.client(url, timeout=self.deadline)
            found = journal.read(self._client, self._last)
        except redis.RedisError:
            self.reset()
            self._rest_until = time.monotonic() + _REDIS_REST_S
            return
        for key, entry in found:
            self._last = key
            level = "info" if entry.outcome == "done" else "warning"
            text = msg.ACTED(
                action=entry.action,
                outcome=word(entry.outcome),
                result=entry.result,
                who=entry.who,
            )
            yield Happening(entry.at, EventKind.ACTION, level, "operator", text)


class Tail:
    """Follows a file that grows, is rotated, or is truncated.

    Args:
        path: may not exist yet.
        first: bytes before its end that the first read returns.
    """

    def __init__(self, path: Path, first: int = FIRST_BYTES) -> None:
        self._path = path
        self._first = first
        self._place: tuple[int, int] | None = None
        self._rest = b""

    def read(self) -> list[Text]:
        """Return the lines that were completed since the last call."""
        try:
            found = self._path.stat()
            if self._place == (found.st_ino, found.st_size):
                return []  # the usual case: opening it safely costs ten times as much
            with os.fdopen(open_to_read(self._path), "rb") as file:
                return self._lines(file)
        except OSError:
            return []

    def _lines(self, file: Any) -> list[Text]:
        end = file.seek(0, 2)
        inode = self._path.stat().st_ino
        skipped: list[Text] = []
        if self._place is None:
            start = max(0, end - self._first)
        elif self._place[0] != inode or self._place[1] > end:
            start, self._rest = 0, b""
        else:
            start = self._place[1]
        partial = self._place is None and start > 0
        if end - start > MOST_BYTES:
            skipped = [msg.SKIPPED(bytes=end - start - MOST_BYTES)]
            start, self._rest, partial = end - MOST_BYTES, b"", True
        file.seek(start)
        data = self._rest + file.read(end - start)
        self._place = (inode, end)
        *lines, self._rest = data.split(b"\n")
        if partial and lines:
            lines = lines[1:]
        return [*skipped, *(line.decode(errors="replace") for line in lines)]


def parse(line: str, source: str, now: datetime) -> Happening:  # noqa: PLR0911  (one for each form)
    r"""Read a line of a log: our logfmt or JSON, PostgreSQL's, Redis's, Kafka's, or any text.

    Escape codes and the time stamps of other programs are taken out of the text.

    >>> now = datetime(2026, 1, 1, tzinfo=UTC)
    >>> h = parse('timestamp=2026-11-23T10:55:40Z level=warning process=orders '
    ...           'event="waiting for server" server=x', "orders", now)
    >>> h.at.isoformat(), h.level, h.source, h.text
    ('2026-11-23T10:55:40+00:00', 'warning', 'orders', 'waiting for server server=x')
    >>> parse("2026-11-23 10:51:55.265 UTC [17] FATAL:  no", "postgres", now).level
    'error'
    >>> h = parse("\x1b[31m[2026-11-23 10:51:55,265] ERROR no leader\x1b[0m", "kafka", now)
    >>> h.level, h.text
    ('error', 'no leader')
    >>> parse("%4|1764.2|FAIL|rdkafka#producer-1| [thrd:a]: refused", "orders", now).level
    'warning'
    >>> line = 'duplicate key value violates unique constraint "page_views_pkey"'
    >>> parse(f"2026-11-23 10:51:55.265 UTC [17] ERROR:  {line}", "postgres", now).level
    'info'
    >>> h = parse("304:signal-handler (1795933145) Received SIGTERM", "redis", now)
    >>> h.at.isoformat(), h.text
    ('2026-11-29T06:19:05+00:00', 'Received SIGTERM')
    >>> parse("Segmentation fault", "ingest", now).at == now
    True
    """
    text = redact(without_escapes(line).strip())
    fields = _fields(text)
    if "event" in fields:
        rest = " ".join(f"{k}={v}" for k, v in fields.items() if k not in _KNOWN)
        return Happening(
            at=_time(fields.get("timestamp", ""), now),
            kind=EventKind.LOG,
            level=printable(fields.get("level", "info"), 10),
            source=source,
            text=printable(f"{fields['event']} {rest}".strip(), _LONGEST),
        )
    if found := _POSTGRES.match(text):
        day, fraction, severity, message = found.groups()
        at = _time(f"{day}{fraction or ''}+00:00", now)
        if _HANDLED.match(message):
            text_ = msg.HANDLED(line=printable(message, _LONGEST))
            return Happening(at, EventKind.LOG, "info", source, text_)
        level = _POSTGRES_LEVELS.get(severity, "info")
        return Happening(at, EventKind.LOG, level, source, printable(message, _LONGEST))
    if found := _REDIS.match(text):
        written, mark, message = found.groups()
        with contextlib.suppress(ValueError):  # in local time: Redis knows no other
            at = datetime.strptime(written, "%d %b %Y %H:%M:%S").astimezone(UTC)
            usual = _REDIS_USUAL.match(message)
            level = "warning" if mark == "#" and not usual else "info"
            return Happening(at, EventKind.LOG, level, source, printable(message, _LONGEST))
    if found := _REDIS_SIGNAL.match(text):
        seconds, message = found.groups()
        with contextlib.suppress(ValueError, OverflowError, OSError):
            at = datetime.fromtimestamp(int(seconds), UTC)
            return Happening(at, EventKind.LOG, "info", source, printable(message, _LONGEST))
    if found := _LIBRDKAFKA.match(text):
        syslog, name, message = found.groups()
        level = "error" if int(syslog) <= 3 else "warning" if int(syslog) == 4 else "info"
        return Happening(
            now, EventKind.LOG, level, source, printable(f"{name} {message}", _LONGEST)
        )
    if found := _STAMPED.match(text):
        written, zone, severity, message = found.groups()
        level = _LEVELS.get((severity or "").upper(), "info")
        at = _stamped(written, zone, now)
        return Happening(at, EventKind.LOG, level, source, printable(message, _LONGEST))
    return Happening(now, EventKind.LOG, "info", source, printable(text, _LONGEST))


def _stamped(written: str, zone: str | None, now: datetime) -> datetime:
    """Return the time of a line that another program dated; without a zone it is local time."""
    try:
        at = datetime.fromisoformat(written.replace(",", ".").split(".")[0])
    except ValueError:
        return now
    if zone is None:
        return at.astimezone(UTC)
    return _time(at.isoformat() + ("Z" if zone in ("Z", "z", "UTC") else zone), now)


def _fields(text: str) -> Mapping[str, str]:
    if text.startswith("{"):
        try:
            found = msgspec.json.decode(text.encode())
        except (msgspec.DecodeError, UnicodeEncodeError):
            return {}
        return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}
    return {
        key: value[1:-1].replace('\\"', '"') if value.startswith('"') else value
        for key, value in _PAIR.findall(text)
    }


def _time(text: str, otherwise: datetime) -> datetime:
    try:
        return parse_time(text)
    except ValueError:
        return otherwise
