"""The past: the same charts live, replayed, and after a restart of the console."""

from __future__ import annotations

import random
import sqlite3
from array import array
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from console import translations as msg
from console.changes import changes
from console.recording.keeper import NAME, HistoryKeeper
from console.recording.player import Player, series_of
from console.recording.recording import Recording
from console.recording.toggle import RecordingToggle
from console.series import COARSE_KEPT, NAMES, SPANS, SnapshotSeries
from console.snapshot.model import Event, EventKind, Snapshot
from console.snapshot.reading import ReadingState
from console.tier import HistoryPoint
from console.translations import render
from console.tui.app import ConsoleApp
from console.tui.appearance import DisplayOptions
from shop.clock import KST, UTC
from tests.console import console_samples as samples
from tests.console.console_samples import StillFeed
from tests.console.driving import RecordingOperator, app_of, lines, settle


def hour(seconds: int = 600, step: int = 1) -> Iterator[Snapshot]:
    """Snapshots in which the lag rises, Kafka is away for a minute, and something happens."""
    for n in range(0, seconds, step):
        s = samples.fine(n + 1, seconds=n)
        topics = tuple(msgspec.structs.replace(t, lag=n % 300) for t in s.kafka.value.topics)
        kafka = msgspec.structs.replace(s.kafka.value, topics=topics)
        reading = samples.ok(kafka)
        if 300 <= n < 360:
            reading = samples.failing(reading, ReadingState.DOWN, "away", since=9)
        yield msgspec.structs.replace(s, kafka=reading, events=samples.events(n // 20))


def test_the_charts_of_a_replay_are_those_that_were_seen_live(tmp_path: Path) -> None:
    toggle, live = RecordingToggle(tmp_path), SnapshotSeries()
    path = toggle.start(tmp_path / "a.rec")
    for s in hour():
        toggle.write(s)
        live.push(s)
    toggle.stop()
    replayed = series_of(path)
    for end in (samples.NOW + timedelta(seconds=n) for n in (90, 330, 599)):
        for span in SPANS:
            for name in NAMES:
                assert replayed.columns(name, end, span, 70) == live.columns(name, end, span, 70)
            assert replayed.heat(end, span, 70) == live.heat(end, span, 70)
            assert replayed.marks_in(end, span, 70) == live.marks_in(end, span, 70)
    assert live.marks_in(samples.NOW + timedelta(seconds=599), 900, 70)


def test_a_source_that_is_away_leaves_a_gap_and_a_peak_is_seen_over_two_days() -> None:
    series = SnapshotSeries()
    for s in hour():
        series.push(s)
    end = samples.NOW + timedelta(seconds=599)
    lags = series.columns("lag", end, 600, 60)
    assert lags[10] is not None
    assert lags[33] is None, "unknown is not drawn as 0"
    assert max(p for p in series.columns("lag", end, SPANS[-1], 70) if p is not None) == 3 * 299


def test_a_console_that_starts_again_shows_the_past(tmp_path: Path) -> None:
    first, live = HistoryKeeper(tmp_path), SnapshotSeries()
    start = samples.NOW
    for s in hour():
        first.write(s)
        live.push(s)
    past, second = SnapshotSeries(fine=1), SnapshotSeries()
    points, marks = without_age_limit(tmp_path)
    past.add_points(points)
    past.marks.extend(marks)
    second.put_before(past)
    end = start + timedelta(seconds=580)
    for name in NAMES:
        assert second.columns(name, end, 3600, 40)[:-1] == live.columns(name, end, 3600, 40)[:-1]
    assert second.heat(end, 3600, 40).keys() == live.heat(end, 3600, 40).keys()
    kept = {m.text for m in second.marks}
    assert kept
    assert kept <= {m.text for m in live.marks}
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600


def without_age_limit(folder: Path) -> tuple[list, list]:  # type: ignore[type-arg]  # of points and marks
    """The samples are of a day of their own, which the record may hold to be too old."""
    keeper = HistoryKeeper(folder)
    file = keeper._open()
    file._oldest = lambda: 0  # type: ignore[method-assign]  # any age
    points: list = []  # type: ignore[type-arg]  # of points
    return points, file.load(points.extend)


def test_the_record_is_bounded(tmp_path: Path) -> None:
    keeper, series = HistoryKeeper(tmp_path), SnapshotSeries()
    for s in hour(20_000, step=10):
        keeper.write(msgspec.structs.replace(s, events=()))
        series.push(s)
    day = (tmp_path / NAME).stat().st_size * 8_640 / 2_000
    assert day < 6_000_000, "bytes a day"
    assert len(series._coarse) <= COARSE_KEPT


def test_a_file_that_is_no_history_costs_the_charts_alone(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"something else" * 1_000)
    keeper = HistoryKeeper(tmp_path)
    for s in hour(40):
        keeper.write(s)
    assert keeper.load().first_at is None


async def test_the_time_axis_is_zoomed_and_moved_by_keys(tmp_path: Path) -> None:
    snapshots = list(hour())
    app = app_of(StillFeed(snapshots[-1]), tmp_path)
    for s in snapshots:
        app._history.push(s)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("8")
        await settle(pilot)
        text = "\n".join(lines(app))
        assert "12:10:40" in text, "three minutes"
        assert "12:13:40 KST" in text
        assert "orders-0" in text
        await pilot.press("w", "left_curly_bracket")
        await settle(pilot)
        text = "\n".join(lines(app))
        assert "charts until 11-23 12:10:40" in text
        assert "12:10:40 KST" in text
        await pilot.press("right_curly_bracket")
        await settle(pilot)
        assert "charts until" not in "\n".join(lines(app))


def replayed(folder: Path) -> tuple[Player, ConsoleApp, Path]:
    """Return a recording of 200 pictures, its player, and an app that shows it."""
    toggle = RecordingToggle(folder)
    path = toggle.start(folder / "a.rec")
    for s in hour(200):
        toggle.write(s)
    toggle.stop()
    player = Player(Recording(path), monotonic=lambda: 0.0)
    return player, app_of(player, folder, operator=RecordingOperator("this is a recording")), path


async def test_a_replay_has_full_charts_at_any_time(tmp_path: Path) -> None:
    player, app, path = replayed(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        app.replace_history(series_of(path))
        player.step(150)
        await pilot.press("8", "right_square_bracket")
        await settle(pilot)
        text = "\n".join(lines(app))
        assert "REPLAY || 152/200" in text
        assert "12:06:12 KST" in text
        assert any("\u2800" < c < "\u28ff" for c in text), "lines are drawn"


async def test_charts_are_ascii_with_ascii(tmp_path: Path) -> None:
    snapshots = list(hour(200))
    app = app_of(StillFeed(snapshots[-1]), tmp_path, options=DisplayOptions("en", ascii=True))
    for s in snapshots:
        app._history.push(s)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("8")
        await settle(pilot)
        assert "".join(lines(app)).isascii()


def test_marks_are_kept_in_no_language_and_shown_in_each(tmp_path: Path) -> None:
    keeper = HistoryKeeper(tmp_path)
    said = msg.OF(name="kafka", error=msg.AWAY(error="refused\x1b[2J"))
    event = Event(n=1, at=samples.NOW, kind=EventKind.CONSOLE, level="error", source="kafka",
                  text=msg.AWAY(error="refused\x1b[2J"))  # fmt: skip
    for s in hour(60):
        keeper.write(msgspec.structs.replace(s, events=(event,)))
    _, marks = without_age_limit(tmp_path)
    assert [m.message for m in marks] == [said]
    assert render(marks[0].message, "ko").startswith("kafka: 응답 없음: refused")
    assert "\x1b" not in render(marks[0].message, "ko")


def test_a_history_of_an_earlier_version_is_continued(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / NAME) as db:
        db.execute(
            "CREATE TABLE marks (at REAL NOT NULL, level TEXT NOT NULL, text TEXT NOT NULL,"
            " PRIMARY KEY (at, text))"
        )
        db.execute("INSERT INTO marks VALUES (1.0, 'info', 'kafka: answers again')")
    keeper = HistoryKeeper(tmp_path)
    for s in hour(60):
        keeper.write(s)
    points, marks = without_age_limit(tmp_path)
    assert points
    assert (marks[0].text, marks[0].message) == ("kafka: answers again", "")


def test_one_of_several_processes_writes_and_another_continues(tmp_path: Path) -> None:
    first, second = HistoryKeeper(tmp_path), HistoryKeeper(tmp_path)
    snapshots = list(hour(120))
    for s in snapshots[:60]:
        first.write(s)
        second.write(s)
    assert second._file is None
    first.close()
    for s in snapshots[60:]:
        second.write(s)
    points, _ = without_age_limit(tmp_path)
    assert [p.at % 3600 for p in points] == sorted({p.at % 3600 for p in points})
    assert len(points) == 12, "one of ten seconds each, but for the last"


def test_changes_are_marked_scenarios_gradings_ends_and_new_versions() -> None:
    before = samples.well()
    view, grades = before.processes.value, before.grades.value
    assert view.processes
    named = tuple(msgspec.structs.replace(p, version="0.1.0") for p in view.processes)
    before = msgspec.structs.replace(
        before,
        processes=samples.ok(msgspec.structs.replace(view, processes=named, scenarios=("payday",))),
    )
    newer = (
        msgspec.structs.replace(named[0], version="0.2.0"),
        msgspec.structs.replace(named[1], state="backoff", last_exit="SIGKILL"),
        msgspec.structs.replace(named[2], restarts=named[2].restarts + 1, last_exit="SIGSEGV"),
        *named[3:],
    )
    run = msgspec.structs.replace(grades.run, run_id=grades.run.run_id + 1, upgraded=7)
    after = msgspec.structs.replace(
        before,
        processes=samples.ok(
            msgspec.structs.replace(view, processes=newer, scenarios=("flash_sale x6",))
        ),
        grades=samples.ok(msgspec.structs.replace(grades, run=run)),
    )
    said = {f"{source}: {message}" for _, source, message in changes(before, after)}
    assert f"{named[0].name}: runs version 0.2.0 now" in said
    assert f"{named[1].name}: ended: SIGKILL" in said
    assert f"{named[2].name}: ended: SIGSEGV" in said, "it was back before the next reading"
    assert {"scenario: flash_sale x6 began", "scenario: payday ended"} <= said
    assert any("7 up" in text for text in said)
    away = msgspec.structs.replace(
        after, redis=samples.failing(after.redis, ReadingState.STALE, "away", since=1)
    )
    assert not [s for _, s, _ in changes(before, away) if s == "scenario"], "not known, not over"


def test_each_column_has_the_highest_of_its_points_and_a_gap_has_none() -> None:
    rng = random.Random(5)
    times = [rng.random() < 0.9 for _ in range(2_000)]
    lags = {10 * n: float(rng.randrange(90)) for n, there in enumerate(times) if there}
    points = [
        HistoryPoint(
            at, array("d", [lag] * len(NAMES)), array("f", [lag]), ("orders-0",),
            array("f", [3, 1]), ("A", "B"),
        )
        for at, lag in lags.items()
    ]  # fmt: skip
    past, series = SnapshotSeries(), SnapshotSeries()
    past.add_points(points)
    series.put_before(past)
    end = datetime.fromtimestamp(20_000, UTC)
    for cells in (20, 70, 400):
        span = 20_000
        wanted: list[float | None] = [None] * cells
        for at, lag in lags.items():
            column = at * cells // span
            wanted[column] = max(lag, wanted[column] or 0.0)
        found = series.columns("lag", end, span, cells)
        assert found == series.heat(end, span, cells)["orders-0"]
        assert [f for f, w in zip(found, wanted, strict=True) if w is not None] == [
            w for w in wanted if w is not None
        ]
        assert series.grade_share("B", end, span, cells)[-1] == 0.25
    assert None in series.columns("lag", end, 2_000, 200), "what is not there is no number"


def test_points_of_ten_seconds_are_a_line_where_finer_ones_begin_later() -> None:
    series, past = SnapshotSeries(), SnapshotSeries()
    for s in hour(100, step=10):
        past.push(s)
    for s in [*hour(140)][100:]:
        series.push(s)
    series.put_before(past)
    end = samples.NOW + timedelta(seconds=139)
    assert None not in series.columns("lag", end, 120, 120), "no dashes"


async def test_charts_show_no_more_time_than_is_known(tmp_path: Path) -> None:
    player, app, path = replayed(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        app.replace_history(series_of(path))
        await pilot.press("8", "0", "w", "w", "w")
        await settle(pilot)
        first, last = player.recording.times[0], player.recording.times[-1]
        view = app.view()
        assert view.span == (last - first).total_seconds()
        assert f"{first.astimezone(KST):%H:%M:%S}" in "\n".join(lines(app))
        assert view.history.columns("in", view.end, view.span, 50)[0] is not None
