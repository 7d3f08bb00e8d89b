"""The log: what is folded, what ranks first, what the filters let through."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from console.event_list import EventFilter, chosen, folded, ranked
from console.snapshot.model import Event, EventKind
from console.sources.events import parse
from tests.console import console_samples as samples

POSTGRES = "2026-11-23 10:00:00.1 UTC [9]"


def event(n: int, text: str, **more: Any) -> Event:
    given: dict[str, Any] = {"kind": EventKind.LOG, "level": "info", "source": "orders", **more}
    return Event(n=n, at=samples.NOW - timedelta(seconds=100 - n), text=text, **given)


def text_of(e: Event) -> str:
    return str(e.text)


def test_the_cause_is_on_top_of_what_it_causes() -> None:
    events = [
        event(1, "does not answer", kind=EventKind.CONSOLE, level="error", source="postgres"),
        event(2, "cannot store, attempt 1", level="error", source="ingest"),
        event(3, "waiting for server", level="warning"),
        event(4, "cannot store, attempt 2", level="error", source="ingest"),
        event(5, "published 7"),
    ]
    found = ranked(folded(events, text_of), samples.NOW)
    assert [(f.event.source, f.event.n, f.count) for f in found] == [
        ("postgres", 1, 1),
        ("ingest", 4, 2),
        ("orders", 3, 1),
        ("orders", 5, 1),
    ]
    later = samples.NOW + timedelta(minutes=10)
    assert [f.event.n for f in ranked(folded(events, text_of), later)] == [5, 4, 3, 1]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (EventFilter(), [1, 2, 3, 4]),
        (EventFilter(level="warning"), [2, 3]),
        (EventFilter(level="error"), [3]),
        (EventFilter(changes=True), [3, 4]),
        (EventFilter(text="!published"), [2, 3, 4]),
        (EventFilter(text="orders", level="warning"), [2]),
    ],
)
def test_filters(wanted: EventFilter, numbers: list[int]) -> None:
    events = [
        event(1, "published"),
        event(2, "late", level="warning"),
        event(3, "gone", level="error", source="kafka", kind=EventKind.CONSOLE),
        event(4, "cache.refresh", source="operator", kind=EventKind.ACTION),
    ]
    assert [e.n for e in chosen(events, wanted, text_of)] == numbers


@pytest.mark.parametrize(
    ("line", "level", "text"),
    [
        ("\x1b[33m2026-11-23T10:00:00Z WARN slow\x1b[0m", "warning", "slow"),
        ("[2026-11-23 10:00:00,123] INFO started (kafka.server)", "info", "started (kafka.server)"),
        ("2026-11-23 10:00:00 ERROR no leader", "error", "no leader"),
        ("7:M 29 Nov 2026 13:06:57.001 # Server initialized", "info", "Server initialized"),
        ("7:M 29 Nov 2026 13:06:57.001 # WARNING overcommit", "warning", "WARNING overcommit"),
        ("%3|1764000000.1|FAIL|rdkafka#producer-1| [thrd:a]: x", "error", "FAIL [thrd:a]: x"),
        (
            f'{POSTGRES} ERROR:  duplicate key value violates unique constraint "users_pkey"',
            "info",
            'duplicate key value violates unique constraint "users_pkey" (handled by the ingest)',
        ),
        (
            f'{POSTGRES} ERROR:  duplicate key value violates unique constraint "my_index"',
            "error",
            'duplicate key value violates unique constraint "my_index"',
        ),
    ],
)
def test_lines_of_other_programs_are_cleaned(line: str, level: str, text: str) -> None:
    found = parse(line, "postgres", samples.NOW)
    assert (found.level, str(found.text)) == (level, text)
