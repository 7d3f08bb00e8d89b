"""What the tests of the screens share: the application, and an operator that records requests."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from textual.pilot import Pilot
from textual.strip import Strip

from console.actions.commands import WOULD_PUBLISH, ScenarioRow
from console.actions.operations import ActionOutcome, ActionRequest, ActionResult, Operator
from console.recording.toggle import RecordingToggle
from console.tui.app import ConsoleApp
from console.tui.appearance import DisplayOptions
from shop.settings import load
from tests.console import console_samples as samples


class RecordingOperator(Operator):
    """An operator that records what it was asked to do."""

    def __init__(self, refuse: str = "") -> None:
        super().__init__(lambda: load({}, use_stack=False), refuse=refuse, who="me@here")
        self.asked: list[str] = []
        self.dry: dict[str, int] = {WOULD_PUBLISH: 37, "still bad": 3}

    def would_replay(self, request: ActionRequest) -> dict[str, int]:
        self.asked.append(f"dry run of {request.words}")
        return self.dry

    def scenarios(self) -> tuple[ScenarioRow, ...]:
        return (
            ScenarioRow("payday", "1d", "x1.35", "Payday"),
            ScenarioRow("flash_sale", "30m", "x6", "Flash sale on one product"),
        )

    def perform(
        self, request: ActionRequest, *, wait: float = 0.0, stop: threading.Event | None = None
    ) -> ActionResult:
        self.asked.append(request.words)
        return self._result(request, ActionOutcome.DONE, "as asked")


def app_of(
    feed: Any,
    tmp_path: Path,
    *,
    options: DisplayOptions | None = None,
    operator: Operator | None = None,
) -> ConsoleApp:
    return ConsoleApp(
        feed,
        operator or RecordingOperator(),
        RecordingToggle(tmp_path),
        options=options or DisplayOptions(),
        folder=tmp_path,
        clock=lambda: samples.NOW,
    )


def lines(app: ConsoleApp) -> list[str]:
    """Return the lines on the screen."""
    return [strip.text for strip in app.screen._compositor.render_strips()]


async def settle(pilot: Pilot[Any]) -> None:
    """Wait until the application is idle: no change while all widgets answer twice.

    Textual's own pause takes a process that gets no processor for 20 ms for an idle one, and one
    round of answers is not the end: a row shown moves a cursor, which draws a panel.
    """
    await pilot.pause()
    if isinstance(pilot.app, ConsoleApp):
        pilot.app.redraw()
    seen: list[Strip] = []
    alike = 0
    for _ in range(100):
        await pilot.pause()
        now = pilot.app.screen._compositor.render_strips()
        alike = alike + 1 if now == seen else 0
        seen = now
        if alike == 2:
            return
    raise AssertionError("the screen never stays as it is")
