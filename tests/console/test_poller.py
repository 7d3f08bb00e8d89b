"""The poller among sources that hang, refuse, answer slowly or answer garbage."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from console import deadlines, rules
from console.poller import Poller, _Slot
from console.snapshot.model import EventKind, Happening
from console.snapshot.reading import ReadingState
from console.sources import CurrentSettings
from shop.clock import utc_now
from shop.settings import load
from tests.console import console_samples as samples
from tests.support.waiting import wait_until

SETTINGS = load({}, use_stack=False)


class Fake:
    """A source that follows a script."""

    def __init__(self, name: str, read: Callable[[], Any], interval: float = 0.02) -> None:
        self.name = name
        self.interval = interval
        self.deadline = 0.0
        self._read = read
        self.reads = 0
        self.resets = 0

    def read(self) -> Any:
        self.reads += 1
        return self._read()

    def reset(self) -> None:
        self.resets += 1


class NoEvents:
    name = "events"
    interval = 0.02
    deadline = 1.0

    def __init__(self) -> None:
        self.waiting: list[Happening] = []

    def read(self) -> list[Happening]:
        found, self.waiting = self.waiting, []
        return found

    def reset(self) -> None: ...


def poller(*sources: Fake, events: NoEvents | None = None) -> Poller:
    current = CurrentSettings(SETTINGS, follow=False)
    made = Poller(sources, events or NoEvents(), current)
    made.interval = 0.05
    return made


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that is retried soon."""
    monkeypatch.setattr(deadlines, "LONGEST_BACKOFF_S", 0.02)


def test_a_hanging_source_holds_nobody_up_and_is_called_down() -> None:
    release = threading.Event()
    hanging = Fake("kafka", lambda: release.wait(60) and samples.kafka())
    good = Fake("redis", samples.redis)
    p = poller(hanging, good)
    p._slots["kafka"].first_limit = 0.02
    p.start()
    try:
        wait_until(
            lambda: p.latest().redis.state is ReadingState.OK and good.reads > 3,
            "the source answers",
        )
        wait_until(lambda: p.latest().kafka.state is ReadingState.DOWN, "the source is down")
        assert "no answer for" in str(p.latest().kafka.error)
        began = time.monotonic()
        p.latest()
        p.refresh()
        assert time.monotonic() - began < 1
        release.set()
        wait_until(lambda: p.latest().kafka.state is ReadingState.OK, "the source answers")
    finally:
        release.set()
        p.stop()


@pytest.mark.parametrize(("waited", "state"), [(50, ReadingState.LOADING), (61, ReadingState.DOWN)])
def test_a_first_read_may_take_several_requests(waited: float, state: ReadingState) -> None:
    now = utc_now()
    slot = _Slot(reading_since=now - timedelta(seconds=waited), first_limit=15.0)
    assert slot.reading(now).state is state


@pytest.mark.usefixtures("quick")
def test_a_refusing_source_keeps_its_last_value_and_comes_back() -> None:
    broken = threading.Event()

    def read() -> Any:
        if broken.is_set():
            raise ConnectionError("redis://:hunter2@host refused\nsecond line")
        return samples.redis()

    p = poller(Fake("redis", read))
    p.start()
    try:
        wait_until(lambda: p.latest().redis.state is ReadingState.OK, "the source answers")
        broken.set()
        wait_until(lambda: p.latest().redis.state is ReadingState.DOWN, "the source is down")
        down = p.latest().redis
        assert down.value == samples.redis()
        assert down.error == "redis://:********@host refused"
        assert down.failing_since is not None
        assert down.attempts >= 1
        broken.clear()
        wait_until(lambda: p.latest().redis.state is ReadingState.OK, "the source answers")
        texts = [(e.source, str(e.text)) for e in p.latest().events if e.source == "redis"]
        assert texts[0] == ("redis", "does not answer: redis://:********@host refused")
        assert texts[1][1].startswith("answers again")
    finally:
        p.stop()


