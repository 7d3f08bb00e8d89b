"""The lines above and below the panels: pure functions of a view."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from textual.events import Click

from console import rules
from console import translations as msg
from console.snapshot.model import SERVERS
from console.text import duration, krw
from console.tui import appearance
from console.tui.cells import width
from console.tui.panel import Lines
from console.tui.view import Drawn, PanelView, Part, cell, content, state
from shop.clock import KST


@dataclass(frozen=True)
class ConsoleStatus:
    """What the console itself is doing.

    Attributes:
        interval: seconds between two snapshots.
        recording: whether a file is written.
        paused_s: since the view was frozen; None: it is not.
        read_only: whether actions are refused.
        until: the end of that time; None: now.
        replay: position, number of snapshots, playing; None: this is live.
        past_s: how long ago what is shown was, in a running shop; None: it is now, or a recording.
    """

    interval: float = 1.0
    recording: bool = False
    paused_s: float | None = None
    read_only: bool = False
    replay: tuple[int, int, bool] | None = None
    until: datetime | None = None
    past_s: float | None = None


def header(view: PanelView, status: ConsoleStatus) -> Drawn:
    """Draw the lines at the top: how all of it is, each server, and what is wrong."""
    health, reasons = rules.health(view.snapshot)
    word = "all ok" if health is rules.ShopHealth.OK else health.value
    first: list[Part] = [
        (" JANGTEO ", "bold reverse"),
        f" {view.snapshot.at.astimezone(KST):%H:%M:%S} KST  ",
        view.marked(health.severity, view(word)),
        "  ",
    ]
    marks: list[Part] = []
    if status.paused_s is not None:
        seconds = int(status.paused_s)
        marks += [(f" {view('PAUSED')} {seconds // 60:02}:{seconds % 60:02} ", "bold reverse"), " "]
    if status.past_s is not None:
        ago_ = view.options.render(msg.AGO(age=duration(status.past_s)))
        marks += [(f" {view('PAST')} {ago_} ", "bold reverse"), " "]
    elif status.replay:
        at, of, playing = status.replay
        sign = ">" if playing else "||"
        marks += [(f" {view('REPLAY')} {sign} {at}/{of} ", "bold reverse"), " "]
    if status.until is not None and not status.replay:
        text = f" {view('charts until')} {status.until.astimezone(KST):%m-%d %H:%M:%S} "
        marks += [(text, "bold reverse"), " "]
    if status.read_only:
        marks += [(f"{view('READ-ONLY')} ", appearance.ACCENT)]
    record = f"{view('rec')} {view('on' if status.recording else 'off')}"
    marks += [
        (f"{record}  {status.interval:g}s", appearance.BAD if status.recording else appearance.DIM)
    ]
    taken = sum(width(p[0] if isinstance(p, tuple) else p) for p in [*first, *marks])
    room = max(0, view.width - taken - 2)
    why, others = _causes([view.options.render(r) for r in reasons], room, view)
    first += [(cell(why, room, view), health.severity.style), "  ", *marks]
    second: list[Part] = [" "]
    for name in SERVERS:
        title = {"postgres": "PG"}.get(name, name.upper())
        second += [(f"{title} ", appearance.DIM), *state(getattr(view.snapshot, name), view), "  "]
    letters = view.snapshot.letters.value
    if letters and letters.open:
        second += [(f"DLQ {letters.open}", appearance.WARN), "  "]
    if (found := view.snapshot.postgres.value) is not None:
        lang = view.options.lang
        used = sum(width(p[0] if isinstance(p, tuple) else p) for p in second)
        for spend in (
            krw(found.spend, lang),
            krw(found.spend, lang, short=True),
        ):  # never a part of a number
            spent = view.options.render(msg.SPENT(count=found.minutes, spend=spend))
            if used + width(spent) <= view.width:
                second += [(spent, appearance.DIM)]
                break
    return content([first, second, *([(line, health.severity.style)] for line in others)])


_LONG_CAUSE: Final = 60
"""Cells from which on a reason is text of another program, and is cut in the first line."""
_MOST_CAUSES: Final = 2
"""Lines of causes below the first line; a terminal of 24 lines has 20 for everything else."""


def _causes(reasons: list[str], room: int, view: PanelView) -> tuple[str, list[str]]:
    """Return what is wrong: for the first line, and lines of whole reasons for what has no room.

    Args:
        reasons: the gravest first.
        room: cells of the first line.
        view: for the width of the others.
    """
    whole = "; ".join(reasons)
    if width(whole) <= room or not reasons or width(reasons[0]) > _LONG_CAUSE:
        return whole, []
    lines, rest = [""], list(reasons)
    while rest:
        longer = f"{lines[-1]}; {rest[0]}" if lines[-1] else rest[0]
        if width(longer) > view.width - 12 and lines[-1]:  # room for "N more"
            if len(lines) == _MOST_CAUSES:
                break
            lines.append("")
            continue
        lines[-1] = longer
        rest.pop(0)
    if rest:
        lines[-1] += f"; {view.options.render(msg.MORE(count=len(rest)))}"
    return "", [cell(f" {line}", view.width, view) for line in lines]


class Tabs(Lines):
    """The tab bar: a click shows a tab."""

    def __init__(self, *, id: str) -> None:  # noqa: A002  (Textual's name)
        super().__init__(id=id)
        self._ends: list[tuple[int, str]] = []

    def draw(self, view: PanelView, names: list[tuple[str, str]], active: str, hint: str) -> None:
        """Draw the bar, above it the keys where the bar leaves no room; remember where tabs end."""
        self.put(tabs(view, names, active, hint), layout=True)
        end, self._ends = 0, []
        for key, (name, title) in enumerate(names, start=1):
            end += width(f"{key}{view(title)}") + 1
            self._ends.append((end, name))

    async def on_click(self, event: Click) -> None:
        """Show the tab that was clicked."""
        name = next((name for end, name in self._ends if event.x < end), None)
        if name is not None:
            await self.app.run_action(f"tab('{name}')")


def tabs(view: PanelView, names: list[tuple[str, str]], active: str, keys: str) -> Drawn:
    """Draw the tab bar, the active one reversed, and the keys that act here.

    The keys are a line of their own, above the bar, where the bar leaves no room for them.
    """
    parts: list[Part] = []
    used = 0
    for key, (name, title) in enumerate(names, start=1):
        text = f"{key}{view(title)}"
        parts += [(text, "bold reverse" if name == active else ""), " "]
        used += width(text) + 1
    room = max(0, view.width - used)
    if width(keys) > room:
        return content([[(cell(whole(keys, view.width), view.width, view), appearance.DIM)], parts])
    return content([[*parts, (cell(keys, room, view, right=True), appearance.DIM)]])


def whole(keys: str, room: int, *, last: int = 2) -> str:
    """Leave out whole keys where not all fit.

    Args:
        keys: separated by two spaces.
        room: cells.
        last: keys at the end that stay: help and quit in a footer.
    """
    shown = keys.split("  ")
    while width("  ".join(shown)) > room and len(shown) > last:
        del shown[-1 - last]
    return "  ".join(shown)


def too_small(view: PanelView) -> Drawn:
    """Draw which size is needed."""
    needed = msg.TOO_SMALL(width=view.width, height=view.height)
    return content([[view.options.render(needed)]])
