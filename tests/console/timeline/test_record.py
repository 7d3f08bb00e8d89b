"""The record of a running shop: a console goes back into it, and returns to now."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import msgspec

from console import translations as msg
from console.actions.operations import parse
from console.recording.keeper import SCREENS, SCREENS_BYTES, HistoryKeeper
from console.recording.player import Player
from console.recording.recorder import Recorder
from console.recording.recording import Recording
from console.snapshot.model import EventKind
from console.tui.app import ConsoleApp
from console.tui.timeline.time_bar import TimeBar
from shop.errors import UsageError
from tests.console import console_samples as samples
from tests.console.console_samples import StillFeed
from tests.console.driving import RecordingOperator, app_of, lines, settle
from tests.console.timeline.telling import (
    HAPPENED,
    at_kst,
    second,
    told,
)
from tests.support import python_process
from tests.support.waiting import wait_until


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
        wait_until(snapshots, "a snapshot in the record")
    finally:
        watching.terminate()
        assert watching.wait(30) == 0
    assert Recording(path).snapshot(0) is not None
