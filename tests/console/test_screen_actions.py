"""Actions from the screens: what they ask before they do, what they refuse, what they write."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from textual.pilot import Pilot
from textual.widgets import OptionList

from console.actions import operations
from console.actions.operations import Operator
from shop.settings import load
from tests.console import console_samples as samples
from tests.console.console_samples import StillFeed
from tests.console.driving import RecordingOperator, app_of, lines, settle


async def test_an_action_from_the_list_is_done(tmp_path: Path) -> None:
    operator = RecordingOperator()
    app = app_of(StillFeed(samples.fine()), tmp_path, operator=operator)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("A")
        options = app.screen.query_one(OptionList)
        texts = offered(options)
        assert "generator.resume products" in texts, "it is paused"
        assert "generator.pause orders" in texts
        assert "dlq.replay orders bad_json" in texts, "of one reason alone"
        await pilot.press("enter")
        await settle(pilot)
        assert operator.asked == ["generator.pause users"]
        await choose(pilot, "generator.rate orders FACTOR")
        await pilot.press(*"2.5", "enter")
        await settle(pilot)
        assert operator.asked[-1] == "generator.rate orders 2.5"
        await choose(pilot, "generator.rate orders FACTOR")
        await pilot.press(*"-1", "enter")
        await settle(pilot)
        assert len(operator.asked) == 2, "an invalid rate is refused"


def offered(options: OptionList) -> list[str]:
    """Return the first column of a list."""
    prompts = (str(options.get_option_at_index(i).prompt) for i in range(options.option_count))
    return [prompt.split("  ")[0].strip() for prompt in prompts]


async def until_asked(pilot: Pilot[Any], count: int) -> None:
    """Wait for a dialog that comes when a thread has found something out."""
    while len(pilot.app.screen_stack) < count:
        await pilot.pause(0.01)
    await settle(pilot)


async def choose(pilot: Pilot[Any], text: str) -> None:
    await pilot.press("A")
    await settle(pilot)
    options = pilot.app.screen.query_one(OptionList)
    options.highlighted = offered(options).index(text)
    await pilot.press("enter")
    await settle(pilot)


async def test_what_destroys_must_be_typed(tmp_path: Path) -> None:
    operator = RecordingOperator()
    app = app_of(StillFeed(samples.fine()), tmp_path, operator=operator)
    async with app.run_test(size=(120, 40)) as pilot:
        await choose(pilot, "dlq.replay")
        await until_asked(pilot, 2)
        text = "\n".join(lines(app))
        assert "37 would be published, 3 still bad" in text
        assert "type 'replay 37' to do it" in text
        asked = ["dry run of dlq.replay"]
        await pilot.press(*"yes", "enter")
        await settle(pilot)
        assert operator.asked == asked
        assert "type 'replay 37', or Escape" in "\n".join(lines(app))
        for _ in "yes":
            await pilot.press("backspace")
        await pilot.press(*"replay", "space", *"37", "enter")
        await settle(pilot)
        assert operator.asked == (asked := [*asked, "dlq.replay"])
        await choose(pilot, "process.restart ingest")
        await pilot.press("escape")
        await settle(pilot)
        assert operator.asked == asked


async def test_a_replay_that_would_publish_nothing_is_not_offered(tmp_path: Path) -> None:
    operator = RecordingOperator()
    operator.dry = {"still bad": 3}
    app = app_of(StillFeed(samples.fine()), tmp_path, operator=operator)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await choose(pilot, "dlq.replay")
        while not any("3 still bad" in n.message for n in app._notifications):
            await pilot.pause(0.01)
        assert len(app.screen_stack) == 1
        assert operator.asked == ["dry run of dlq.replay"]


async def test_a_scenario_is_chosen_from_a_list(tmp_path: Path) -> None:
    operator = RecordingOperator()
    app = app_of(StillFeed(samples.fine()), tmp_path, operator=operator)
    async with app.run_test(size=(120, 40)) as pilot:
        await choose(pilot, "scenario.start NAME")
        await until_asked(pilot, 2)
        options = app.screen.query_one(OptionList)
        assert offered(options) == ["payday", "flash_sale"]
        assert "Flash sale on one product" in "\n".join(lines(app))
        await pilot.press("j", "enter")
        await settle(pilot)
        assert operator.asked == ["scenario.start flash_sale"]


async def test_read_only_refuses(tmp_path: Path) -> None:
    operator = RecordingOperator(refuse="read-only")
    app = app_of(StillFeed(samples.fine()), tmp_path, operator=operator)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("A")
        await settle(pilot)
        assert len(app.screen_stack) == 1
        assert "READ-ONLY" in lines(app)[0]
    refused = Operator(lambda: load({}, use_stack=False), refuse="read-only").perform(
        operations.parse(["cache.refresh"])
    )
    assert (refused.outcome, refused.result) == ("refused", "read-only")


async def test_what_is_exported_can_be_read_by_others(tmp_path: Path) -> None:
    """Other programs open the files: a browser shows the picture in its colours."""
    app = app_of(StillFeed(samples.fine()), tmp_path)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("e")
        await settle(pilot)
    files = {p.suffix: p for p in tmp_path.glob("console-*")}
    style = ET.parse(files[".svg"]).getroot()[0].text or ""
    assert style.count("\n") > 10, "rules of a style sheet, on lines of their own"
    assert json.loads(files[".json"].read_text(encoding="utf-8"))["sequence"] >= 0
    rows = list(csv.reader(files[".csv"].read_text(encoding="utf-8").splitlines()))
    assert rows[0] == ["name", "value"]
    assert {len(row) for row in rows} == {2}
