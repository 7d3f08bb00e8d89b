"""The screens: what is seen at every size, in both languages, in every state."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.events import AppBlur, AppFocus
from textual.filter import Monochrome
from textual.widgets import Input

from console.poller import Poller
from console.recording.player import Player
from console.recording.recording import Recording
from console.recording.toggle import RecordingToggle
from console.snapshot.model import Snapshot
from console.sources import CurrentSettings
from console.tui import keys
from console.tui.appearance import DisplayOptions
from console.tui.cells import width
from console.tui.objects.object_list import ObjectList
from console.tui.panel import Panel
from shop.settings import load
from tests.console import console_samples as samples
from tests.console.console_samples import StillFeed
from tests.console.driving import RecordingOperator, app_of, lines, settle
from tests.console.pictures import check
from tests.console.test_poller import NoEvents

SIZES = [(80, 24), (120, 40), (200, 60)]
STATES: dict[str, Callable[[], Snapshot]] = {
    "fine": samples.fine,
    "kafka-down": samples.kafka_down,
    "redis-stale": samples.redis_stale,
    "all-down": samples.all_down,
}


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("state", STATES)
async def test_every_state_at_every_size(state: str, size: tuple[int, int], tmp_path: Path) -> None:
    app = app_of(StillFeed(STATES[state]()), tmp_path)
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        text = "\n".join(lines(app))
        assert all(width(line) == size[0] for line in lines(app))
        if state == "all-down":
            assert text.count("down") >= 4
            assert "try 3, next in 4s" in text
        else:
            assert "BRONZE" in text
            assert "orders-0" in text, "the last values stay"
            assert "ingest" in text
        if state == "kafka-down":
            assert "kafka: Local: Broker transp" in text
            assert "since 12:02:37 KST" in text or size[1] == 24, "since when"
            assert "unknown (was warn 1m05s ago)" in text, "a verdict is not about the past"
            assert "but ingest reports that it stores 57/s" in text or size[0] < 200
            assert "drain" not in lines(app)[5], "no drain time of old values"
            assert "(1m05s ago)" in text, "the age of the values"
        check(app, f"{state}-{size[0]}x{size[1]}")


async def test_no_color_needs_no_colour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = app_of(StillFeed(samples.kafka_down()), tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        assert any(isinstance(f, Monochrome) for f in app._filters)
        assert app.current_theme.error == app.current_theme.foreground, "no dim grey of a red"
        text = "\n".join(lines(app))
        assert "■ down" in text
        assert "○ unknown (was warn" in text
        check(app, "no-color-120x40")


@pytest.mark.parametrize("tab", [name for name, _ in keys.TABS])
@pytest.mark.parametrize("lang", ["en", "ko"])
async def test_every_tab_in_both_languages(tab: str, lang: Any, tmp_path: Path) -> None:
    app = app_of(StillFeed(samples.fine()), tmp_path, options=DisplayOptions(lang))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press(str([n for n, _ in keys.TABS].index(tab) + 1))
        await settle(pilot)
        assert all(width(line) == 120 for line in lines(app)), "double width is counted double"
        expected = {
            "overview": "flash_sale x2",
            "kafka": "users_group",
            "cache": "#128",
            "customers": "남궁하늘별",
            "events": "[bold]not markup[/bold]",
            "processes": "batches=7",
            "letters": "trailing characters",
            "charts": "orders-0",
        }[tab]
        assert expected in "\n".join(lines(app))
        check(app, f"tab-{tab}-{lang}")


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("lang", ["en", "ko"])
async def test_the_brokers_are_told(lang: Any, size: tuple[int, int], tmp_path: Path) -> None:
    seen = {
        "en": (
            "brokers ● 3  out of sync ● 0  below min ISR ● 0",
            "brokers ▲ 2/3 (away 1)  out of sync ▲ 12  below min ISR ■ 4",
        ),
        "ko": (
            "브로커 ● 3  동기화 안 됨 ● 0  최소 ISR 미달 ● 0",
            "브로커 ▲ 2/3 (없음 1)  동기화 안 됨 ▲ 12  최소 ISR 미달 ■ 4",
        ),
    }
    wrong = {"en": "kafka: brokers away: 1", "ko": "kafka: 없는 브로커: 1"}
    feed = StillFeed(samples.well(), msgspec.structs.replace(samples.broker_away(), sequence=2))
    app = app_of(feed, tmp_path, options=DisplayOptions(lang))
    async with app.run_test(size=size) as pilot:
        await pilot.press("2")
        await settle(pilot)
        assert seen[lang][0] in "\n".join(lines(app))
        feed.advance()
        app._tick()
        await settle(pilot)
        text = "\n".join(lines(app))
        assert seen[lang][1] in text
        assert wrong[lang] in text
        assert all(f"{name}_group" in text for name in ("orders", "products", "users"))
        assert "orders-0" in text
        check(app, f"broker-away-{lang}-{size[0]}x{size[1]}")


async def test_groups_and_brokers_stay_when_kafka_is_lost(tmp_path: Path) -> None:
    app = app_of(StillFeed(samples.kafka_down()), tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        await settle(pilot)
        text = "\n".join(lines(app))
        assert "Local: Broker transport failure" in text
        assert all(f"{name}_group" in text for name in ("orders", "products", "users"))
        assert "brokers ○ 3" in text, "how many there were, not that all is well"


async def test_a_new_reason_for_dead_letters_gets_its_line(tmp_path: Path) -> None:
    def with_reasons(sequence: int, *reasons: str) -> Snapshot:
        found = samples.letters()
        counts = tuple(msgspec.structs.replace(found.counts[0], reason=r) for r in reasons)
        letters = samples.ok(msgspec.structs.replace(found, counts=counts))
        return msgspec.structs.replace(samples.fine(), sequence=sequence, letters=letters)

    feed = StillFeed(
        with_reasons(1, "bad_json"),
        with_reasons(2, "bad_json", "missing_field", "too_large"),
        with_reasons(3, *(f"reason-{n}" for n in range(9))),
    )
    app = app_of(feed, tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("7")
        await settle(pilot)
        assert "missing_field" not in "\n".join(lines(app))
        feed.advance()
        app._tick()
        await settle(pilot)
        text = "\n".join(lines(app))
        assert "missing_field" in text
        assert "too_large" in text
        feed.advance()
        app._tick()
        await settle(pilot)
        text = "\n".join(lines(app))
        assert "reason-3" in text
        assert "reason-4" not in text
        assert "5 more: jangteo dlq counts" in text


async def test_ascii_is_ascii(tmp_path: Path) -> None:
    app = app_of(StillFeed(samples.fine()), tmp_path, options=DisplayOptions("en", ascii=True))
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        for key in "1234567":
            await pilot.press(key)
            await settle(pilot)
            assert "".join(lines(app)).isascii(), [x for x in lines(app) if not x.isascii()]
        for key in ("question_mark", "colon", "A", "T", "E", "f", "slash"):
            await pilot.press(key)
            await settle(pilot)
            assert len(app.screen_stack) == (1 if key == "slash" else 2), f"{key} opens something"
            other = {c for c in "".join(lines(app)) if not c.isascii()}
            assert not other, f"{key} shows {other}"
            await pilot.press("escape")
            await settle(pilot)
        app.notify("주문 …")
        await settle(pilot)
        text = "\n".join(lines(app))
        assert "jumun ." in text
        assert text.isascii(), {c for c in text if not c.isascii()}


async def test_a_terminal_too_small_says_so_and_recovers(tmp_path: Path) -> None:
    app = app_of(StillFeed(samples.fine()), tmp_path)
    async with app.run_test(size=(79, 24)) as pilot:
        await settle(pilot)
        assert "The console needs 80x24; this terminal is 79x24." in "\n".join(lines(app))
        await pilot.resize_terminal(80, 24)
        await settle(pilot)
        assert "BRONZE" in "\n".join(lines(app))
        await pilot.resize_terminal(80, 20)
        await settle(pilot)
        assert "this terminal is 80x20" in "\n".join(lines(app))


async def test_new_snapshots_are_drawn_and_nothing_else_is(tmp_path: Path) -> None:
    first, second = samples.fine(1), samples.fine(2)
    changed = msgspec.structs.replace(samples.redis(), ops=4_321)
    feed = StillFeed(first, msgspec.structs.replace(second, redis=samples.ok(changed, 0.2)))
    app = app_of(feed, tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        before = {p.id: p.draws for p in app.query(Panel)}
        feed.advance()
        app._tick()
        await settle(pilot)
        assert "4.32k/s" in "\n".join(lines(app))
        drawn = {p.id for p in app.query(Panel) if p.draws > before[p.id]}
        assert "redis" in drawn
        assert not drawn & {"grades", "process-list", "partitions", "events-tail"}


async def test_frozen_means_frozen(tmp_path: Path) -> None:
    second = msgspec.structs.replace(samples.well(), sequence=2)
    feed = StillFeed(samples.fine(1), second)
    app = app_of(feed, tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("p")
        feed.advance()
        app._tick()
        await settle(pilot)
        assert "PAUSED 00:0" in lines(app)[0]
        assert "orders_group: warn" in lines(app)[0]
        app._frozen_at -= 65  # type: ignore[operator]  # it is frozen, and has been for long
        app._tick()
        await settle(pilot)
        assert "PAUSED 01:0" in lines(app)[0], "the clock runs although something newer was read"
        await pilot.press("p")
        await settle(pilot)
        assert "all ok" in lines(app)[0]


async def test_less_is_read_while_nobody_looks(tmp_path: Path) -> None:
    settings = CurrentSettings(load({}, use_stack=False), follow=False)
    feed = Poller([], NoEvents(), settings)
    app = app_of(feed, tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        assert feed.pace == 1
        await pilot.press("p")
        assert feed.pace == 2
        await pilot.press("p")
        assert feed.pace == 1
        app.post_message(AppBlur())
        await settle(pilot)
        assert feed.pace == 2
        app.post_message(AppFocus())
        await settle(pilot)
        assert feed.pace == 1


async def test_the_filter_keeps_and_drops(tmp_path: Path) -> None:
    app = app_of(StillFeed(samples.fine()), tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("slash", *"!cache", "enter")
        await settle(pilot)
        text = "\n".join(lines(app)[2:-2])
        assert "orders" in text
        assert " cache " not in text
        await pilot.press("slash")
        assert app.query_one("#filter", Input).has_focus
        await pilot.press("escape")
        await settle(pilot)
        assert " cache " in "\n".join(lines(app))
        assert isinstance(app.focused, ObjectList)


async def test_keys_do_what_the_help_says(tmp_path: Path) -> None:
    feed = StillFeed(samples.fine())
    app = app_of(feed, tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("question_mark")
        await settle(pilot)
        shown = "\n".join(lines(app))
        assert all(k.en in shown for k in keys.KEYS[:14])
        await pilot.press("escape", "r")
        assert feed.refreshed == 1
        theme = app.theme
        await pilot.press("t")
        assert app.theme != theme
        await pilot.press("z")
        assert app.screen.maximized is not None
        await pilot.press("z")
        assert app.screen.maximized is None
        await pilot.press("R")
        assert app._toggle.path is not None
        await pilot.press("R")
        assert app._toggle.path is None
        await pilot.press("e")
        await settle(pilot)
        assert {p.suffix for p in tmp_path.glob("console-*")} == {".svg", ".json", ".csv"}
        await pilot.press("5", "G", "g", "j", "k", "y", "colon")
        await settle(pilot)
        assert len(app.screen_stack) == 2, "the palette"
        await pilot.press("escape", "q")
    assert app.return_code == 0


async def test_every_binding_has_an_id_and_an_action(tmp_path: Path) -> None:
    app = app_of(StillFeed(samples.fine()), tmp_path)
    ids = [k.id for k in keys.KEYS]
    assert len(set(ids)) == len(ids)
    for key in keys.KEYS:
        name = key.action.partition("(")[0]
        assert hasattr(app, f"action_{name}"), key


def test_keys_can_be_changed_and_bad_ones_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert keys.keymap() == {}
    path = tmp_path / "jangteo" / "keys.json"
    path.parent.mkdir()
    path.write_text('{"quit": "ctrl+q", "nonsense": "x", "help": 3}')
    assert keys.keymap() == {"quit": "ctrl+q"}
    path.write_text("{")
    assert keys.keymap() == {}


async def test_a_recording_plays_steps_and_jumps(tmp_path: Path) -> None:
    toggle = RecordingToggle(tmp_path)
    path = toggle.start(tmp_path / "a.rec")
    for n in range(10):
        s = samples.fine(n + 1, seconds=n)
        toggle.write(msgspec.structs.replace(s, events=samples.events(n * 3)))
    toggle.stop()
    still = Player(Recording(path), monotonic=lambda: 0.0)  # however slow the machine is
    app = app_of(still, tmp_path, operator=RecordingOperator("this is a recording"))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("right_square_bracket", "right_square_bracket")
        await settle(pilot)
        assert "REPLAY || 3/10" in lines(app)[0]
        assert "12:03:43" in lines(app)[0]
        await pilot.press("n")
        await settle(pilot)
        assert "5/10" in lines(app)[0], "where event 10, an action, was first seen"
        await pilot.press("left_square_bracket", "A")
        await settle(pilot)
        assert "4/10" in lines(app)[0]
        assert len(app.screen_stack) == 1


async def test_a_defect_leaves_a_report_without_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    app = app_of(StillFeed(samples.fine()), tmp_path)

    def broken() -> None:
        secret_value = "hunter2"
        raise RuntimeError(f"broken {len(secret_value)}")

    async def run() -> None:
        async with app.run_test(size=(80, 24)) as pilot:
            app.call_later(broken)
            await settle(pilot)

    with pytest.raises(RuntimeError):
        await run()
    assert app.return_code == 70
    (report,) = (tmp_path / "jangteo").glob("console-crash-*.txt")
    assert "RuntimeError: broken 7" in report.read_text()
    assert app.crash_report == report


def test_the_keys_table_of_the_documentation_is_the_programs() -> None:
    guide = Path(__file__).parents[2] / "docs" / "console.md"
    assert keys.as_markdown() in guide.read_text(encoding="utf-8")


@pytest.mark.parametrize("key", ["question_mark", "A", "f", "E", "T", "colon"])
async def test_a_terminal_of_a_few_cells_ends_no_dialog(key: str, tmp_path: Path) -> None:
    """A list of no width ended the console: a tiling window manager squeezes windows."""
    app = app_of(StillFeed(samples.fine()), tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press(key)
        await settle(pilot)
        for size in ((3, 2), (1, 1), (20, 5), (120, 40)):
            await pilot.resize_terminal(*size)
            await settle(pilot)
        assert len(app.screen_stack) == 2
        await pilot.press("escape")
        await settle(pilot)
        assert len(app.screen_stack) == 1
