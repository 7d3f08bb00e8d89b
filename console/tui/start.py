"""Start the application, and end with its exit code."""

from __future__ import annotations

import argparse
import gc
import os
import select
import signal
import threading
import time
from types import FrameType
from typing import Final

from console import translations as msg
from console.actions.operations import Operator
from console.alerts import options as alerts
from console.poller import Feed, Poller
from console.recording.keeper import HistoryKeeper
from console.recording.player import Player, series_of
from console.recording.toggle import RecordingToggle
from console.translations import Text
from console.tui import output
from console.tui.app import ConsoleApp
from console.tui.appearance import DisplayOptions
from shop import settings as shop_settings
from shop.errors import ExitCode, JangteoError
from shop.settings import Settings

EXPORTS: Final = "exports"
"""Folder of the data directory."""
GUARD_S: Final = 2.0
"""How often it is looked whether the terminal is still there."""
HANGUP: Final = 129
"""Exit code when it is not: 128 + SIGHUP."""


def run(feed: Feed, args: argparse.Namespace, settings: Settings, toggle: RecordingToggle) -> int:
    """Show the feed until the user quits or a signal ends it."""
    refuse: Text = msg.READ_ONLY() if args.read_only else ""
    if isinstance(feed, Player):
        refuse = msg.A_RECORDING()

    def where() -> Settings:
        try:
            return shop_settings.load(data_dir=args.data_dir)
        except JangteoError:
            return settings

    keeper = HistoryKeeper(settings.data_dir)
    if isinstance(feed, Poller):
        feed.listen(keeper.write)

    def past() -> None:
        """Read what charts show of the time before, while the first picture is there already."""
        if isinstance(feed, Player):
            app.call_from_thread(app.replace_history, series_of(args.replay))
        else:
            app.call_from_thread(app.add_past, keeper.load())

    def shown() -> None:
        gc.freeze()  # what was made until now stays: it need not be looked through ever again
        gc.enable()
        feed.start()
        threading.Thread(target=past, name="history", daemon=True).start()

    app = ConsoleApp(
        feed,
        Operator(where, refuse=refuse),
        toggle,
        options=DisplayOptions(args.lang, args.ascii),
        colours=args.theme or "dark",
        folder=None if args.served else settings.data_dir / EXPORTS,
        record=keeper.screens,
        shown=shown,
    )

    def leave(signum: int, _frame: FrameType | None) -> None:
        code = HANGUP if signum == signal.SIGHUP else ExitCode.OK
        app.call_later(app.exit, code, return_code=code)

    def ring(codes: str) -> None:
        app.call_later(app.write_codes, codes)

    # A recording notifies nobody, and a browser has no terminal that rings.
    end_alerts = None
    if isinstance(feed, Poller) and not args.served:
        end_alerts = alerts.begin(feed, args, settings, ring)
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, leave)
    threading.Thread(target=_guard, args=(toggle,), name="guard", daemon=True).start()
    try:
        code = app.run()
    finally:
        feed.stop()
        if end_alerts:
            end_alerts()
        toggle.stop()
    if app.return_code == ExitCode.CRASH:
        return output.defect(app.crash_report)
    return int(code or app.return_code or 0)


def _guard(toggle: RecordingToggle) -> None:
    """End the process when its terminal is gone, as where hangups are ignored (nohup).

    Textual's input thread would read the terminal's end for ever, at full speed, while its main
    thread waits for ever for a writer that died: nothing but leaving at once helps. In a browser
    there is a pipe instead of a terminal, and the server at its other end may die as well.
    """
    gone = _pipe_is_closed if "TEXTUAL_DRIVER" in os.environ else _no_terminal
    while not gone():
        time.sleep(GUARD_S)
    toggle.stop()
    os._exit(HANGUP)


def _no_terminal() -> bool:
    return not os.isatty(0)


def _pipe_is_closed() -> bool:
    """Return whether the writer of our standard input is gone; takes nothing from it."""
    watched = select.poll()
    watched.register(0, 0)  # a hang-up is reported without being asked for
    return any(what & (select.POLLHUP | select.POLLERR) for _, what in watched.poll(0))
