"""The part of the application that moves in time: now is the end of the axis of the record."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from console import translations as msg
from console.actions.operations import text_of
from console.recording.player import Player
from console.series import SPANS, Mark
from console.text import duration
from console.translations import Text
from console.tui import screens
from console.tui.objects.opening import OpeningApp
from console.tui.timeline.event_screen import EventScreen
from console.tui.timeline.time_bar import TimeBar, TimeRange, TimeSought
from console.tui.view import PanelView
from shop.clock import UTC
from shop.errors import UsageError

_AFTER: Final = 0.25
"""Share of a chart that shows what came after a moment that one jumps to."""
_DRAG_S: Final = 0.04
"""While a pointer drags, the screen is drawn this often at the most."""


class TimeApp(OpeningApp):
    """Goes to any moment of a recording, or of the record of the running shop, and back to now."""

    _record: Path | None = None
    _sought: datetime | None = None
    _refused: Text = ""

    # ---- keys ----

    def action_zoom_time(self, step: int) -> None:
        """Show more of the past in charts, or less."""
        at = min(max(SPANS.index(self._span) + step, 0), len(SPANS) - 1)
        self._span = SPANS[at]
        if self._until is not None and isinstance(self._feed, Player):
            self._look_around(self._snapshot.at)  # else a longer chart begins before all records
        self.redraw()
        shown = self._shown_span()
        text = f"{self._options('charts')}: {duration(shown)}"
        if shown < self._span:
            text += f" ({self._options('no more is known')})"
        self.notify(text, timeout=2, markup=False)

    def action_scrub(self, step: int) -> None:
        """Move by a quarter of what charts show; where nothing is recorded, move charts alone."""
        by = timedelta(seconds=step * self._shown_span() / 4)
        if self._player(quiet=True) is not None:
            self._go(self._snapshot.at + by)
            return
        moved = (self._until or self._snapshot.at) + by
        self._until = None if moved >= self._snapshot.at else moved
        self.redraw()

    def action_play(self) -> None:
        """Play or pause; from now, pause at the newest snapshot that is recorded."""
        if isinstance(self._feed, Player):
            self._feed.toggle()
        self._move(lambda _player: None)

    def action_step(self, by: int) -> None:
        """Go to the next or former snapshot."""
        if by > 0 and self._at_end():
            self.action_now()
        elif by < 0 or isinstance(self._feed, Player):
            shown = self._snapshot.at
            # From now, the newest snapshot that is recorded is a step back already.
            self._move(lambda player: player.step(by + (player.latest().at < shown)))

    def action_speed(self, step: int) -> None:
        """Play faster or slower."""
        if isinstance(self._feed, Player):
            self._feed.change_speed(step)
            self._draw_header_and_footer(self.view())

    def action_jump(self, step: int) -> None:
        """Go to the next or former event; charts show what came after it, too."""
        if step < 0 or isinstance(self._feed, Player):
            self._move(lambda player: self._jump(player, step))

    def _jump(self, player: Player, step: int) -> None:
        if not player.jump(step):
            self.notify(self._options("no other event"), timeout=2)
            return
        self._look_around(player.latest().at)

    def action_now(self) -> None:
        """Return to now; of a recording, go to its end."""
        self._until = None
        player = self._feed
        if not isinstance(player, Player):
            self.redraw()
            return
        if player is self._live:
            player.seek(player.recording.times[-1])
            self._show(player)
            return
        self._feed = self._live
        self._operator.refuse = self._refused
        player.recording.close()
        self._apply(self._live.latest())

    def action_seek(self) -> None:
        """Ask for a time, and go there."""
        from console.recording.recording import time_in  # noqa: PLC0415  (SQLite)

        def answered(answer: str | None) -> None:
            if not answer:
                return
            known = self._known()
            try:
                at = time_in(answer, known.start, known.end)
            except UsageError as e:
                self.notify(self._options.render(text_of(e)), severity="error", markup=False)
            else:
                self.go_to(at)

        question = self._options("Go to which time? HH:MM, HH:MM:SS, -5m or RFC 3339")
        self.push_screen(screens.Ask(question, self._options), answered)

    def action_events(self) -> None:
        """List what happened; the chosen event is gone to."""

        def chosen(mark: Mark | None) -> None:
            if mark is not None:
                self.go_to(datetime.fromtimestamp(mark.at, UTC))

        self.push_screen(EventScreen([*self._history.marks], self.view()), chosen)

    # ---- the mouse ----

    def on_time_sought(self, message: TimeSought) -> None:
        """Go to a time that was pointed at; while a pointer drags, only to the last one."""
        if self._sought is None:
            self.set_timer(_DRAG_S, self._go_there)
        self._sought = message.at

    def _go_there(self) -> None:
        at, self._sought = self._sought, None
        if at is not None:
            self._go(at, keep_window=True)

    # ---- moving ----

    def go_to(self, at: datetime) -> None:
        """Show a moment, and in charts what came after it, too."""
        self._go(at)
        if isinstance(self._feed, Player):
            self._look_around(at)
        self.redraw()

    def _player(self, *, quiet: bool = False) -> Player | None:
        """Return what is played; while now is shown, the record, paused at its end."""
        if isinstance(self._feed, Player):
            return self._feed
        from console.recording.recording import Recording  # noqa: PLC0415  (SQLite)

        player = None
        with contextlib.suppress(UsageError):  # nothing was kept yet, or by another version
            player = Player(Recording(self._record)) if self._record else None
        if player is None:
            if not quiet:
                self.notify(self._options("nothing is recorded yet"), timeout=3)
            return None
        player.step(len(player.recording))
        self._frozen_at = self._frozen_now = None
        self.set_pace()
        self._feed = player
        self._refused, self._operator.refuse = self._operator.refuse, msg.THE_PAST()
        return player

    def _at_end(self) -> bool:
        if not isinstance(self._feed, Player) or self._feed is self._live:
            return False
        self._feed.extend()
        return self._feed.at_end

    def _move(self, move: Callable[[Player], object]) -> None:
        if (player := self._player()) is not None:
            move(player)
            self._show(player)

    def _go(self, at: datetime, *, keep_window: bool = False) -> None:
        """Go to a time; to now where it is newer than what is recorded.

        Args:
            at: the time.
            keep_window: whether the time that charts show stays where it is, if it holds `at`.
        """
        end, span = self.view().end, self._shown_span()
        player = self._player()
        if player is None:
            return
        player.extend()
        if player is not self._live and at > player.recording.times[-1]:
            self.action_now()
            return
        player.seek(at)
        inside = end - timedelta(seconds=span) <= at <= end
        self._until = end if keep_window and inside else None
        self._show(player)

    def _look_around(self, at: datetime) -> None:
        """Have charts show what came after a moment, too, as far as it is known."""
        after, known = at + timedelta(seconds=self._span * _AFTER), self._known()
        full = known.start + timedelta(seconds=self._span)
        self._until = min(max(after, full), known.end)

    def _show(self, player: Player) -> None:
        snapshot = player.latest()
        if self._until is not None and self._until < snapshot.at:
            self._until = None
        self._history.push(snapshot)
        self._apply(snapshot)

    def _look_for_news(self) -> None:
        """Take what is played, or new; a record that has been played to its end becomes now."""
        super()._look_for_news()
        if isinstance(self._feed, Player) and self._feed.playing and self._at_end():
            self.action_now()

    def _known(self) -> TimeRange:
        """Return the time of which something is known, and where in it the screen is."""
        now = self._snapshot.at
        first = self._history.first_at
        player = self._feed
        if not isinstance(player, Player):
            start = now if first is None else datetime.fromtimestamp(first, UTC)
            return TimeRange(min(start, now), now, now, live=True)
        times, at = player.recording.times, player.position
        live = player is not self._live
        return TimeRange(
            start=times[0],
            end=max(times[-1], self._live.latest().at) if live else times[-1],
            moment=now,
            playing=player.playing,
            speed=player.speed,
            step_s=min(12.0, (times[at] - times[at - 1]).total_seconds()) if at else 1.0,
        )

    def _draw_time_bar(self, view: PanelView) -> None:
        bar = self.screen_stack[0].query_one(TimeBar)
        seen = isinstance(self._feed, Player) or self._tab == "charts"
        if bar.has_class("-open") is not seen:
            bar.set_class(seen, "-open")
            self.call_after_refresh(self.redraw)
        if seen:
            bar.show(view, self._known())
