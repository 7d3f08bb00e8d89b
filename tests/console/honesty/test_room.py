"""What is shown in the room there is: no cut words, no panel of "1 more" alone, no empty half."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.widgets import Input

from console.recording.player import Player
from console.recording.recording import Recording
from console.recording.toggle import RecordingToggle
from console.snapshot.model import Snapshot
from console.snapshot.reading import ReadingState
from console.tui.appearance import DisplayOptions
from console.tui.objects.object_list import ObjectList
from console.tui.panel import Panel
from console.tui.timeline.time_bar import TimeBar
from tests.console import console_samples as samples
from tests.console.console_samples import StillFeed
from tests.console.driving import app_of, lines, settle

TABS = "12345678"


def many_partitions(*, hot: int) -> Snapshot:
    """A shop of 36 partitions, one of them far behind."""
    lags: list[int | None] = [0] * 36
    lags[hot] = 5_000
    topics = (samples.topic("orders", lags),)
    kafka = msgspec.structs.replace(samples.kafka(), topics=topics)
    return msgspec.structs.replace(samples.fine(), kafka=samples.ok(kafka))


async def test_a_wide_terminal_is_used_on_every_tab(tmp_path: Path) -> None:
    app = app_of(StillFeed(samples.fine()), tmp_path)
    async with app.run_test(size=(200, 60)) as pilot:
        for key in TABS.replace("5", "").replace("6", ""):  # their lines are as long as they are
            await pilot.press(key)
            await settle(pilot)
            right = [line[100:] for line in lines(app)[2:-2]]
            used = sum(bool(half.strip(" │")) for half in right)
            assert used >= len(right) // 3, f"the right half of tab {key} is empty"


@pytest.mark.parametrize("lang", ["en", "ko"])
async def test_a_low_terminal_shows_a_value_in_every_panel(lang: Any, tmp_path: Path) -> None:
    app = app_of(StillFeed(samples.fine()), tmp_path, options=DisplayOptions(lang))
    async with app.run_test(size=(80, 24)) as pilot:
        for key in TABS:
            await pilot.press(key)
            await settle(pilot)
            for panel in app.query(Panel):
                if panel.is_on_screen and panel.display:
                    shown = [line for line in panel.text.splitlines() if not line.startswith("─")]
                    assert shown
                    assert shown[0][:1] not in "123456789" or shown[0][1:2] not in " 개", shown


async def test_old_values_have_room_while_the_database_is_away(tmp_path: Path) -> None:
    s = samples.fine()
    away = {
        name: samples.failing(getattr(s, name), ReadingState.DOWN, "no answer", since=9)
        for name in ("postgres", "grades")
    }
    app = app_of(StillFeed(msgspec.structs.replace(s, **away)), tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("4")
        await settle(pilot)
        assert "178,641,140" in app.query_one("#takings", Panel).text
        assert "down" in app.query_one("#grade-run", Panel).text
        assert "more" not in app.query_one("#grade-run", Panel).text


@pytest.mark.parametrize("lang", ["en", "ko"])
async def test_the_keys_below_the_time_bar_are_whole(lang: Any, tmp_path: Path) -> None:
    toggle = RecordingToggle(tmp_path)
    path = toggle.start(tmp_path / "a.rec")
    toggle.write(msgspec.structs.replace(samples.fine(), events=()))
    toggle.stop()
    player = Player(Recording(path), monotonic=lambda: 0.0)
    app = app_of(player, tmp_path, options=DisplayOptions(lang))
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        below = app.query_one(TimeBar).text.splitlines()[1]
        assert "…" not in below
        assert below.rstrip().endswith({"en": "0 now", "ko": "0 현재"}[lang])


async def test_the_map_shows_the_partitions_furthest_behind(tmp_path: Path) -> None:
    app = app_of(StillFeed(many_partitions(hot=31)), tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("8")
        await settle(pilot)
        shown = app.query_one("#heat", Panel).text
        assert "orders-31" in shown
        assert "orders-35" not in shown
        assert "more" in shown


async def test_numbers_stay_in_their_columns(tmp_path: Path) -> None:
    app = app_of(StillFeed(samples.fine()), tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2")
        await settle(pilot)
        table = app.query_one("#offsets", ObjectList)
        rows = [table.get_row_at(n) for n in range(table.row_count)]
        ends = {str(row[-1]).rstrip() for row in rows}
        assert {len(end) for end in ends} == {9}, "flush right within nine cells"


async def test_dialogs_are_ascii_where_asked_for(tmp_path: Path) -> None:
    app = app_of(StillFeed(samples.fine()), tmp_path, options=DisplayOptions("en", ascii=True))
    async with app.run_test(size=(120, 40)) as pilot:
        for key in ("f", "T", "E", "colon"):
            await pilot.press(key)
            await settle(pilot)
            assert len(app.screen_stack) == 2
            assert app.screen.query_one(Input)
            assert "".join(lines(app)).isascii(), [x for x in lines(app) if not x.isascii()]
            await pilot.press("escape")
            await settle(pilot)
