"""The time machine: going to any moment of a recording, or of the record of the running shop."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from console import translations as msg
from console.actions.operations import parse
from console.recording.keeper import SCREENS, SCREENS_BYTES, HistoryKeeper
from console.recording.player import SPEEDS, Player, series_of
from console.recording.recorder import Recorder
from console.recording.recording import Recording
from console.series import NAMES, SnapshotSeries
from console.snapshot.model import Event, EventKind, Snapshot
from console.tui.app import ConsoleApp
from console.tui.appearance import DisplayOptions
from console.tui.timeline.time_bar import TimeBar, room
from shop.clock import KST
from shop.errors import UsageError
from tests.console import console_samples as samples
from tests.console.console_samples import StillFeed
from tests.console.driving import RecordingOperator, app_of, lines, settle
from tests.support import python_process
from tests.support.waiting import wait_until

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


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def replaying(tmp_path: Path, **given: Any) -> tuple[ConsoleApp, Player, Clock]:
    """Return a console that replays, paused at the start, with all of its charts."""
    path, clock = recorded(tmp_path / "a.rec"), Clock()
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


def test_a_replay_has_at_any_time_the_charts_that_were_seen_then(tmp_path: Path) -> None:
    replayed = series_of(recorded(tmp_path / "a.rec"))
    live = SnapshotSeries()
    compared = 0
    for n, s in enumerate(told(500)):
        live.push(s)
        if n not in (59, 200, 333, 499):
            continue
        for span in (60, 180, 900, 3600, 48 * 3600):
            for name in NAMES:
                assert replayed.columns(name, s.at, span, 60) == live.columns(name, s.at, span, 60)
                compared += 1
            assert replayed.heat(s.at, span, 60) == live.heat(s.at, span, 60)
            for grade in live.grade_names:
                now = live.grade_share(grade, s.at, span, 60)
                assert replayed.grade_share(grade, s.at, span, 60) == now
            assert replayed.marks_in(s.at, span, 60) == live.marks_in(s.at, span, 60)
    assert compared
    assert max(p or 0 for p in replayed.columns("lag", samples.NOW, 60, 60)) == 0, "not the future"


def test_a_recording_plays_at_every_speed(tmp_path: Path) -> None:
    clock = Clock()
    player = Player(Recording(recorded(tmp_path / "a.rec")), monotonic=clock)
    for _ in SPEEDS:
        player.change_speed(1)
    assert player.speed == SPEEDS[-1] == 100
    clock.now = 2.001
    player.latest()
    assert player.position == 200
    for _ in SPEEDS:
        player.change_speed(-1)
    assert player.speed == SPEEDS[0] == 0.5
    clock.now = 12.01
    player.latest()
    assert player.position == 205
    player.seek(samples.NOW + timedelta(seconds=100.2))
    assert player.position == 101, "the first snapshot at or after it"
    player.seek(samples.NOW + timedelta(days=1))
    assert player.at_end


async def test_keys_seek_play_and_change_the_speed(tmp_path: Path) -> None:
    app, _, clock = replaying(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("T")
        await pilot.press(*"12:05", "enter")
        await settle(pilot)
        assert second(app) == 79
        assert "|| 1x 11-23 12:05:00 KST" in "\n".join(lines(app))
        await pilot.press("greater_than_sign", "greater_than_sign", "space")
        clock.now += 2.001
        app._tick()
        await settle(pilot)
        assert second(app) == 89, "two seconds at 5x"
        assert "> 5x" in lines(app)[-2]
        await pilot.press("less_than_sign", "space", "left_square_bracket")
        await settle(pilot)
        assert second(app) == 88
        assert "|| 2x" in lines(app)[-2]
        await pilot.press("T", *"-1m", "enter")
        await settle(pilot)
        assert second(app) == 439
        await pilot.press("T", *"noon", "enter")
        await settle(pilot)
        assert any("expected HH:MM" in n.message for n in app._notifications)
        assert second(app) == 439
        await pilot.press("0")
        await settle(pilot)
        assert second(app) == 499


async def test_events_are_jumped_to_listed_and_chosen(tmp_path: Path) -> None:
    app, _, _ = replaying(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        for wanted in sorted(HAPPENED):
            await pilot.press("n")
            assert second(app) == wanted
        await settle(pilot)
        assert "X 12:10:21 kafka: does not answer: refused" in lines(app)[-2]
        await pilot.press("N")
        assert second(app) == 300
        await pilot.press("E")
        await settle(pilot)
        shown = "\n".join(lines(app))
        for letter, text in (
            ("K", "ingest: ended: SIGKILL"), ("R", "ingest: was started again"),
            ("S", "flash_sale began"), ("G", "customers were graded"), ("V", "version 0.2.0"),
        ):  # fmt: skip
            assert any(f"{letter} 11-23" in line and text in line for line in shown.splitlines())
        await pilot.press("j", "j", "enter")
        await settle(pilot)
        assert second(app) == 120, "the list begins at the moment; two further down"
        await pilot.press("E", "slash", *"ended", "enter", "enter")
        await settle(pilot)
        assert second(app) == 60
        assert "ingest: ended: SIGKILL" in lines(app)[-2]


async def test_charts_show_the_moment_and_marks_on_every_chart(tmp_path: Path) -> None:
    app, player, _ = replaying(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("8", "w")
        player.seek(samples.NOW + timedelta(seconds=499))
        app._show(player)
        await settle(pilot)
        charts = [line for line in lines(app) if "┊" in line]
        assert len(charts) >= 5, "a rule on each of the five rows of charts"
        assert any("K" in line and "R" not in line[:3] and "marks" in line for line in lines(app))
        await pilot.press("N", "N")
        await settle(pilot)
        assert second(app) == 300
        text = "\n".join(lines(app))
        assert "┃" in text, "the moment, with what came after it"
        assert at_kst(499) in text
        lag = next(line for line in lines(app) if " lag " in line)
        assert " 300 " in lag, "the value of the moment, not of the end of the chart"


def column_of(app: ConsoleApp, seconds: float) -> int:
    """Return the cell of the time bar at a second of the recording."""
    known = app._known()
    left, cells = room(app.query_one(TimeBar).size.width, known)
    return left + known.column(samples.NOW + timedelta(seconds=seconds), cells)


async def test_the_time_bar_is_clicked_dragged_and_pointed_at(tmp_path: Path) -> None:
    app, _, _ = replaying(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.click("#time-bar", offset=(column_of(app, 300), 0))
        await sought(app, pilot)
        assert second(app) == 300, "a click on a mark goes to it"
        assert "orders: runs version 0.2.0 now" in lines(app)[-2]
        await pilot.hover("#time-bar", offset=(column_of(app, 60), 0))
        await settle(pilot)
        assert "K 12:04:41 ingest: ended: SIGKILL" in lines(app)[-2]
        await pilot.mouse_down("#time-bar", offset=(column_of(app, 100), 0))
        for seconds in (150, 220, 250):
            await pilot.hover("#time-bar", offset=(column_of(app, seconds), 0))
        await sought(app, pilot)
        assert 245 < second(app) < 255, "it follows the pointer"
        await pilot.mouse_up("#time-bar", offset=(column_of(app, 250), 0))
        await pilot.hover("#time-bar", offset=(column_of(app, 400), 0))
        await sought(app, pilot)
        assert 245 < second(app) < 255, "not any more"


async def sought(app: ConsoleApp, pilot: Pilot[Any]) -> None:
    """Wait until a time that was pointed at has been gone to."""
    await settle(pilot)
    for _ in range(200):
        if app._sought is None:
            break
        await pilot.pause(0.01)
    await settle(pilot)


async def test_a_click_on_a_chart_goes_to_its_time_and_the_window_stays(tmp_path: Path) -> None:
    app, _, _ = replaying(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("8", "w", "0")
        await settle(pilot)
        row = next(y for y, line in enumerate(lines(app)) if "marks" in line)
        await pilot.hover("#all-charts", offset=(lines(app)[row].index("G"), row - 4))
        await settle(pilot)
        assert "G 12:07:01 grader: customers were graded: 3 up" in lines(app)[-2]
        await pilot.click("#all-charts", offset=(lines(app)[row].index("G"), row - 4))
        await sought(app, pilot)
        assert second(app) == 200
        assert app.view().end == samples.NOW + timedelta(seconds=499)


def kept(folder: Path, seconds: int = 500) -> HistoryKeeper:
    """Keep the record of a shop, as `up` does."""
    keeper = HistoryKeeper(folder)
    for s in told(seconds):
        keeper.write(s)
    keeper.close()
    return keeper


def living(tmp_path: Path) -> tuple[ConsoleApp, StillFeed, RecordingOperator]:
    """Return a console of a running shop that has a record."""
    keeper = kept(tmp_path)
    feed, operator = StillFeed([*told(505)][-1]), RecordingOperator()
    app = app_of(feed, tmp_path, operator=operator)
    app._record = keeper.screens
    for s in told(500):
        app._history.push(s)
    return app, feed, operator


async def test_a_live_console_goes_back_into_the_record_and_returns_to_now(tmp_path: Path) -> None:
    app, _, operator = living(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        assert second(app) == 504
        assert not app.query_one(TimeBar).display
        await pilot.press("left_curly_bracket")
        await settle(pilot)
        assert second(app) == 460, "a quarter of three minutes, at the next screen that is kept"
        text = "\n".join(lines(app))
        assert "PAST (44s ago)" in text
        assert f"{at_kst(460)} KST" in text
        assert "460" in next(line for line in lines(app) if "│ lag" in line)
        assert str(operator.refuse) == "this is the past of the shop; 0 returns to now"
        await pilot.press("n")
        await settle(pilot)
        assert second(app) == 460, "nothing happened since"
        await pilot.press("N")
        await settle(pilot)
        assert second(app) == 400
        await pilot.press("0")
        await settle(pilot)
        assert second(app) == 504
        assert "PAST" not in "\n".join(lines(app))
        assert not operator.refuse
        await pilot.press("left_square_bracket")
        assert second(app) == 490
        await pilot.press("right_square_bracket")
        assert second(app) == 504, "after the newest that is kept comes now"


async def test_what_is_new_is_kept_while_the_past_is_shown(tmp_path: Path) -> None:
    app, feed, _ = living(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("space", "left_curly_bracket")
        feed.snapshots = [[*told(520)][-1]]
        app._tick()
        await settle(pilot)
        assert second(app) < 470, "the screen stays where it is"
        assert app._history.columns("lag", feed.latest().at, 60, 60)[-1] == 519
        await pilot.press("space")
        player = app._feed
        assert isinstance(player, Player)
        player._monotonic = lambda: 1e9  # type: ignore[method-assign]  # far in the future
        app._tick()
        await settle(pilot)
        assert second(app) == 519, "played to its end, the past is now"


async def test_without_a_record_the_keys_say_so(tmp_path: Path) -> None:
    app = app_of(StillFeed(samples.fine()), tmp_path)
    app._record = tmp_path / "none.rec"
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("left_square_bracket")
        await settle(pilot)
        assert any(n.message == "nothing is recorded yet" for n in app._notifications)
        await pilot.press("E", "escape", "n", "0", "T", *"12:00", "enter")
        await settle(pilot)
        assert second(app) == 0


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)], ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("lang", ["en", "ko", "ascii"])
async def test_a_replay_fits_every_size(lang: str, size: tuple[int, int], tmp_path: Path) -> None:
    options = DisplayOptions("ko" if lang == "ko" else "en", ascii=lang == "ascii")
    app, _, _ = replaying(tmp_path, options=options)
    async with app.run_test(size=size) as pilot:
        await pilot.press("8", "w", "n", "n", "n")
        await settle(pilot)
        text = "\n".join(lines(app))
        assert "flash_sale" in lines(app)[-2]
        assert not any(c in text for c in "█▓"), "no solid blocks"
        assert ("시작" in text) is (lang == "ko")
        if lang == "ascii":
            assert text.isascii()


def test_the_record_keeps_screens_with_changes_and_is_bounded(tmp_path: Path) -> None:
    keeper = HistoryKeeper(tmp_path)
    noise = samples.events(40)
    for at, s in enumerate(told(2_000, step=10)):
        every = [*s.events, *(msgspec.structs.replace(e, n=e.n + 40 * at) for e in noise)]
        every = sorted(every, key=lambda e: e.kind is not EventKind.LOG)
        numbered = [msgspec.structs.replace(e, n=100 * at + n) for n, e in enumerate(every, 1)]
        keeper.write(msgspec.structs.replace(s, events=tuple(numbered)))
    keeper.close()
    found = Recording(keeper.screens)
    gaps = {b - a for a, b in zip(found.times, found.times[1:], strict=False)}
    assert gaps == {timedelta(seconds=10)}
    size = keeper.screens.stat().st_size * 86_400 / 2_000
    assert size < SCREENS_BYTES / 2, "bytes a day of a shop that logs errors all the time"
    said = [str(e.text) for e in found.events(found.times[-1]) if e.kind is EventKind.CONSOLE]
    assert {str(text) for _, _, text in HAPPENED.values()} <= {*said}
    assert keeper.screens.stat().st_mode & 0o777 == 0o600


def test_a_record_that_grows_too_large_loses_its_oldest_quarter(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.rec", most_bytes=100_000)
    for s in told(1_800):
        recorder.write(msgspec.structs.replace(s, events=()))
    used = recorder._used_bytes()
    recorder.close()
    found = Recording(tmp_path / "a.rec")
    assert used < 260_000
    assert found.times[0] > samples.NOW
    assert found.times[-1] == samples.NOW + timedelta(seconds=1_799)
    assert all(found.snapshot(n) is not None for n in range(0, len(found), 97)), "with their keys"


def test_actions_are_refused_in_the_past(tmp_path: Path) -> None:
    operator = RecordingOperator()
    operator.refuse = msg.THE_PAST()
    result = super(RecordingOperator, operator).perform(parse(["cache.refresh"]))
    assert result.outcome == "refused"
    assert "0 returns to now" in str(result.result)


def test_watch_keeps_the_record(tmp_path: Path) -> None:
    """With every server away there is something to record: that they are."""
    away = {
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": "1",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "JANGTEO_DATA_DIR": str(tmp_path),
    }
    watching = python_process.Popen(
        [sys.executable, "-m", "console", "--watch"],
        env={**os.environ, **away},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    path = tmp_path / SCREENS

    def snapshots() -> bool:
        try:
            return len(Recording(path)) > 0
        except UsageError:
            return False

    try:
        wait_until(snapshots)
    finally:
        watching.terminate()
        assert watching.wait(30) == 0
    assert Recording(path).snapshot(0) is not None
