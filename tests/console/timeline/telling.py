"""A shop whose lag is its second, in which something of each kind happens; and its recording."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from textual.pilot import Pilot

from console import translations as msg
from console.recording.player import Player, series_of
from console.recording.recorder import Recorder
from console.recording.recording import Recording
from console.snapshot.model import Event, EventKind, Snapshot
from console.tui.app import ConsoleApp
from shop.clock import KST
from tests.console import console_samples as samples
from tests.console.driving import RecordingOperator, app_of, settle

HAPPENED = {
    60: ("error", "ingest", msg.ENDED(how="SIGKILL")),
    70: ("warning", "ingest", msg.RESTARTED(pid=7)),
    120: ("info", "scenario", msg.SCENARIO_BEGAN(name="flash_sale")),
    200: ("info", "grader", msg.GRADED(upgraded=3, downgraded=1)),
    300: ("info", "orders", msg.NEW_VERSION(version="0.2.0")),
    400: ("error", "kafka", msg.AWAY(error="refused")),
}


def told(seconds: int, step: int = 1) -> Iterator[Snapshot]:
    """Snapshots whose lag is their second, in which `HAPPENED` happens."""
    events: list[Event] = []
    for n in range(0, seconds, step):
        for at in (at for at in HAPPENED if n - step < at <= n):
            level, source, text = HAPPENED[at]
            events.append(
                Event(n=len(events) + 1, at=samples.NOW + timedelta(seconds=at),
                      kind=EventKind.CONSOLE, level=level, source=source, text=text)
            )  # fmt: skip
        s = samples.fine(n + 1, seconds=n)
        topics = tuple(
            msgspec.structs.replace(t, lag=n if t.name == "orders" else 0)
            for t in s.kafka.value.topics
        )
        kafka = samples.ok(msgspec.structs.replace(s.kafka.value, topics=topics))
        yield msgspec.structs.replace(s, kafka=kafka, events=tuple(events))


def recorded(path: Path, seconds: int = 500) -> Path:
    recorder = Recorder(path)
    for s in told(seconds):
        recorder.write(s)
    recorder.close()
    return path


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def replaying(tmp_path: Path, **given: Any) -> tuple[ConsoleApp, Player, HandClock]:
    """Return a console that replays, paused at the start, with all of its charts."""
    path, clock = recorded(tmp_path / "a.rec"), HandClock()
    player = Player(Recording(path), monotonic=clock)
    player.playing = False
    app = app_of(player, tmp_path, operator=RecordingOperator("a recording"), **given)
    app._history = series_of(path)
    return app, player, clock


def second(app: ConsoleApp) -> float:
    """Return the second of the recording that is shown."""
    return (app._snapshot.at - samples.NOW).total_seconds()


def at_kst(seconds: float) -> str:
    return f"{(samples.NOW + timedelta(seconds=seconds)).astimezone(KST):%H:%M:%S}"


async def sought(app: ConsoleApp, pilot: Pilot[Any]) -> None:
    """Wait until a time that was pointed at has been gone to."""
    await settle(pilot)
    for _ in range(200):
        if app._sought is None:
            break
        await pilot.pause(0.01)
    await settle(pilot)
