"""The part of the application that draws: takes snapshots from a feed and draws what is seen.

Nothing here waits for a server: snapshots come ready from the feed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from textual.app import App, ComposeResult
from textual.css.query import NoMatches
from textual.events import Event, Resize
from textual.geometry import Size
from textual.message import Message
from textual.screen import Screen
from textual.timer import Timer

from console.actions.operations import Operator
from console.event_list import EventFilter
from console.poller import Feed, Poller
from console.recording.player import Player
from console.recording.toggle import RecordingToggle
from console.series import FIRST_SPAN, SPANS, SnapshotSeries
from console.snapshot.model import Snapshot
from console.tui import header_footer, keys, layout, screens, theme
from console.tui.appearance import DisplayOptions
from console.tui.header_footer import ConsoleStatus, Tabs
from console.tui.objects.object_list import ObjectList
from console.tui.panel import Lines, Panel
from console.tui.view import PanelView
from shop.clock import Clock, utc_now

TICK_S: Final = 0.25
"""How often a new snapshot is looked for and the countdown moves."""
FROZEN_TICK_S: Final = 1.0
"""The same while the view is frozen."""
FROZEN_STEP_S: Final = 5
"""How often the length of the pause is drawn: all that changes while the view is frozen."""
LEAST_WIDTH: Final = 20
LEAST_HEIGHT: Final = 5
_STEP: Final = 0.8
"""A chart of which less than this share would be full shows less time."""


class SnapshotReady(Message):
    """There is a new snapshot."""

    def __init__(self, snapshot: Snapshot, feed: Feed) -> None:
        super().__init__()
        self.snapshot = snapshot
        self.feed = feed


class SnapshotApp(App[int]):
    """Draws a feed; the subclass handles the keys.

    Args:
        feed: where snapshots come from; started by the caller.
        operator: does the actions.
        toggle: starts and stops recording.
        options: language and glyphs.
        colours: name of the theme.
        shown: called once the first picture is there.
        clock: UTC; what ages are measured against.
    """

    CSS_PATH = "console.tcss"
    TITLE = "Jangteo"
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012  (Textual's name and type; it is only read)
        (0, "-tiny"),
        (80, "-narrow"),
        (100, "-normal"),
        (160, "-wide"),
    ]
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (24, "-short"), (36, "-tall")]  # noqa: RUF012  (Textual's name and type; it is only read)
    AUTO_FOCUS = ""

    def __init__(
        self,
        feed: Feed,
        operator: Operator,
        toggle: RecordingToggle,
        *,
        options: DisplayOptions,
        colours: str = "dark",
        shown: Callable[[], None] = lambda: None,
        clock: Clock = utc_now,
    ) -> None:
        super().__init__()
        self._shown = shown
        self._feed = self._live = feed
        self._operator = operator
        self._toggle = toggle
        self._options = options
        self._clock = clock
        self._history = SnapshotSeries()
        self._snapshot = feed.latest()
        self._found = self._snapshot
        """The snapshot that was found last; while the view is frozen, a later one than is shown."""
        self._frozen_at: float | None = None
        self._frozen_now: datetime | None = None
        self._frozen_s = 0
        self._ticker: Timer | None = None
        self._tab = keys.TABS[0][0]
        self._filter = EventFilter()
        self._span = FIRST_SPAN
        self._until: datetime | None = None
        self.set_class(options.ascii, "-ascii", update=False)
        for each in theme.THEMES:
            self.register_theme(theme.without_colours(each) if self.no_color else each)
        self.set_reactive(App.theme, self._theme_name(colours))
        self._variables = self.get_css_variables()
        self.stylesheet.set_variables(self._variables)

    def get_default_screen(self) -> Screen[Any]:
        """Return a screen that knows the size's classes: styles are worked out once, not twice."""
        wide = [c for least, c in self.HORIZONTAL_BREAKPOINTS if self.size.width >= least]
        high = [c for least, c in self.VERTICAL_BREAKPOINTS if self.size.height >= least]
        return Screen(id="_default", classes=f"{wide[-1]} {high[-1]}")

    def compose(self) -> ComposeResult:
        """Make the header, the first tab, and the lines below."""
        yield from layout.widgets(self._options)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Return the variables that the themes of Textual lack."""
        return {"dim": theme.DIM_OF_OTHERS}

    def refresh_css(self, animate: bool = True) -> None:
        """Recompute the styles if a colour has changed: when Textual starts, none has."""
        if (variables := self.get_css_variables()) != self._variables:
            self._variables = variables
            super().refresh_css(animate=animate)

    def on_ready(self) -> None:
        """Begin to tick, now that the widgets are there."""
        self._ticker = self.set_interval(TICK_S, self._tick)
        self._history.push(self._snapshot)
        self._apply(self._snapshot)
        self.call_after_refresh(self._shown)

    def _theme_name(self, name: str) -> str:
        if name == theme.ANSI:
            name = "ansi-dark" if "ansi-dark" in self.available_themes else "textual-ansi"
        return name

    def add_past(self, past: SnapshotSeries) -> None:
        """Take what was kept before this console began."""
        self._history.put_before(past)
        self.redraw()

    def replace_history(self, history: SnapshotSeries) -> None:
        """Take all of a recording at once: its charts are those that were seen live."""
        self._history = history
        self.redraw()

    def write_codes(self, codes: str) -> None:
        """Write codes to the terminal, as they are."""
        if self._driver is not None:
            self._driver.write(codes)

    # ---- what happens by itself ----

    def _tick(self) -> None:
        with contextlib.suppress(NoMatches, IndexError):  # the end: screens are being taken away
            self._look_for_news()

    def _look_for_news(self) -> None:
        if self._feed is not self._live:
            self._history.push(self._live.latest())
        snapshot = self._feed.latest()
        if snapshot is not self._found and snapshot.sequence != self._snapshot.sequence:
            self._found = snapshot
            self.post_message(SnapshotReady(snapshot, self._feed))
        elif self._frozen_at is not None:
            seconds = int(time.monotonic() - self._frozen_at) // FROZEN_STEP_S
            if seconds != self._frozen_s:
                self._frozen_s = seconds
                self._draw_header(self.view())
        else:
            self._draw_countdown()

    def on_snapshot_ready(self, message: SnapshotReady) -> None:
        """Take a snapshot; while the view is frozen, only the history grows."""
        # Not one of the past, once now is shown again; and at the end screens are taken away.
        if message.feed is self._feed and self._screen_stack:
            self.take(message.snapshot)

    def take(self, snapshot: Snapshot) -> None:
        """Add a snapshot to the history, and show it unless the view is frozen."""
        if snapshot.sequence == self._snapshot.sequence:
            return
        self._history.push(snapshot)
        if self._frozen_at is None:
            self._apply(snapshot)

    def _apply(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.redraw()

    def view(self) -> PanelView:
        """Return what panels draw from; in a replay, and while frozen, time is the snapshot's."""
        frozen = self._frozen_now or isinstance(self._feed, Player)
        now = self._snapshot.at if frozen else max(self._clock(), self._snapshot.at)
        return PanelView(
            self._snapshot,
            self._history,
            now,
            self._options,
            width=self.size.width,
            height=self.size.height,
            span=self._shown_span(),
            until=self._until,
            filter=self._filter,
        )

    def _shown_span(self) -> float:
        """Return the seconds that charts show: of what is known, so that none is half empty.

        Of a running shop more is known every second: the time that is shown grows in steps.
        """
        span, first, live = float(self._span), self._history.first_at, self._live
        if first is None:
            return span
        recorded = isinstance(live, Player)
        last = live.recording.times[-1] if isinstance(live, Player) else live.latest().at
        known = max(SPANS[0], last.timestamp() - first)
        while not recorded and span * _STEP >= known:
            span *= _STEP
        return min(span, known) if recorded else span

    def redraw(self) -> None:
        """Draw what is seen."""
        view = self.view()
        self._draw_header_and_footer(view)
        base = self.screen_stack[0]
        for objects in self.lists():
            objects.show(view)
        for panel in base.query(Panel):
            if panel.is_on_screen and panel.display:
                panel.show(view)

    def lists(self) -> list[ObjectList]:
        """Return the lists of the tab that is shown."""
        return list(self.screen_stack[0].query(f"#{self._tab} ObjectList").results(ObjectList))

    def _draw_countdown(self) -> None:
        view = self.view()
        name = {"overview": "#countdown", "cache": "#cache-countdown"}.get(self._tab)
        for panel in self.screen_stack[0].query(name).results(Panel) if name else ():
            if panel.is_on_screen:
                panel.show(view)

    def _draw_header_and_footer(self, view: PanelView) -> None:
        self._draw_header(view)
        base = self.screen_stack[0]
        replay = isinstance(self._feed, Player)
        kind, actions = self._row_under_cursor()
        hint = keys.hint(self._tab, kind, actions, self._options, replay=replay)
        base.query_one("#tabs", Tabs).draw(view, [*keys.TABS], self._tab, hint)
        self._draw_time_bar(view)
        base.query_one("#too-small", Lines).put(header_footer.too_small(view))

    def _draw_header(self, view: PanelView) -> None:
        player = self._feed if isinstance(self._feed, Player) else None
        status = ConsoleStatus(
            interval=getattr(self._feed, "interval", 1.0),
            recording=self._toggle.path is not None,
            paused_s=None if self._frozen_at is None else time.monotonic() - self._frozen_at,
            read_only=bool(self._operator.refuse) and player is None,
            until=self._until,
            replay=(player.position + 1, len(player.recording), player.playing) if player else None,
            past_s=(self._live.latest().at - self._snapshot.at).total_seconds()
            if self._feed is not self._live
            else None,
        )
        header = self.screen_stack[0].query_one("#header", Lines)
        header.put(header_footer.header(view, status), layout=True)

    def _draw_time_bar(self, view: PanelView) -> None:
        """Draw the time bar, in a subclass that has one."""

    def _row_under_cursor(self) -> tuple[str, str]:
        """Return the kind of what the row under the cursor opens, and what can be done with it."""
        shown = self.lists()
        table = self.focused if isinstance(self.focused, ObjectList) else next(iter(shown), None)
        ref = table.under_cursor() if table in shown and table is not None else None
        if ref is None:
            return "", ""
        return ref.kind, keys.row_actions(screens.offers_on(ref, self._snapshot), self._options)

    def on_data_table_row_highlighted(self) -> None:
        """Show what can be done with the row under the cursor."""
        with contextlib.suppress(NoMatches, IndexError):  # the end: screens are being taken away
            self._draw_header_and_footer(self.view())

    async def on_event(self, event: Event) -> None:
        """Lay nothing out for fewer cells than a dialog's frame takes.

        Textual raises where a list has no width; a terminal that is smaller shows a part.
        """
        if isinstance(event, Resize):
            size = Size(max(event.size.width, LEAST_WIDTH), max(event.size.height, LEAST_HEIGHT))
            event = Resize(size, size)
        await super().on_event(event)

    def on_resize(self) -> None:
        """Draw for the new size, once the layout is known."""
        self.call_after_refresh(self.redraw)

    def watch_app_focus(self) -> None:
        """Read less often while nobody looks."""
        self.set_pace()

    def set_pace(self) -> None:
        """Read half as often while the view is frozen or the terminal is in the background.

        While the view is frozen, which is of no newer values, half as often again.
        """
        if self._ticker is not None:
            self._ticker.stop()
            tick = TICK_S if self._frozen_at is None else FROZEN_TICK_S
            self._ticker = self.set_interval(tick, self._tick)
        if isinstance(self._live, Poller):
            frozen = self._frozen_at is not None
            self._live.pace = 1.0 if self.app_focus and not frozen else 2.0
            self._live.slack = 2.0 if frozen else 1.0
