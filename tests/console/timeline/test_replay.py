"""Replay: any moment of a recording is gone to, by keys, by the mouse and from a list."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from console.mark_kinds import kind_of
from console.recording.player import SPEEDS, Player, series_of
from console.recording.recording import Recording
from console.series import NAMES, SnapshotSeries
from console.tui.app import ConsoleApp
from console.tui.appearance import DisplayOptions
from console.tui.timeline.time_bar import TimeBar, room
from shop.clock import KST
from tests.console import console_samples as samples
from tests.console.driving import RecordingOperator, app_of, lines, settle
from tests.console.timeline.telling import (
    HAPPENED,
    HandClock,
    at_kst,
    recorded,
    replaying,
    second,
    sought,
    told,
)


def moment(app: ConsoleApp) -> str:
    """Return the lines at the bottom: the moment, what happened then, and the keys."""
    return "\n".join(lines(app)[-3:])


def column_of(app: ConsoleApp, seconds: float) -> int:
    """Return the cell of the time bar at a second of the recording."""
    known = app._known()
    left, cells = room(app.query_one(TimeBar).size.width, known)
    return left + known.column(samples.NOW + timedelta(seconds=seconds), cells)


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
    clock = HandClock()
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
        assert "> 5x" in moment(app)
        await pilot.press("less_than_sign", "space", "left_square_bracket")
        await settle(pilot)
        assert second(app) == 88
        assert "|| 2x" in moment(app)
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
        assert "X 12:10:21 kafka: does not answer: refused" in moment(app)
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
        assert "ingest: ended: SIGKILL" in moment(app)


async def test_charts_show_the_moment_and_marks_on_every_chart(tmp_path: Path) -> None:
    app, player, _ = replaying(tmp_path)
    async with app.run_test(size=(120, 46)) as pilot:
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


async def test_the_time_bar_is_clicked_dragged_and_pointed_at(tmp_path: Path) -> None:
    app, _, _ = replaying(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.click("#time-bar", offset=(column_of(app, 300), 0))
        await sought(app, pilot)
        assert second(app) == 300, "a click on a mark goes to it"
        assert "orders: runs version 0.2.0 now" in moment(app)
        await pilot.hover("#time-bar", offset=(column_of(app, 60), 0))
        await settle(pilot)
        assert "K 12:04:41 ingest: ended: SIGKILL" in moment(app)
        await pilot.mouse_down("#time-bar", offset=(column_of(app, 100), 0))
        for seconds in (150, 220, 250):
            await pilot.hover("#time-bar", offset=(column_of(app, seconds), 0))
        await sought(app, pilot)
        assert 245 < second(app) < 255, "it follows the pointer"
        await pilot.mouse_up("#time-bar", offset=(column_of(app, 250), 0))
        await pilot.hover("#time-bar", offset=(column_of(app, 400), 0))
        await sought(app, pilot)
        assert 245 < second(app) < 255, "not any more"


async def test_a_click_on_a_chart_goes_to_its_time_and_the_window_stays(tmp_path: Path) -> None:
    app, _, _ = replaying(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("8", "w", "0")
        await settle(pilot)
        row = next(y for y, line in enumerate(lines(app)) if "marks" in line)
        await pilot.hover("#all-charts", offset=(lines(app)[row].index("G"), row - 4))
        await settle(pilot)
        assert "G 12:07:01 grader: customers were graded: 3 up" in moment(app)
        await pilot.click("#all-charts", offset=(lines(app)[row].index("G"), row - 4))
        await sought(app, pilot)
        assert second(app) == 200
        assert app.view().end == samples.NOW + timedelta(seconds=499)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)], ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("lang", ["en", "ko", "ascii"])
async def test_a_replay_fits_every_size(lang: str, size: tuple[int, int], tmp_path: Path) -> None:
    options = DisplayOptions("ko" if lang == "ko" else "en", ascii=lang == "ascii")
    app, _, _ = replaying(tmp_path, options=options)
    async with app.run_test(size=size) as pilot:
        await pilot.press("8", "w", "n", "n", "n")
        await settle(pilot)
        text = "\n".join(lines(app))
        assert "flash_sale" in moment(app)
        assert not any(c in text for c in "█▓"), "no solid blocks"
        assert ("시작" in text) is (lang == "ko")
        if lang == "ascii":
            assert text.isascii()


def documented() -> tuple[list[tuple[str, str]], list[str]]:
    """Return the marks of the guide's table, time and letter each, and the times it goes to."""
    guide = (Path(__file__).parents[3] / "docs/console.md").read_text(encoding="utf-8")
    text = guide.partition("### A recorded incident")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d\d:\d\d:\d\d) \| ((?:`[A-Z]`(?:, )?)+)", text, re.MULTILINE)
    marks = [(time, letter) for time, all_ in rows for letter in re.findall("[A-Z]", all_)]
    return marks, re.findall(r"^`T` and `(\d\d:\d\d:\d\d)`", text, re.MULTILINE)


async def test_the_incident_of_the_documentation_is_replayed(tmp_path: Path) -> None:
    """What docs/console.md says of its recording is what the recording shows."""
    path = Path(__file__).parents[3] / "docs/recordings/incident.rec"
    assert path.stat().st_size < 300_000
    player = Player(Recording(path), monotonic=lambda: 0.0)
    player.playing = False
    app = app_of(player, tmp_path, operator=RecordingOperator("a recording"))
    app._history = series_of(path)
    marks = [
        (kind_of(mark).letter, datetime.fromtimestamp(mark.at, KST), str(mark.message))
        for mark in app._history.marks
    ]
    rows, (broker, ingest) = documented()
    assert {letter for _, letter in rows} >= {*"ABGKLRSX"} - {"L"}
    for time, letter in rows:
        assert any(m == letter and f"{at:%H:%M:%S}" == time for m, at, _ in marks), (time, letter)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("T", *broker, "enter")
        await settle(pilot)
        assert "KAFKA ■ down" in lines(app)[1]
        await pilot.press("8", "T", *ingest, "enter", "w")
        await settle(pilot)
        assert "ingest" in moment(app)
        shown = app.view()
        assert shown.end > shown.snapshot.at, "charts show what came after it, too"
        begin = shown.end - timedelta(seconds=shown.span)
        assert begin >= player.recording.times[0] - timedelta(seconds=1), "and none is half empty"
