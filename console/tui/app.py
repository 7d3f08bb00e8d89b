"""The console's application: applies snapshots to panels, and keys to what they mean.

Nothing here waits for a server: snapshots come ready from a feed, and actions run in threads.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Final

from textual.app import App, ComposeResult, SystemCommand
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.css.query import NoMatches
from textual.message import Message
from textual.screen import Screen
from textual.widgets import DataTable, Input, Static

from console import actions
from console.actions import Operator, Outcome, Result
from console.history import History
from console.model import Snapshot
from console.poller import Feed, Poller
from console.record import Switch
from console.replay import Player
from console.tui import frame, keys, output, people, screens, servers, theme
from console.tui.frame import Status
from console.tui.letters import Letters
from console.tui.look import Look
from console.tui.panel import Panel
from console.tui.view import View
from shop.clock import Clock, utc_now
from shop.errors import ExitCode, JangteoError

TICK_S: Final = 0.25
"""How often a new snapshot is looked for and the countdown moves."""
INTERVALS: Final = (0.5, 1.0, 2.0, 5.0, 10.0)


class SnapshotReady(Message):
    """There is a new snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__()
        self.snapshot = snapshot


class Acted(Message):
    """An action has ended."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result


class ConsoleApp(App[int]):
    """The console.

    Args:
        feed: where snapshots come from; started by the caller.
        operator: does the actions.
        switch: turns recording on and off.
        look: language and glyphs.
        colours: name of the theme.
        folder: where exports go.
        clock: UTC; what ages are measured against.
    """

    CSS_PATH = "console.tcss"
    TITLE = "Jangteo"
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-tiny"),
        (80, "-narrow"),
        (100, "-normal"),
        (160, "-wide"),
    ]
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (24, "-short"), (36, "-tall")]  # noqa: RUF012
    BINDINGS: ClassVar = [
        Binding(k.keys, k.action, k.en, id=k.id, show=False, priority=k.id == "quit.now")
        for k in keys.KEYS
    ]
    AUTO_FOCUS = ""

    def __init__(
        self,
        feed: Feed,
        operator: Operator,
        switch: Switch,
        *,
        look: Look,
        colours: str = "dark",
        folder: Path,
        clock: Clock = utc_now,
    ) -> None:
        super().__init__()
        self._feed = feed
        self._operator = operator
        self._switch = switch
        self._look = look
        self._colours = colours
        self._folder = folder
        self._clock = clock
        self._history = History()
        self._snapshot = feed.latest()
        self._frozen_at: float | None = None
        self._frozen_now: datetime | None = None
        self._ended = threading.Event()
        self._tab = keys.TABS[0][0]
        self._filter = ""
        self.crash_report: Path | None = None

    # ---- what there is ----

    def compose(self) -> ComposeResult:
        """Make the header, a container per tab, and the lines below."""
        yield Static("", id="header", markup=False)
        yield Static("", id="too-small", markup=False)
        with Vertical(id="main"):
            yield from self._overview()
            with Vertical(id="kafka", classes="tab"):
                yield Panel(servers.groups, "Groups", rule=True, id="group-lines")
                with VerticalScroll(classes="scroll"):
                    yield Panel(servers.every_partition, "Partitions", tall=True, id="offsets")
            with Vertical(id="cache", classes="tab"):
                yield Panel(servers.countdown, "Cache", id="cache-countdown")
                yield Panel(servers.redis, "Redis", rule=True, id="cache-redis")
                with VerticalScroll(classes="scroll"):
                    yield Panel(servers.refreshes, "Refreshes", tall=True, id="refresh-list")
            with Vertical(id="customers", classes="tab"):
                yield Panel(people.grades, "Grades", rule=True, id="all-grades")
                yield Panel(people.spenders, "Top spenders", rule=True, id="spender-list")
                yield Panel(people.upgrades, "Grade changes", rule=True, id="upgrade-list")
            with Vertical(id="events", classes="tab"), VerticalScroll(classes="scroll"):
                yield Panel(people.every_event, "Events", tall=True, id="all-events")
            with Vertical(id="processes", classes="tab"), VerticalScroll(classes="scroll"):
                yield Panel(people.every_process, "Processes", tall=True, id="all-processes")
            yield Letters(id="letters", classes="tab")
        yield Input(placeholder=self._look("filter"), id="filter", select_on_focus=False)
        yield Static("", id="tabs", markup=False)

    @staticmethod
    def _overview() -> ComposeResult:
        with Vertical(id="overview", classes="tab -active"):
            with Vertical(id="overview-a"):
                yield Panel(servers.flow, "Flow", id="flow")
                yield Panel(servers.partitions, "Partitions", rule=True, id="partitions")
            with Vertical(id="overview-b"):
                yield Panel(servers.countdown, "Cache", id="countdown")
                yield Panel(servers.redis, "Redis", id="redis")
                yield Panel(people.grades, "Grades", id="grades")
                yield Panel(servers.refreshes, "Refreshes", id="refreshes")
            with Vertical(id="overview-c"):
                yield Panel(people.processes, "Processes", rule=True, id="process-list")
                yield Panel(people.events, "Events", rule=True, id="events-tail")

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Return what themes that are not ours lack."""
        return {"dim": theme.DIM_OF_OTHERS}

    def on_mount(self) -> None:
        """Set colours and keys."""
        for each in theme.THEMES:
            self.register_theme(each)
        self.theme = self._theme_name(self._colours)
        self.set_keymap(keys.keymap())
        self.set_class(self._look.ascii, "-ascii")

    def on_ready(self) -> None:
        """Begin to tick, now that all widgets are there."""
        self.set_interval(TICK_S, self._tick)
        self._history.push(self._snapshot)
        self._apply(self._snapshot)

    def _theme_name(self, name: str) -> str:
        if name == theme.ANSI:
            name = "ansi-dark" if "ansi-dark" in self.available_themes else "textual-ansi"
        return name

    def on_unmount(self) -> None:
        """Let actions that wait go."""
        self._ended.set()

    # ---- what happens by itself ----

    def _tick(self) -> None:
        with contextlib.suppress(NoMatches, IndexError):  # the end: screens are being taken away
            self._look_for_news()

    def _look_for_news(self) -> None:
        snapshot = self._feed.latest()
        if snapshot.sequence != self._snapshot.sequence:
            self.post_message(SnapshotReady(snapshot))
        elif self._frozen_at is not None:
            self._draw_frame(self.view())
        else:
            self._draw_countdown()

    def on_snapshot_ready(self, message: SnapshotReady) -> None:
        """Take a snapshot; while the view is frozen, only the history grows."""
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

    def view(self) -> View:
        """Return what panels draw from; in a replay, and while frozen, time is the snapshot's."""
        frozen = self._frozen_now or isinstance(self._feed, Player)
        now = self._snapshot.at if frozen else max(self._clock(), self._snapshot.at)
        return View(
            self._snapshot,
            self._history,
            now,
            self._look,
            width=self.size.width,
            height=self.size.height,
            filter=self._filter,
        )

    def redraw(self) -> None:
        """Draw what is seen."""
        view = self.view()
        self._draw_frame(view)
        base = self.screen_stack[0]
        for panel in base.query(Panel):
            if panel.is_on_screen and panel.display:
                self._draw_panel(panel, view)
        if self._tab == "letters":
            base.query_one(Letters).show(view)

    def _draw_panel(self, panel: Panel, view: View) -> None:
        scroll = panel.parent
        follow = (
            panel.id == "all-events"
            and isinstance(scroll, VerticalScroll)
            and scroll.scroll_offset.y >= scroll.max_scroll_y - 1
        )
        panel.show(view)
        if follow and isinstance(scroll, VerticalScroll):
            scroll.scroll_end(animate=False)

    def _draw_countdown(self) -> None:
        view = self.view()
        for name in ("#countdown", "#cache-countdown"):
            panel = self.screen_stack[0].query_one(name, Panel)
            if panel.is_on_screen and self._tab in ("overview", "cache"):
                panel.show(view)

    def _draw_frame(self, view: View) -> None:
        base = self.screen_stack[0]
        player = self._feed if isinstance(self._feed, Player) else None
        status = Status(
            interval=getattr(self._feed, "interval", 1.0),
            recording=self._switch.path is not None,
            paused_s=None if self._frozen_at is None else time.monotonic() - self._frozen_at,
            read_only=bool(self._operator.refuse) and player is None,
            replay=(player.position + 1, len(player.recording), player.playing) if player else None,
        )
        self._set(base.query_one("#header", Static), frame.header(view, status))
        hint = "?Help :Cmd A q" if self.size.width < 100 else "? help   : commands   A act   q quit"
        self._set(base.query_one("#tabs", Static), frame.tabs(view, [*keys.TABS], self._tab, hint))
        self._set(base.query_one("#too-small", Static), frame.too_small(view))

    @staticmethod
    def _set(widget: Static, content: Any) -> None:
        shown = (content.plain, tuple(content.spans))
        if getattr(widget, "shown", None) != shown:
            widget.shown = shown  # type: ignore[attr-defined]
            widget.update(content, layout=False)

    def on_resize(self) -> None:
        """Draw for the new size, once the layout is known."""
        self.call_after_refresh(self.redraw)

    def on_app_blur(self) -> None:
        """Read half as often while nobody looks."""
        if isinstance(self._feed, Poller):
            self._feed.pace = 2.0

    def on_app_focus(self) -> None:
        """Read as often as usual."""
        if isinstance(self._feed, Poller):
            self._feed.pace = 1.0

    # ---- keys ----

    def action_tab(self, name: str) -> None:
        """Show a tab."""
        self._tab = name
        self.screen.minimize()
        for container in self.screen_stack[0].query(".tab"):
            container.set_class(container.id == name, "-active")
        self.set_focus(None)
        self.call_after_refresh(self.redraw)

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(screens.Help(self._look))

    def action_freeze(self) -> None:
        """Freeze the view, or let it go on with what was read meanwhile."""
        if self._frozen_at is None:
            self._frozen_at, self._frozen_now = time.monotonic(), self._snapshot.at
        else:
            self._frozen_at = self._frozen_now = None
            self._snapshot = self._feed.latest()
        self.redraw()

    def action_refresh_now(self) -> None:
        """Have everything read now."""
        self._feed.refresh()

    def action_interval(self, step: int) -> None:
        """Take another time between two snapshots."""
        if isinstance(self._feed, Poller):
            at = INTERVALS.index(self._feed.interval) if self._feed.interval in INTERVALS else 1
            self._feed.interval = INTERVALS[min(max(at + step, 0), len(INTERVALS) - 1)]
            self._draw_frame(self.view())

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
        """Begin the charts anew."""
        self._history.clear()
        self.redraw()

    def action_theme(self) -> None:
        """Take the next theme."""
        names = [*(t.name for t in theme.THEMES), self._theme_name(theme.ANSI)]
        at = names.index(self.theme) if self.theme in names else -1
        self.theme = names[(at + 1) % len(names)]
        self.notify(self.theme, timeout=2)

    def action_filter(self) -> None:
        """Ask for a filter of the events."""
        if self._tab != "events":
            self.action_tab("events")
        box = self.screen_stack[0].query_one("#filter", Input)
        box.add_class("-open")
        box.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter as it is typed."""
        if event.input.id == "filter":
            self._filter = event.value.strip()
            self.redraw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Leave the filter; an empty one goes."""
        if event.input.id == "filter":
            event.input.set_class(bool(event.value), "-open")
            self.set_focus(None)

    def on_key(self, event: Any) -> None:
        """Escape clears the filter and minimises."""
        if event.key == "escape" and len(self.screen_stack) == 1:
            box = self.query_one("#filter", Input)
            box.value = ""
            box.remove_class("-open")
            self.set_focus(None)

    def action_move(self, by: int) -> None:
        """Scroll the list of this tab."""
        if self._tab == "letters":
            table = self.query_one(DataTable)
            table.action_cursor_down() if by > 0 else table.action_cursor_up()
        for scroll in self._scrolls():
            scroll.scroll_relative(y=by, animate=False)

    def action_ends(self, to: int) -> None:
        """Scroll the list of this tab to one of its ends."""
        for scroll in self._scrolls():
            scroll.scroll_home(animate=False) if to < 0 else scroll.scroll_end(animate=False)

    def _scrolls(self) -> Iterable[VerticalScroll]:
        return self.screen_stack[0].query(f"#{self._tab} VerticalScroll").results(VerticalScroll)

    def action_copy(self) -> None:
        """Copy the panel that has the focus, or all of the tab."""
        panels = [p for p in self.screen_stack[0].query(Panel) if p.is_on_screen]
        if isinstance(self.focused, Panel):
            panels = [self.focused]
        text = "\n\n".join(p.text for p in panels)
        if self._driver is not None:
            self._driver.write(output.osc52(text, tmux=bool(os.environ.get("TMUX"))))
        which = ", ".join(str(p.border_title) for p in panels)
        self.notify(f"copied: {which} ({len(text)} characters)", timeout=3)

    def action_export(self) -> None:
        """Write what is seen and known into files."""
        try:
            written = output.export(self._folder, self.export_screenshot(), self._snapshot)
        except OSError as e:
            self.notify(f"cannot write: {e}", severity="error", markup=False)
        else:
            self.notify(f"written: {written}", timeout=5, markup=False)

    def action_record(self) -> None:
        """Begin to record, or end it."""
        if isinstance(self._feed, Player):
            self.notify("this is a recording", timeout=3)
            return
        try:
            if self._switch.path is None:
                self.notify(f"recording into {self._switch.on()}", timeout=5, markup=False)
            else:
                self._switch.off()
        except JangteoError as e:
            self.notify(str(e), severity="error", markup=False)
        self._draw_frame(self.view())

    def action_play(self) -> None:
        """Play or pause a recording."""
        self._replay(lambda p: p.toggle())

    def action_step(self, by: int) -> None:
        """Go to the next or former snapshot of a recording."""
        self._replay(lambda p: p.step(by))

    def action_jump(self, step: int) -> None:
        """Go to the next or former event of a recording."""
        self._replay(lambda p: p.jump(step))

    def _replay(self, move: Callable[[Player], object]) -> None:
        if isinstance(self._feed, Player):
            move(self._feed)
            self._history.push(self._feed.latest())
            self._apply(self._feed.latest())

    async def action_quit(self) -> None:
        """End."""
        self.exit(ExitCode.OK)

    # ---- actions on the shop ----

    def action_actions(self) -> None:
        """Show what can be done."""
        if self._operator.refuse:
            self.notify(self._operator.refuse, severity="warning", markup=False)
            return
        offers = screens.offers(self._snapshot)

        def chosen(number: int | None) -> None:
            if number is not None:
                self._complete(offers[number][1])

        title = self._look("Actions")
        self.push_screen(screens.Choose(title, [text for text, _ in offers]), chosen)

    def _complete(self, words: list[str]) -> None:
        """Ask for the argument that is missing, if one is."""
        if not words[-1].isupper():
            self._confirm(words)
            return

        def answered(answer: str | None) -> None:
            if answer:
                self._confirm([*words[:-1], answer])

        self.push_screen(screens.Ask(f"{' '.join(words[:-1])}: {words[-1]}?"), answered)

    def _confirm(self, words: list[str]) -> None:
        """Ask for a confirmation, if the action destroys something."""
        try:
            request = actions.parse(words)
        except JangteoError as e:
            self.notify(str(e), severity="error", markup=False)
            return
        wanted = screens.confirmation(request, self._snapshot)
        if wanted is None:
            self.act(request)
            return

        def answered(answer: str | None) -> None:
            if answer is not None:
                self.act(request)

        self.push_screen(
            screens.Ask(f"{request.words}: type {wanted!r} to do it", wanted=wanted), answered
        )

    def act(self, request: actions.Request) -> None:
        """Do an action, in a thread of its own."""

        def work() -> None:
            result = self._operator.perform(request, wait=actions.WAIT_S, stop=self._ended)
            if not self._ended.is_set():
                self.post_message(Acted(result))

        self.notify(f"{request.words}{self._look.glyphs.more}", timeout=2, markup=False)
        threading.Thread(target=work, name="action", daemon=True).start()

    def on_acted(self, message: Acted) -> None:
        """Say what an action came to."""
        result = message.result
        done = result.outcome == Outcome.DONE.value
        self.notify(
            f"{result.action}: {result.outcome}, {result.result}",
            severity="information" if done else "error",
            timeout=4 if done else 10,
            markup=False,
        )
        if not done and isinstance(self._feed, Poller):  # the journal may be out of reach
            text = f"{result.action}: {result.outcome}, {result.result}"
            self._feed.note("warning", "operator", text)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:  # noqa: ARG002
        """Return what the command palette offers: every key, and every action."""
        korean = self._look.lang == "ko"
        for key in keys.KEYS:
            if key.id in ("palette", "quit"):
                continue

            async def press(action: str = key.action) -> None:
                await self.run_action(action)

            yield SystemCommand(key.ko if korean else key.en, f"key {key.shown}", press)
        if self._operator.refuse:
            return
        for text, words in screens.offers(self._snapshot):
            what = actions.ACTIONS[words[0]].help["ko" if korean else "en"]
            yield SystemCommand(text, what, lambda words=words: self._complete(words))

    # ---- defects ----

    def _fatal_error(self) -> None:
        """End with a report in a file: Textual's own shows the values of local variables."""
        self._return_code = ExitCode.CRASH
        self.crash_report = output.report_crash()
        self._close_messages_no_wait()
