"""The time bar: all that is recorded as one line, with marks, that is clicked and dragged."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from textual.events import Click, Leave, MouseDown, MouseMove, MouseUp
from textual.message import Message

from console.mark_kinds import kind_of
from console.series import Mark
from console.tui import appearance, charts
from console.tui.cells import width
from console.tui.header_footer import whole
from console.tui.panel import Lines
from console.tui.view import Drawn, Line, PanelView, Part, cell, content
from shop.clock import KST, UTC

NEAR_S: Final = 2.5
"""A mark that is this near to the moment is of it: the console sees some changes a second later."""


@dataclass(frozen=True)
class TimeRange:
    """The time of which something is known, and where in it the screen is.

    Attributes:
        start: the oldest moment.
        end: the newest; of a running shop it is now.
        moment: what is shown.
        live: whether what is shown is now.
        playing: whether it moves on by itself.
        speed: seconds that are played in one.
        step_s: seconds between two moments.
    """

    start: datetime
    end: datetime
    moment: datetime
    live: bool = False
    playing: bool = False
    speed: float = 1.0
    step_s: float = 1.0

    @property
    def seconds(self) -> float:
        """How long all of it is."""
        return max(0.001, (self.end - self.start).total_seconds())

    def at(self, column: int, cells: int) -> datetime:
        """Return the time of a column."""
        share = min(1.0, max(0.0, (column + 0.5) / max(1, cells)))
        return self.start + (self.end - self.start) * share

    def column(self, at: datetime, cells: int) -> int:
        """Return the column of a time, or of the end that is nearer."""
        share = (at - self.start).total_seconds() / self.seconds
        return min(cells - 1, max(0, int(share * cells)))


class TimeSought(Message):
    """A time was pointed at."""

    def __init__(self, at: datetime) -> None:
        super().__init__()
        self.at = at


def bar(view: PanelView, known: TimeRange, hovered: Mark | None = None) -> Drawn:
    """Draw the bar, and below it the moment with what happened then.

    Args:
        view: for the width, the marks and the time that charts show.
        known: the time of which something is known.
        hovered: the mark under the pointer; None: that of the moment.
    """
    left, cells = room(view.width, known)
    form = _form(known)
    line: list[Part] = [(cell(f"{known.start.astimezone(KST):{form}}", left, view), appearance.DIM)]
    line += _track(view, known, cells)
    line += [(f" {known.end.astimezone(KST):{form}}", appearance.DIM)]
    return content([line, _below(view, known, hovered)])


def room(wide: int, known: TimeRange) -> tuple[int, int]:
    """Return the cells left of the track, and those of the track."""
    left = len(f"{known.start:{_form(known)}}") + 1
    return left, max(8, wide - 2 * left)


def _form(known: TimeRange) -> str:
    return "%m-%d %H:%M" if known.end - known.start > timedelta(hours=20) else "%H:%M:%S"


def _track(view: PanelView, known: TimeRange, cells: int) -> list[Part]:
    first = known.column(view.end - timedelta(seconds=view.span), cells)
    last = known.column(view.end, cells)
    here = known.column(known.moment, cells)
    glyphs = ("-", "=", "#") if view.options.ascii else ("─", "━", "┃")
    marks = view.history.marks_in(known.end, known.seconds, cells)
    parts: list[tuple[str, str]] = []
    for column in range(cells):
        inside = first <= column <= last
        mark = marks.get(column)
        if column == here:
            parts.append((glyphs[2], f"{appearance.ACCENT} bold reverse"))
        elif mark is not None:
            parts.append((kind_of(mark).letter, charts.mark_style(mark)))
        else:
            parts.append((glyphs[inside], appearance.BAR if inside else appearance.DIM))
    return [*charts.joined(parts)]


def _below(view: PanelView, known: TimeRange, hovered: Mark | None) -> Line:
    options = view.options
    if known.live:
        state, style = options("now"), appearance.OK
    else:
        sign = ">" if known.playing else "||"
        state, style = f"{sign} {known.speed:g}x", f"{appearance.ACCENT} bold"
    moment = f"{known.moment.astimezone(KST):%m-%d %H:%M:%S} KST"
    shown: list[Part] = [(f"{state} ", style), (moment, appearance.BOLD), "  "]
    mark = hovered or mark_at(view, known.moment, max(NEAR_S, known.step_s))
    used = sum(width(p if isinstance(p, str) else p[0]) for p in shown)
    if mark is None:
        keys = options("space play  [ ] step  < > speed  n N E events  T time  0 now")
        free = view.width - used
        return [*shown, (cell(whole(keys, free, last=1), free, view, right=True), appearance.DIM)]
    text = f"{kind_of(mark).letter} {at_kst(mark)} {options.render(mark.message or mark.text)}"
    return [*shown, (cell(text, view.width - used, view), charts.mark_style(mark))]


def at_kst(mark: Mark) -> str:
    """Return the time of day of a mark in Seoul."""
    return f"{datetime.fromtimestamp(mark.at, KST):%H:%M:%S}"


def mark_at(view: PanelView, at: datetime, within_s: float) -> Mark | None:
    """Return the mark that is nearest to a time; None if none is near."""
    wanted = at.timestamp()
    near = [m for m in view.history.marks if abs(m.at - wanted) <= within_s]
    return min(near, key=lambda m: abs(m.at - wanted), default=None)


class TimeBar(Lines):
    """Shows the bar; a click goes to a time, dragging moves through it, pointing shows a mark."""

    def __init__(self, *, id: str) -> None:  # noqa: A002  (Textual's name)
        super().__init__(id=id)
        self._view: PanelView | None = None
        self._known: TimeRange | None = None
        self._hovered: Mark | None = None
        self._dragged = False

    def show(self, view: PanelView, known: TimeRange) -> None:
        """Draw the bar of a view."""
        self._view, self._known = view, known
        sized = view.sized(self.size.width or view.width, 2)
        self.put(bar(sized, known, self._hovered))

    def point(self, mark: Mark | None) -> None:
        """Show what a mark is; None: that of the moment again."""
        if mark != self._hovered and self._view is not None and self._known is not None:
            self._hovered = mark
            self.show(self._view, self._known)

    def on_mouse_down(self, event: MouseDown) -> None:
        """Go to the time that was clicked, and follow the pointer."""
        self._dragged = True
        self.capture_mouse()
        self._seek(event.x)

    def on_mouse_move(self, event: MouseMove) -> None:
        """Follow the pointer while it drags; else show the mark under it."""
        if self._dragged:
            self._seek(event.x)
        elif self._view is not None and (at := self._time(event.x)) is not None:
            self.point(mark_at(self._view, at, 0.001))

    def on_mouse_up(self, _event: MouseUp) -> None:
        """Let go."""
        self._dragged = False
        self.release_mouse()

    def on_click(self, event: Click) -> None:
        """Take the click: nothing below it is meant."""
        event.stop()

    def on_leave(self, _event: Leave) -> None:
        """Show the mark of the moment again."""
        self.point(None)

    def _seek(self, x: int) -> None:
        if (at := self._time(x, clamped=True)) is not None:
            self.post_message(TimeSought(at))

    def _time(self, x: int, *, clamped: bool = False) -> datetime | None:
        known, view = self._known, self._view
        if known is None or view is None:
            return None
        left, cells = room(self.size.width, known)
        if not clamped and not 0 <= x - left < cells:
            return None
        column = min(cells - 1, max(0, x - left))
        if column == cells - 1:
            return known.end
        mark = view.history.marks_in(known.end, known.seconds, cells).get(column)
        # A click on a mark means the mark, not the middle of its column.
        return known.at(column, cells) if mark is None else datetime.fromtimestamp(mark.at, UTC)