@pytest.mark.usefixtures("quick")
def test_values_that_are_read_seldom_are_stale_as_soon_as_their_server_fails() -> None:
    answers = threading.Event()
    answers.set()

    def shop() -> object:
        if not answers.is_set():
            raise ConnectionRefusedError("refused")
        return samples.shop()

    grades = Fake("grades", samples.grades, interval=600.0)
    p = poller(Fake("postgres", shop), grades)
    p.start()
    try:
        wait_until(lambda: p.latest().grades.state is ReadingState.OK, "grades")
        wait_until(lambda: p.latest().postgres.state is ReadingState.OK, "PostgreSQL")
        answers.clear()
        wait_until(lambda: not p.latest().postgres.current, "a failure")
        seen = p.latest().grades
        assert (seen.state, seen.value) == (ReadingState.STALE, samples.grades())
        assert seen.error == "refused"
        _, reasons = rules.health(p.latest())
        assert [str(r) for r in reasons if "grades" in str(r)] == []  # said of PostgreSQL
        answers.set()
        wait_until(lambda: p.latest().grades.state is ReadingState.OK, "an answer")
        assert grades.reads == 1
    finally:
        p.stop()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("garbage", [ValueError("odd"), KeyError("used_memory"), RecursionError()])
def test_garbage_is_a_failed_read_and_nothing_more(garbage: Exception) -> None:
    def read() -> None:
        raise garbage

    source = Fake("postgres", read)
    p = poller(source)
    p.start()
    try:
        wait_until(lambda: source.reads > 3, "reads")
        wait_until(lambda: p.latest().postgres.state is ReadingState.DOWN, "the source is down")
        assert source.resets >= 3
        assert p.latest().postgres.value is None
    finally:
        p.stop()


def test_a_new_value_is_published_at_once() -> None:
    ready = threading.Event()
    p = poller(Fake("letters", lambda: ready.wait(30) and 5, interval=60))
    p.interval = 60
    p.start()
    try:
        wait_until(lambda: p.latest().sequence >= 1, "a snapshot")
        assert p.latest().letters.state is ReadingState.LOADING
        ready.set()
        wait_until(lambda: p.latest().letters.value == 5, "the value")
    finally:
        p.stop()


def test_refresh_reads_before_the_time() -> None:
    source = Fake("letters", lambda: 1, interval=600)
    p = poller(source)
    p.start()
    try:
        wait_until(lambda: source.reads == 1 and p.latest().letters.value == 1, "reads")
        p.refresh()
        wait_until(lambda: source.reads == 2, "reads")
    finally:
        p.stop()


def test_events_are_numbered_in_order_and_kept_in_bounds() -> None:
    events = NoEvents()
    p = poller(Fake("letters", lambda: 1), events=events)
    p.start()
    try:
        events.waiting = [
            Happening(utc_now(), EventKind.LOG, "info", "orders", f"line {n}") for n in range(1000)
        ]
        wait_until(lambda: p.latest().events and p.latest().events[-1].n == 1000, "all lines")
        numbers = [e.n for e in p.latest().events]
        assert numbers == list(range(701, 1001))
    finally:
        p.stop()
    assert not [t for t in p._threads if t.is_alive()]


def test_waiting_for_the_first_look_ends_when_the_time_is_over() -> None:
    release = threading.Event()
    p = poller(
        Fake("kafka", lambda: release.wait(60) and samples.kafka()), Fake("redis", samples.redis)
    )
    p.start()
    try:
        found = p.wait_until_read(0.3)
        assert found.kafka.state is ReadingState.LOADING
        assert found.redis.value == samples.redis()
    finally:
        release.set()
        p.stop()


def test_a_defect_in_a_listener_or_in_the_changes_is_an_event_and_no_frozen_screen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("of a listener")

    def wrong(*_: object) -> None:
        raise KeyError("of the changes")

    seen: list[int] = []
    p = poller(Fake("letters", lambda: 1))
    p.listen(broken)
    p.listen(lambda snapshot: seen.append(snapshot.sequence))
    monkeypatch.setattr("console.poller.changes", wrong)
    p.start()
    try:
        wait_until(lambda: len(seen) > 5, "snapshots after the defects")
        wait_until(lambda: len(p.latest().events) == 2, "an event for each defect, once")
        texts = sorted(str(event.text) for event in p.latest().events)
        assert all(text.startswith("defect of the console: test_poller.py:") for text in texts)
        assert sum("of a listener" in text for text in texts) == 1
        assert sum("of the changes" in text for text in texts) == 1
    finally:
        p.stop()


def test_one_answer_of_a_stalled_server_does_not_put_off_the_next_question_for_minutes() -> None:
    source = Fake("letters", samples.letters)
    p = poller(source)
    times = iter([0.0, 24.0, 100.0, 100.1])
    p._monotonic = lambda: next(times)
    waits = [p._read(source, p._slots["letters"]) for _ in range(2)]
    assert waits == pytest.approx([36.0, 0.9])
