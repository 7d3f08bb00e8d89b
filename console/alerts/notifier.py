"""The notifications of a running console: a listener of the poller."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Final

from console import translations as msg
from console.alerts.options import AlertOptions
from console.alerts.sending import AlertSender
from console.alerts.tracker import Alert, AlertState, AlertTracker
from console.poller import Poller
from console.snapshot.model import Snapshot
from console.text import printable
from console.translations import Lang, render

_LONGEST: Final = 200
"""Characters of a notification of a terminal."""


def codes(alert: Alert, ways: tuple[str, ...], lang: Lang, *, tmux: bool) -> str:
    r"""Return what makes a terminal ring, and show a desktop notification (OSC 9).

    The text begins with a word of the console, so that it is never one of the numbered commands
    that some terminals read in OSC 9.
    """
    text = printable(render(alert.shown, lang), _LONGEST)
    osc = f"\x1b]9;Jangteo {alert.state.value}: {text}\a"
    if tmux:
        osc = f"\x1bPtmux;\x1b{osc}\x1b\\"
    return (osc if "osc9" in ways else "") + ("\a" if "bell" in ways else "")


class Notifier:
    """Notifies of what the snapshots of a poller show; nothing in it waits.

    Args:
        options: how and when.
        source: whose snapshots are watched; its log shows each notification and each failure.
        lang: of the terminal's notifications.
        terminal: writes codes to the terminal.
        monotonic: seconds of a clock that never steps.
    """

    def __init__(
        self,
        options: AlertOptions,
        source: Poller,
        *,
        lang: Lang = "en",
        terminal: Callable[[str], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._source = source
        self._lang: Lang = lang
        self.terminal = terminal or to_stderr
        self._monotonic = monotonic
        self._tracker = AlertTracker(options.after)
        self._sender = AlertSender(options.command, options.webhook, self._failed)
        if options.any:
            source.listen(self.take)

    def take(self, snapshot: Snapshot) -> None:
        """Take a snapshot."""
        for alert in self._tracker.update(snapshot, self._monotonic()):
            self._sender.send(alert)
            if self._options.ways:
                tmux = bool(os.environ.get("TMUX"))
                self.terminal(codes(alert, self._options.ways, self._lang, tmux=tmux))
            level = alert.level if alert.state is AlertState.FIRING else "info"
            self._source.note(level, "alert", alert.shown)

    def close(self) -> None:
        """Deliver what waits, for two seconds at most."""
        self._sender.close()

    def _failed(self, way: str, why: str) -> None:
        self._source.note("warning", "alert", msg.NOT_DELIVERED(way=way, error=why))


def to_stderr(text: str) -> None:
    """Write codes where people see them, if a terminal is there: standard output is data."""
    if sys.stderr.isatty():
        sys.stderr.write(text)
        sys.stderr.flush()
