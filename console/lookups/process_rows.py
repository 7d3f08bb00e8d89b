"""A process: its state, restarts, rate and counters, and the newest lines of its log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from console import translations as msg
from console.lookups.details import DetailRow, heading, named
from console.snapshot.model import Process, Snapshot
from console.sources.events import Tail
from console.text import duration, printable, size
from console.translations import word
from shop.log import redact
from shop.settings import Settings

LOG_LINES: Final = 200
_SAID: Final = ("rate", "paused")
"""Fields of a heartbeat that have a row of their own."""


def process_rows(settings: Settings, snapshot: Snapshot, name: str) -> Iterator[DetailRow]:
    """Yield what is known of a process, then its log, the newest line first.

    Args:
        settings: for the directory of the logs.
        snapshot: for what the process reports.
        name: of the process.
    """
    found = snapshot.processes.value
    for p in found.processes if found else ():
        if p.name == name:
            yield from _reported(snapshot, p)
    yield heading("log")
    path = settings.data_dir / "logs" / f"{name}.log"
    lines = Tail(path, first=64 << 10).read() if "/" not in name else []
    for line in reversed(lines[-LOG_LINES:]):
        if text := printable(redact(str(line)), 1_000).strip():
            yield DetailRow("", text)


def _reported(snapshot: Snapshot, p: Process) -> Iterator[DetailRow]:
    up = (snapshot.at - p.up_since).total_seconds() if p.up_since else None
    state = word(p.state)
    yield DetailRow("state", msg.BOTH(first=state, second=word("paused")) if p.paused else state)
    if p.rate.per_s is not None:
        yield DetailRow("rate", f"{p.rate.per_s:.1f}/s  x{p.factor:g}")
    if p.beat_at is not None:
        age = max(0.0, (snapshot.at - p.beat_at).total_seconds())
        yield DetailRow("beat", duration(age))
    if p.cpu is not None:
        yield DetailRow("cpu", f"{p.cpu:.0f}%")
    if p.memory is not None:
        yield DetailRow("memory", size(p.memory))
    yield DetailRow("pid", str(p.pid or "-"))
    yield DetailRow("up", duration(up))
    yield DetailRow("restarts", str(p.restarts))
    yield DetailRow("last exit", p.last_exit or "-")
    for name, value in sorted(p.fields.items()):
        if value and name not in _SAID:
            yield named(name, value)
