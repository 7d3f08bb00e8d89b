"""What a panel draws from, and the small things that all panels draw."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from textual.content import Content

from console.series import SnapshotSeries
from console.snapshot.model import Snapshot
from console.snapshot.reading import Rate, Reading, ReadingState
from console.snapshot.severity import Severity
from console.text import duration, number
from console.tui import appearance
from console.tui.appearance import DisplayOptions
from console.tui.cells import composed, fit, width
from shop.clock import KST

Part = str | tuple[str, str]
"""Text, or text with a style."""
Line = Sequence[Part]
Drawn = list[Content]
"""What is drawn, a line each."""


@dataclass(frozen=True)
class PanelView:
    """A snapshot, how it came about, and the room there is; cells."""

    snapshot: Snapshot
    history: SnapshotSeries
    now: datetime
    options: DisplayOptions
    width: int = 80
    height: int = 24
    filter: str = ""

    def sized(self, width: int, height: int) -> PanelView:
        """Return the same view for another room."""
        return replace(self, width=width, height=height)

    def marked(self, severity: Severity, text: str) -> tuple[str, str]:
        """Return a text with its mark, in the style of its severity."""
        return f"{self.options.mark(severity)} {text}", severity.style

    def __call__(self, word: str) -> str:
        """Return a word in the chosen language."""
        return self.options(word)


def content(lines: Iterable[Line]) -> Drawn:
    """Put lines together; nothing in them is markup.

    A line that was put together lately is the same object: who shows it need not look into it.
    """
    return [_line(tuple(line)) for line in lines]


@lru_cache(maxsize=1024)
def _line(parts: tuple[Part, ...]) -> Content:
    return Content.assemble(
        *((composed(p[0]), p[1]) if isinstance(p, tuple) else Content(composed(p)) for p in parts)
    )


def cell(text: str, cells: int, view: PanelView, *, right: bool = False) -> str:
    """Cut or pad to a width, with the ellipsis of the glyphs."""
    return fit(text, cells, right=right, more=view.options.glyphs.more)


def state(reading: Reading[Any], view: PanelView) -> Line:
    """Return a reading's state with its age, as mark, word and time."""
    age = reading.age(view.now)
    words, style = view.marked(reading.state.severity, view(reading.state.value))
    if reading.state is ReadingState.OK:
        return [(words, style), (f" {duration(age)}", appearance.DIM)]
    if reading.state is ReadingState.LOADING:
        return [(words, style)]
    old = f" {duration(age)}" if age is not None else ""
    return [(words + old, style)]


def trouble(reading: Reading[Any], view: PanelView) -> list[Line]:
    """Return lines that say what is wrong with a source; none while it is in order."""
    if reading.state is ReadingState.OK:
        return []
    if reading.state is ReadingState.LOADING:
        return [[(f"{view('connecting')}{view.options.glyphs.more}", appearance.DIM)]]
    words, style = view.marked(reading.state.severity, view(reading.state.value))
    if reading.failing_since:
        words += f" {reading.failing_since.astimezone(KST):%H:%M:%S}~"
    words += f" {view('try')} {reading.attempts}"
    if reading.retry_at:
        left = max(0.0, (reading.retry_at - view.now).total_seconds())
        words += f", {view('next in')} {left:.0f}s"
    lines: list[Line] = [[(cell(words, view.width, view), style)]]
    if view.height > 3 and reading.error:
        error = view.options.render(reading.error)
        lines.append([(cell(error, view.width, view), appearance.DIM)])
    return lines


def rate(value: Rate, view: PanelView) -> str:
    """Return a rate as text."""
    if value.reset:
        return view("reset")
    return view.options.glyphs.dash if value.per_s is None else f"{number(value.per_s)}/s"


def count(value: float | None, view: PanelView) -> str:
    """Return a number, or a dash for what is not known."""
    return number(value, view.options.glyphs.dash)


def listed(
    reading: Reading[Any],
    header: Sequence[str],
    rows: Sequence[Sequence[Part]],
    view: PanelView,
    *,
    left: Collection[int] = (0,),
) -> list[Line]:
    """Lay rows out as `table` does; where there are none, say why."""
    lines = table(header, rows, view, left=left)
    if reading.value is None:
        return [*lines, *trouble(reading, view)]
    return lines if rows else [*lines, [(view("none"), appearance.DIM)]]


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[Part]],
    view: PanelView,
    *,
    left: Collection[int] = (0,),
) -> list[Line]:
    """Lay rows out in columns that fit the width; the last column is cut.

    Args:
        header: one word per column.
        rows: text, or text with a style.
        view: for the width.
        left: the columns that are flush left; the last one always is.
    """
    texts = [[p[0] if isinstance(p, tuple) else p for p in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(header, *texts, strict=True)]
    last = len(header) - 1
    room = view.width - sum(widths[:last]) - 2 * last
    widths[last] = max(0, min(widths[last], room)) if last else view.width
    lines: list[Line] = []
    for row in [[(h, appearance.DIM) for h in header], *rows]:
        line: list[Part] = []
        for i, part in enumerate(row):
            text, style = part if isinstance(part, tuple) else (part, "")
            padded = cell(text, widths[i], view, right=i not in left and i < last)
            line += [(padded, style), "  "] if i < last else [(padded, style)]
        lines.append(line)
    return lines
