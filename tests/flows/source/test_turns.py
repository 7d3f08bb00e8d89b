"""When the topics of one worker are polled."""

from __future__ import annotations

import threading

import pytest

from flows.in_flight import InFlightWindow
from flows.source import turns
from flows.source.turns import IDLE, Turns
from tests.support.manual_clock import ManualClock


def test_one_wake_up_serves_all_quiet_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, slept = ManualClock(), []
    clock.now += IDLE / 2

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.now += seconds

    monkeypatch.setattr(turns.time, "monotonic", clock)
    monkeypatch.setattr(turns.time, "sleep", sleep)
    waiting = [Turns(InFlightWindow(stop=threading.Event())) for _ in range(3)]
    for turn in waiting:
        turn.again(IDLE)
        clock.now += IDLE / 10
    while not waiting[0].due():
        pass
    assert sum(slept) <= IDLE
    slept.clear()
    assert [turn.due() for turn in waiting] == [True] * 3
    assert slept == []
