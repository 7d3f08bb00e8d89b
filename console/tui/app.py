"""The console's application: what the keys do to what is shown, and to the shop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

from textual.app import SystemCommand
from textual.binding import Binding
from textual.command import CommandPalette
from textual.screen import Screen
from textual.widgets import Input

from console import translations as msg
from console.actions.operations import Operator, text_of
from console.event_list import LEVELS
from console.poller import Feed, Poller
from console.recording.player import Player
from console.recording.toggle import RecordingToggle
from console.text import to_ascii
from console.tui import keys, layout, output, screens, theme
from console.tui.action_dialogs import ActionDialogs, ActionEnded, LookupEnded
from console.tui.appearance import DisplayOptions
from console.tui.objects.detail_screen import RowActions
from console.tui.objects.object_list import ObjectList
from console.tui.panel import Panel
from console.tui.timeline.time_app import TimeApp
from shop.clock import Clock, utc_now
from shop.errors import ExitCode, JangteoError

WRITING: Final = ("export", "record", "actions")
"""Actions of keys that write files, or change something of the shop."""
INTERVALS: Final = (0.5, 1.0, 2.0, 5.0, 10.0)


class ConsoleApp(TimeApp):
    """The console.

    Args:
        feed: where snapshots come from; started by the caller.
        operator: does the actions.
        toggle: starts and stops recording.
        options: language and glyphs.
        colours: name of the theme.
        folder: where exports go; None: nothing that writes is offered, as in a browser.
        record: the recording of the running shop, into which one goes back; None: there is none.
        shown: called once the first picture is there.
        clock: UTC; what ages are measured against.
    """

    BINDINGS: ClassVar = [
        Binding(k.keys, k.action, k.en, id=k.id, show=False, priority=k.id == "quit.now")
        for k in keys.KEYS
    ]

    def __init__(
        self,
        feed: Feed,
        operator: Operator,
        toggle: RecordingToggle,
        *,
        options: DisplayOptions,
        colours: str = "dark",
        folder: Path | None,
        record: Path | None = None,
        shown: Callable[[], None] = lambda: None,
        clock: Clock = utc_now,
    ) -> None:
        super().__init__(
            feed, operator, toggle, options=options, colours=colours, shown=shown, clock=clock
        )
        self._folder = folder
        self._record = record
        self._dialogs = ActionDialogs(self, operator, options, lambda: self._snapshot)
        self.crash_report: Path | None = None

    def on_mount(self) -> None:
        """Set the user's own keys."""
        self.set_keymap(keys.keymap())

    def on_unmount(self) -> None:
        """Stop waiting for the effects of actions."""
        self._dialogs.end()

    # ---- keys ----

    async def action_tab(self, name: str) -> None:
        """Show a tab."""
        self._tab = name
        self.screen.minimize()
        base = self.screen_stack[0]
        if not base.query(f"#{name}.tab"):
            await base.query_one("#main").mount(layout.tab(name))
        for container in base.query(".tab"):
            container.set_class(container.id == name, "-active")
        self.set_focus(next(iter(self.lists()), None))
        self.call_after_refresh(self.redraw)

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(screens.Help(self._options, self._tab, *self._row_under_cursor()))

    def action_freeze(self) -> None:
        """Freeze the view, or continue with what was read meanwhile."""
        if isinstance(self._feed, Player):
            self.action_play()
            return
        if self._frozen_at is None:
            self._frozen_at, self._frozen_now = time.monotonic(), self._snapshot.at
        else:
            self._frozen_at = self._frozen_now = None
            self._snapshot = self._feed.latest()
        self.set_pace()
        self.redraw()

    def action_refresh_now(self) -> None:
        """Have everything read now."""
        self._live.refresh()

    def action_interval(self, step: int) -> None:
        """Take another time between two snapshots."""
        if isinstance(self._live, Poller):
            at = INTERVALS.index(self._live.interval) if self._live.interval in INTERVALS else 1
            self._live.interval = INTERVALS[min(max(at + step, 0), len(INTERVALS) - 1)]
            self._draw_header_and_footer(self.view())

    def action_zoom(self) -> None:
        """Show one panel alone, or all again."""
        if self.screen.maximized is not None:
            self.screen.minimize()
        else:
            panel = self.focused if isinstance(self.focused, Panel) else self._first_panel()
            if panel is not None:
                self.screen.maximize(panel)
        self.call_after_refresh(self.redraw)

    def _first_panel(self) -> Panel | None:
        found = [p for p in self.screen_stack[0].query(Panel) if p.is_on_screen]
        return max(found, key=lambda p: p.size.area, default=None)

    def action_reset_view(self) -> None:
        """Clear the charts."""
        self._history.clear()
        self.redraw()

    def action_theme(self) -> None:
        """Take the next theme."""
        names = [*(t.name for t in theme.THEMES), self._theme_name(theme.ANSI)]
        at = names.index(self.theme) if self.theme in names else -1
        self.theme = names[(at + 1) % len(names)]
        self.notify(self._options(self.theme), timeout=2)

    async def action_filter(self) -> None:
        """Ask for a filter of the events."""
        if self._tab == "overview":
            await self.action_tab("events")
        box = self.screen_stack[0].query_one("#filter", Input)
        box.add_class("-open")
        box.focus()

    async def action_level(self) -> None:
        """Show events of the next level and above."""
        at = LEVELS.index(self._filter.level)
        self._filter = replace(self._filter, level=LEVELS[(at + 1) % len(LEVELS)])
        await self._filtered(self._options(f"level: {self._filter.level}"))

    async def action_changes(self) -> None:
        """Show changes and actions only, or everything again."""
        self._filter = replace(self._filter, changes=not self._filter.changes)
        which = "changes and actions only" if self._filter.changes else "all events"
        await self._filtered(self._options(which))

    async def _filtered(self, said: str) -> None:
        if self._tab != "events":
            await self.action_tab("events")
        self.redraw()
        self.notify(said, timeout=2, markup=False)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter as it is typed."""
        if event.input.id == "filter":
            self._filter = replace(self._filter, text=event.value.strip())
            self.redraw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Leave the filter; an empty one goes."""
        if event.input.id == "filter":
            event.input.set_class(bool(event.value), "-open")
            self.set_focus(next(iter(self.lists()), None))

    def on_key(self, event: Any) -> None:
        """Escape clears the filter and minimises."""
        if event.key == "escape" and len(self.screen_stack) == 1:
            box = self.query_one("#filter", Input)
            box.value = ""
            box.remove_class("-open")
            self.set_focus(next(iter(self.lists()), None))

    def action_move(self, by: int) -> None:
        """Scroll the list of this tab."""
        if (table := self._list()) is not None:
            table.action_cursor_down() if by > 0 else table.action_cursor_up()

    def action_ends(self, to: int) -> None:
        """Scroll the list of this tab to one of its ends."""
        if (table := self._list()) is not None:
            table.move_cursor(row=0 if to < 0 else table.row_count - 1)

    def action_sort(self) -> None:
        """Sort by the next column."""
        if (table := self._list()) is not None:
            table.next_column()

    def action_reverse(self) -> None:
        """Sort the other way round."""
        if (table := self._list()) is not None and table.sorted_by is not None:
            table.sort_by(table.sorted_by)

    # ---- what is opened ----

    def action_act_on_row(self) -> None:
        """Offer what can be done with the row under the cursor."""
        table = self._list()
        if table is not None and (ref := table.under_cursor()) is not None:
            self._dialogs.offer(ref)

    def on_row_actions(self, message: RowActions) -> None:
        """Offer what can be done with what is open."""
        self._dialogs.offer(message.ref)

    def action_copy(self) -> None:
        """Copy the panel that has the focus, or all of the tab."""
        shown = [p for p in self.screen_stack[0].query(Panel) if p.is_on_screen]
        panels: list[Panel | ObjectList] = [*shown, *self.lists()]
        if isinstance(self.focused, Panel):
            panels = [self.focused]
        text = "\n\n".join(p.text for p in panels)
        text = to_ascii(text) if self._options.ascii else text
        self.write_codes(output.osc52(text, tmux=bool(os.environ.get("TMUX"))))
        which = ", ".join(str(p.border_title) for p in panels if p.border_title)
        size = f"{len(text)} {self._options('characters')}"
        self.notify(f"{self._options('copied')}: {which} ({size})", timeout=3)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Refuse what writes where nothing may be written."""
        if self._folder is None and action in WRITING:
            return False
        return super().check_action(action, parameters)

    def action_export(self) -> None:
        """Write what is seen and known into files."""
        if self._folder is None:
            return
        try:
            written = output.export(self._folder, self.export_screenshot(), self._snapshot)
        except OSError as e:
            self.notify(f"{self._options('cannot write')}: {e}", severity="error", markup=False)
        else:
            self.notify(f"{self._options('written')}: {written}", timeout=5, markup=False)

    def action_record(self) -> None:
        """Begin to record, or end it."""
        if isinstance(self._live, Player):
            self.notify(self._options.render(msg.A_RECORDING()), timeout=3)
            return
        try:
            if self._toggle.path is None:
                path = self._toggle.start()
                self.notify(f"{self._options('recording into')} {path}", timeout=5, markup=False)
            else:
                self._toggle.stop()
        except JangteoError as e:
            self.notify(self._options.render(text_of(e)), severity="error", markup=False)
        self._draw_header_and_footer(self.view())

    async def action_quit(self) -> None:
        """End."""
        self.exit(ExitCode.OK)

    def notify(self, message: str, **how: Any) -> None:
        """Show a notification, in ASCII where all is."""
        super().notify(to_ascii(message) if self._options.ascii else message, **how)

    # ---- actions on the shop ----

    def action_actions(self) -> None:
        """Show what can be done."""
        self._dialogs.offer()

    def on_lookup_ended(self, message: LookupEnded) -> None:
        """Continue with what was asked for."""
        message.then()

    def on_action_ended(self, message: ActionEnded) -> None:
        """Show the result of an action."""
        text = self._dialogs.report(message.result)
        # The journal may be out of reach.
        if not message.result.done and isinstance(self._live, Poller):
            self._live.note("warning", "operator", text)

    def action_command_palette(self) -> None:
        """Find a command."""
        if not isinstance(self.screen, CommandPalette):
            words = self._options("Search for commands") + self._options.glyphs.more
            self.push_screen(CommandPalette(placeholder=words, id="--command-palette"))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:  # noqa: ARG002  (the signature is Textual's)
        """Return what the command palette offers: every key, and every action."""
        korean = self._options.lang == "ko"
        for key in keys.KEYS:
            if key.id in ("palette", "quit") or not self.check_action(key.action, ()):
                continue

            async def press(action: str = key.action) -> None:
                await self.run_action(action)

            yield SystemCommand(
                key.ko if korean else key.en, f"{self._options('key')} {key.shown}", press
            )
        for text, what, act in self._dialogs.commands() if self._folder is not None else ():
            yield SystemCommand(text, what, act)

    # ---- defects ----

    def _fatal_error(self) -> None:
        """End with a report in a file: Textual's own shows the values of local variables."""
        self._return_code = ExitCode.CRASH
        self.crash_report = output.report_crash()
        self._close_messages_no_wait()
