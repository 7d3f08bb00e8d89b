"""Rows are things: a cursor, sorting, opening, following, acting; with real keys and clicks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Input

from console.lookups.details import Detail, DetailRow, Ref, heading, named
from console.snapshot.reading import Reading
from console.tui.app import ConsoleApp
from console.tui.appearance import DisplayOptions
from console.tui.objects.detail_screen import DetailScreen
from console.tui.objects.object_list import ObjectList
from tests.console import console_samples as samples
from tests.console.console_samples import StillFeed
from tests.console.driving import RecordingOperator, app_of, lines, settle
from tests.support.waiting import wait_until


class FakeLookups:
    """Knows an order of each customer."""

    def __init__(self) -> None:
        self.asked: list[Ref] = []

    def __call__(self, ref: Ref) -> Detail:
        self.asked.append(ref)
        order = Ref("order", "77")
        return Detail(ref, (DetailRow("name", f"all of {ref}"), DetailRow("order", "77", order)))


def made(
    tmp_path: Path, operator: RecordingOperator | None = None
) -> tuple[ConsoleApp, FakeLookups]:
    app = app_of(StillFeed(samples.fine()), tmp_path, operator=operator)
    lookups = FakeLookups()
    app._look_up = lookups  # type: ignore[method-assign]  # no servers here
    return app, lookups


async def opened(pilot: Pilot[int], text: str) -> None:
    for _ in range(100):
        await settle(pilot)
        if text in "\n".join(lines(pilot.app)):
            return
    raise AssertionError("\n".join(lines(pilot.app)))


@pytest.mark.parametrize(
    ("keys", "ref"),
    [
        ("2", "topic orders"),
        ("4", "grade BRONZE"),
        ("5", "event 40"),
        ("6", "process postgres"),
        ("7", "letter orders/3/100"),
    ],
)
async def test_enter_opens_the_row_of_every_tab(keys: str, ref: str, tmp_path: Path) -> None:
    app, lookups = made(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press(keys)
        await settle(pilot)
        await pilot.press("enter")
        await opened(pilot, f"all of {ref}")
        assert [str(r) for r in lookups.asked] == [ref]
        await pilot.press("down", "enter")
        await opened(pilot, "all of order 77")
        await pilot.press("escape", "escape")
        await settle(pilot)
        assert len(app.screen_stack) == 1


async def test_columns_sort_by_key_and_by_click(tmp_path: Path) -> None:
    app, _ = made(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2")
        await settle(pilot)
        table = app.query_one("#offsets", ObjectList)
        table.focus()

        def lags() -> list[str]:
            return [str(table.get_cell_at((row, 2))).strip() for row in range(3)]  # type: ignore[arg-type]  # a tuple does

        assert lags() == ["120", "61", "0"]
        await pilot.press("s", "s", "s", "S")
        await settle(pilot)
        assert lags() == ["120", "61", "4"]
        assert "lag ▼" in "\n".join(lines(app))
        await pilot.click(table, offset=(3, 0))
        await settle(pilot)
        assert "partition ▲" in "\n".join(lines(app))
        assert lags() == ["120", "61", "0"]


async def test_clicks_choose_tabs_and_rows(tmp_path: Path) -> None:
    app, lookups = made(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.click("#tabs", offset=(13, 0))
        await settle(pilot)
        assert app._tab == "kafka"
        table = app.query_one("#topics", ObjectList)
        await pilot.click(table, offset=(3, 3))
        await settle(pilot)
        assert table.cursor_row == 2
        await pilot.click(table, offset=(3, 3))
        await opened(pilot, "all of topic users")
        assert len(lookups.asked) == 1


async def test_the_filter_and_the_cursor_of_a_list(tmp_path: Path) -> None:
    app, _ = made(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2")
        await settle(pilot)
        table = app.query_one("#offsets", ObjectList)
        table.focus()
        await pilot.press("j", "j", "j", "j")
        assert table.under_cursor() == Ref("partition", "products/0")
        await pilot.press("slash", *"products", "enter", "tab")
        await settle(pilot)
        assert table.row_count == 4
        assert table.under_cursor() == Ref("partition", "products/0"), "the cursor stays on its row"
        assert not isinstance(app.focused, Input)


async def test_following_an_id_from_anywhere(tmp_path: Path) -> None:
    app, lookups = made(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f", *"order 123", "enter")
        await opened(pilot, "all of order 123")
        await pilot.press("escape")
        await settle(pilot)
        await pilot.press("f", *"9007", "enter")
        await opened(pilot, "all of follow 9007")
        assert [str(r) for r in lookups.asked] == ["order 123", "follow 9007"]


async def test_one_dead_letter_is_edited_and_replayed_after_a_dry_run(tmp_path: Path) -> None:
    operator = RecordingOperator()
    operator.dry = {"would be published": 1}
    app, _ = made(tmp_path, operator)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("7")
        await settle(pilot)
        await pilot.press("a")
        await settle(pilot)
        await pilot.press(*"quantity=2", "enter")
        wait_until(lambda: operator.asked, "the dry run")
        await opened(pilot, "replay 1")
        assert operator.asked == ["dry run of dlq.replay_one orders/3/100 quantity=2"]
        await pilot.press(*"replay 1", "enter")
        await settle(pilot)
        wait_until(lambda: len(operator.asked) == 2, "the replay")
        assert operator.asked[1] == "dlq.replay_one orders/3/100 quantity=2"


async def test_actions_on_a_row_are_those_of_its_thing(tmp_path: Path) -> None:
    app, _ = made(tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("6")
        await settle(pilot)
        await pilot.press("G", "k", "a")  # orders
        await settle(pilot)
        text = "\n".join(lines(app))
        assert "generator.pause orders" in text
        assert "process.restart orders" in text
        assert "cache.refresh" not in text


async def test_values_that_are_not_current_are_dim_in_a_list(tmp_path: Path) -> None:
    app = app_of(StillFeed(samples.kafka_down()), tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("2")
        await settle(pilot)
        table = app.query_one("#offsets", ObjectList)
        styles = {s.style for row in range(4) for s in table.get_row_at(row)[2].spans}
        assert styles == {"$dim"}
        assert "unknown (was warn" in "\n".join(lines(app))


async def test_a_detail_of_a_server_that_hangs_can_be_left(tmp_path: Path) -> None:
    app, _ = made(tmp_path)
    release = threading.Event()
    app._look_up = lambda ref: release.wait(30) and Detail(ref, ())  # type: ignore[assignment, method-assign, return-value]  # it hangs: no servers here
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f", *"1", "enter")
        await settle(pilot)
        assert isinstance(app.screen, DetailScreen)
        assert app.screen.query_one(DataTable).row_count == 1
        await pilot.press("escape")
        await settle(pilot)
        assert len(app.screen_stack) == 1
        release.set()


async def test_an_answer_that_takes_long_is_awaited_and_the_others_are_shown(
    tmp_path: Path,
) -> None:
    app, _ = made(tmp_path)
    release, asked, left = threading.Event(), threading.Event(), threading.Event()

    def slow(stop: Callable[[], bool]) -> list[DetailRow]:
        asked.set()
        while not release.wait(0.01):
            if stop():
                left.set()
                return []
        return [DetailRow("score", "+1.2345"), DetailRow("due", "now")]

    rows = (DetailRow("name", "Kim"), DetailRow("score", later=slow), DetailRow("order", "77"))
    app._look_up = lambda ref: Detail(ref, rows)  # type: ignore[method-assign]  # no servers here
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f", *"1", "enter")
        await opened(pilot, "77")
        text = "\n".join(lines(app))
        assert "Kim" in text
        assert "asking" in text, "a state, not a failure"
        await pilot.press("j", "j")
        release.set()
        await opened(pilot, "+1.2345")
        table = app.screen.query_one(DataTable)
        assert "asking" not in "\n".join(lines(app))
        assert table.cursor_row == 3, "the cursor is on its row, which has moved down"
        release.clear()
        asked.clear()
        await pilot.press("r")
        await asyncio.to_thread(asked.wait, 30)
        await pilot.press("escape")
        assert await asyncio.to_thread(left.wait, 30), "nobody waits for it any more"


async def test_two_refreshes_of_one_version_are_two_rows(tmp_path: Path) -> None:
    shown = samples.fine()
    refresh = shown.redis.value.refreshes[-1]
    failed = msgspec.structs.replace(refresh, error="PostgreSQL is away")
    twice = msgspec.structs.replace(shown.redis.value, refreshes=(refresh, failed, failed))
    snapshot = msgspec.structs.replace(shown, redis=samples.ok(twice))
    app = app_of(StillFeed(snapshot), tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("3")
        await settle(pilot)
        table = app.screen.query_one("#refresh-list", ObjectList)
        assert table.row_count == 3
        newest = [str(cell).strip() for cell in table.get_row_at(0)]
        assert newest[2:] == ["—"] * 4 + ["PostgreSQL is away"], "it replaced nothing"


async def test_a_defect_in_a_reading_is_shown_and_awaited_no_longer(tmp_path: Path) -> None:
    app, _ = made(tmp_path)

    def defective(_ref: Ref) -> Detail:
        raise StopIteration("no such kind")

    app._look_up = defective  # type: ignore[method-assign]  # no servers here
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f", *"1", "enter")
        await opened(pilot, "no such kind")
        assert "defect of the console" in "\n".join(lines(app))
        assert "asking" not in "\n".join(lines(app))


async def test_a_heading_without_rows_says_so_and_an_empty_value_is_no_heading(
    tmp_path: Path,
) -> None:
    app, _ = made(tmp_path)
    rows = (heading("orders"), heading("windows"), named("error", "", None), named("orders", "7"))
    app._look_up = lambda ref: Detail(ref, rows)  # type: ignore[method-assign]  # no servers here
    app._options = DisplayOptions("ko")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("f", *"1", "enter")
        await opened(pilot, "orders")
        drawn = [line.strip("│ ") for line in lines(app)[1:5]]
        assert drawn[0].split() == ["주문", "없음"]
        assert "─" in drawn[1]
        assert drawn[2].split() == ["error"]
        assert drawn[3].split() == ["orders", "7"]


async def test_a_list_without_rows_says_so(tmp_path: Path) -> None:
    s = samples.fine()
    letters = msgspec.structs.replace(s.letters.value, newest=(), counts=())
    s = msgspec.structs.replace(s, letters=samples.ok(letters), postgres=Reading())
    app = app_of(StillFeed(s), tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        for tab, name, says in (("7", "letter-list", "none"), ("4", "spender-list", "unknown")):
            await pilot.press(tab)
            await settle(pilot)
            table = app.query_one(f"#{name}", ObjectList)
            assert str(table.get_row_at(0)[0]).strip() == says
            assert table.row_count == 1
            assert table.under_cursor() is None
