"""What is wrong at the top, the keys at the bottom, and the help of each tab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.widgets import Static

from console.tui import keys
from console.tui.appearance import DisplayOptions
from console.tui.cells import width
from tests.console import console_samples as samples
from tests.console.console_samples import StillFeed
from tests.console.driving import app_of, lines, settle


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("lang", ["en", "ko"])
async def test_the_footer_names_the_keys_of_the_tab(
    lang: Any, size: tuple[int, int], tmp_path: Path
) -> None:
    options = DisplayOptions(lang)
    app = app_of(StillFeed(samples.fine()), tmp_path, options=options)
    own = {
        "overview": "A act", "kafka": "Enter open", "events": "L level", "processes": "s sort",
        "letters": "/ filter", "cache": "Enter open", "customers": "Enter open",
        "charts": "{ } back, forward",
    }  # fmt: skip
    async with app.run_test(size=size) as pilot:
        for at, (tab, title) in enumerate(keys.TABS, start=1):
            await pilot.press(str(at))
            await settle(pilot)
            below = "\n".join(lines(app)[-2:])
            assert options(own[tab]) in below
            assert options("? help") in below
            assert f"{at}{options(title)}" in lines(app)[-1]
            assert all(width(line) == size[0] for line in lines(app))


@pytest.mark.parametrize(
    ("pressed", "offered"),
    [
        ("6", ""),  # a server
        ("6jjj", "a restart"),
        ("6jjjjjj", "a resume, rate, restart"),
        ("2", "a pause, rate, replay, restart"),
        ("7", "a replay"),
        ("4", ""),
    ],
)
async def test_the_footer_offers_what_the_row_takes(
    pressed: str, offered: str, tmp_path: Path
) -> None:
    app = app_of(StillFeed(samples.fine()), tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press(*pressed)
        await settle(pilot)
        below = "  ".join(lines(app)[-2:])
        assert (f"  {offered}  " if offered else "Enter open  s sort") in below
        await pilot.press("a")
        await settle(pilot)
        assert (len(app.screen_stack) > 1) is bool(offered)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)], ids="{0[0]}x{0[1]}".format)
async def test_long_names_have_the_room_that_they_need(
    size: tuple[int, int], tmp_path: Path
) -> None:
    s = samples.fine()
    longer = tuple(
        msgspec.structs.replace(t, name=f"customer_{t.name}", group=f"customer_{t.name}_group")
        for t in samples.kafka().topics
    )
    view = msgspec.structs.replace(s.kafka.value, topics=longer)
    app = app_of(StillFeed(msgspec.structs.replace(s, kafka=samples.ok(view))), tmp_path)
    async with app.run_test(size=size) as pilot:
        await pilot.press("2")
        await settle(pilot)
        shown = "\n".join(lines(app))
        assert "customer_orders-0 " in shown
        assert size[0] == 80 or "customer_products_group" in shown
        assert "…" not in shown
        assert all(width(line) == size[0] for line in lines(app))


@pytest.mark.parametrize("lang", ["en", "ko"])
@pytest.mark.parametrize("tab", [name for name, _ in keys.TABS])
async def test_the_help_begins_with_the_tab(tab: str, lang: Any, tmp_path: Path) -> None:
    options = DisplayOptions(lang)
    app = app_of(StillFeed(samples.fine()), tmp_path, options=options)
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press(str([name for name, _ in keys.TABS].index(tab) + 1))
        await settle(pilot)
        await pilot.press("question_mark")
        await settle(pilot)
        text = str(app.screen.query_one("#help Static", Static).render())
        first, _, rest = text.partition(options("Everywhere"))
        assert options(keys.PURPOSES[tab]) in first
        here, everywhere = keys.help_keys(tab)
        assert all((k.ko if lang == "ko" else k.en) in first for k in here)
        assert all((k.ko if lang == "ko" else k.en) in rest for k in everywhere)
        assert len(here) + len(everywhere) == len(keys.KEYS)


def test_every_hint_and_purpose_has_its_korean() -> None:
    korean = DisplayOptions("ko")
    for hints in keys.TAB_HINTS.values():
        assert all(korean(text) != text for text in hints)
    assert all(korean(text) != text for text in keys.PURPOSES.values())
    assert all(korean(text) != text for text in keys.VERBS.values())
    assert set(keys.PURPOSES) == {name for name, _ in keys.TABS}


async def test_all_causes_are_at_the_top(tmp_path: Path) -> None:
    """At 80 columns the first line has no room for them: they get lines of their own."""
    feed = StillFeed(samples.fine(), msgspec.structs.replace(samples.all_down(), sequence=2))
    app = app_of(feed, tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        feed.advance()
        app._tick()
        await settle(pilot)
        top = "\n".join(lines(app)[:4])
        for server in ("kafka", "redis", "postgres"):
            assert server in top.casefold()
        assert "\u2026" not in lines(app)[0]
        assert all(width(line) == 80 for line in lines(app))
