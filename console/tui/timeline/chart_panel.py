"""The panel of charts: a click goes to a time, pointing at a mark shows what it is."""

from __future__ import annotations

from textual.events import Click, Leave, MouseMove

from console.series import Mark
from console.tui import charts
from console.tui.panel import Panel
from console.tui.timeline.time_bar import TimeBar, TimeSought
from console.tui.view import PanelView


class ChartPanel(Panel):
    """Draws charts, whose columns are times."""

    _view: PanelView | None = None

    def show(self, view: PanelView) -> None:
        """Draw the view, and remember it for what is pointed at."""
        self._view = view
        super().show(view)

    def on_click(self, event: Click) -> None:
        """Go to the time that was clicked, or to that of the mark there."""
        if (column := self._column(event)) is not None and self._view is not None:
            self.post_message(TimeSought(charts.time_at(*column, self._view)))

    def on_mouse_move(self, event: MouseMove) -> None:
        """Show what the mark at the pointer is, on the time bar."""
        self._bar().point(self._mark(event))

    def on_leave(self, _event: Leave) -> None:
        """Show no mark."""
        self._bar().point(None)

    def _bar(self) -> TimeBar:
        return self.app.screen_stack[0].query_one(TimeBar)

    def _mark(self, event: MouseMove) -> Mark | None:
        view, column = self._view, self._column(event)
        if view is None or column is None:
            return None
        return view.history.marks_in(view.end, view.span, column[1]).get(column[0])

    def _column(self, event: Click | MouseMove) -> tuple[int, int] | None:
        at = event.get_content_offset(self)
        return None if at is None else charts.column_at(at.x, self.content_size.width)
