"""Watch and steer the shop: in a terminal, in a browser, or as plain lines and JSON for programs.

Without a terminal, or with TERM=dumb, the console prints one plain line every second.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from console import plain, poller
from console.alerts import options as alerts
from console.poller import Feed, Poller
from console.recording.keeper import HistoryKeeper
from console.recording.player import Player
from console.recording.toggle import RecordingToggle
from console.snapshot.model import Snapshot, encode_in_english, only_new
from console.sources import LONGEST_DEADLINE_S, CurrentSettings
from console.text import to_ascii
from console.translations import Lang
from shop import command
from shop.errors import ExitCode, JangteoError, UsageError
from shop.output import say
from shop.settings import Settings

ONCE_TIMEOUT_S: Final = 10.0
FIRST_LINE_S: Final = 2.0
"""Time that the first line of --watch waits for values."""
RECORDINGS: Final = "recordings"
"""Folder of the data directory."""
THEMES: Final = ("dark", "light", "colour-blind", "ansi")
"""Made in console/tui/theme.py."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `jangteo console`."""
    how = parser.add_argument_group("ways to show the shop").add_mutually_exclusive_group()
    how.add_argument(
        "--once",
        action="store_true",
        help="print one page and exit; the exit code gives the state of the shop",
    )
    how.add_argument("--watch", action="store_true", help="print a line every second until stopped")
    how.add_argument(
        "--plain", action="store_true", help="like --watch, with the cache monitor's line"
    )
    how.add_argument(
        "--serve", action="store_true", help="serve a read-only console to browsers on this machine"
    )
    add = parser.add_argument
    add("--json", action="store_true", help="print JSON lines (with --once, --watch or --replay)")
    add(
        "--timeout",
        type=command.positive,
        default=ONCE_TIMEOUT_S,
        metavar="SECONDS",
        help="give up after SECONDS (with --once; default: %(default)g)",
    )
    add("--port", type=command.port, default=0, metavar="PORT",
        help="serve on PORT (with --serve; default: a free one)")  # fmt: skip
    add("--read-only", action="store_true", help="show the shop, but refuse all actions")
    add("--record", type=Path, metavar="FILE", help="record what is shown to FILE")
    add("--replay", type=Path, metavar="FILE", help="replay the recording in FILE")
    add(
        "--compare",
        nargs=2,
        metavar="TIME",
        help="compare the figures at two times (with --replay; HH:MM:SS in Seoul, or RFC 3339)",
    )
    add(
        "--lang",
        choices=("en", "ko"),
        help="show the console in this language (default: the locale's)",
    )
    add("--theme", choices=THEMES, help="draw with this colour theme (default: dark)")
    add(
        "--ascii",
        action="store_true",
        help="use ASCII characters only: English labels, Korean names in Latin letters",
    )
    alerts.configure(parser)
    add("--served", action="store_true", help=argparse.SUPPRESS)  # what --serve starts
    add("--slow", type=command.positive, default=0.0, help=argparse.SUPPRESS)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Show the shop in the way that the options name."""
    try:
        return _show(args, settings)
    except (JangteoError, OSError, MemoryError):
        raise
    except Exception:  # exit code 1 says that the shop is degraded, not this program
        from console.tui import output  # noqa: PLC0415  (for a defect alone)

        return output.defect(output.report_crash())


def _show(args: argparse.Namespace, settings: Settings) -> int:
    settings.require("console")
    args.lang = "en" if args.ascii else args.lang or settings.lang
    args.read_only = args.read_only or args.served
    _check(args)
    if args.serve:
        from console.web import serve  # noqa: PLC0415  (needs the extra `serve`)

        return serve.run(args, settings)
    if args.replay:
        return _replay(args, settings)
    _require_servers(settings)
    patience = args.timeout if args.once else LONGEST_DEADLINE_S
    source = poller.make(
        CurrentSettings(settings, args.data_dir), slow=args.slow, patience=patience,
        commits=args.json,
    )  # fmt: skip
    if args.once:
        return once(source, args)
    if args.watch or args.plain or args.json or not interactive():
        return watch(source, args, settings)
    return _tui(source, args, settings, _toggle(source, args, settings))


def _toggle(source: Poller, args: argparse.Namespace, settings: Settings) -> RecordingToggle:
    toggle = RecordingToggle(settings.data_dir / RECORDINGS)
    source.listen(toggle.write)
    if args.record:
        toggle.start(args.record)
    return toggle


def interactive() -> bool:
    """Return whether there is a terminal that can be drawn on."""
    if "TEXTUAL_DRIVER" in os.environ:  # textual-serve: the terminal is a browser
        return True
    return os.isatty(0) and os.isatty(1) and os.environ.get("TERM", "dumb") not in ("", "dumb")


def once(source: Poller, args: argparse.Namespace) -> int:
    """Print the shop's state once; return the exit code that gives it."""
    source.start()
    try:
        snapshot = source.wait_until_read(args.timeout)
    finally:
        source.stop()
    page = plain.page(snapshot, args.lang)
    say(_json(snapshot, args) if args.json else _fit(page, ascii_only=args.ascii))
    return plain.exit_code(snapshot)


def watch(source: Poller, args: argparse.Namespace, settings: Settings) -> int:
    """Print a line a second until stopped."""
    stop = command.stop_on_signals()
    signal.signal(signal.SIGHUP, lambda *_: stop.set())
    lang: Lang = args.lang
    show = (
        _json_lines(args)
        if args.json
        else _plain_lines(lang, monitor=not args.watch, ascii_only=args.ascii)
    )
    failed: list[OSError] = []

    def listener(snapshot: Snapshot) -> None:
        try:
            show(snapshot)
        except OSError as e:  # nobody reads, or the disk is full
            if not stop.is_set():
                failed.append(e)
            stop.set()

    toggle = _toggle(source, args, settings)
    keeper = HistoryKeeper(settings.data_dir)
    source.listen(keeper.write)
    end_alerts = alerts.begin(source, args, settings)
    source.start()
    source.wait_until_read(FIRST_LINE_S)
    source.listen(listener)
    stop.wait()
    source.stop()
    keeper.close()
    end_alerts()
    toggle.stop()
    if failed:
        raise failed[0]
    return ExitCode.OK


def _json(snapshot: Snapshot, args: argparse.Namespace) -> str:
    """Return a snapshot as JSON, whose other characters are escaped where all is to be ASCII."""
    line = encode_in_english(snapshot).decode()
    return line if not args.ascii or line.isascii() else json.dumps(json.loads(line))


def _json_lines(args: argparse.Namespace) -> Callable[[Snapshot], None]:
    seen = 0

    def show(snapshot: Snapshot) -> None:
        nonlocal seen
        say(_json(only_new(snapshot, seen), args))
        seen = snapshot.events[-1].n if snapshot.events else seen

    return show


def _fit(text: str, *, ascii_only: bool) -> str:
    return to_ascii(text) if ascii_only else text


def _plain_lines(
    lang: Lang, *, monitor: bool, ascii_only: bool = False
) -> Callable[[Snapshot], None]:
    seen = -1
    last = ""

    def show(snapshot: Snapshot) -> None:
        nonlocal seen, last
        newest = snapshot.events[-1].n if snapshot.events else 0
        for event in snapshot.events if seen >= 0 else ():
            if event.n > seen and event.kind.value != "log":
                say(_fit(plain.event_line(event), ascii_only=ascii_only))
        seen = newest
        if monitor:
            say(_fit(plain.monitor_line(snapshot, lang), ascii_only=ascii_only))
        text = plain.line(snapshot)
        if text != last:
            say(_fit(text, ascii_only=ascii_only))
        last = text

    return show


def _check(args: argparse.Namespace) -> None:
    if args.compare and not args.replay:
        raise UsageError("--compare needs --replay FILE")
    if args.replay and (args.record or args.once or args.plain or args.watch or args.serve):
        raise UsageError("--replay allows --json, --compare, --lang, --theme, --ascii only")
    if args.served and args.record:
        raise UsageError("a console in a browser writes no files")
    notified = any(v is not None for k, v in vars(args).items() if k.startswith("notify"))
    if notified and (args.once or args.replay or args.serve):
        raise UsageError("--notify needs a console that keeps watching: leave out the other option")
    if args.port and not args.serve:
        raise UsageError("--port needs --serve")


def _require_servers(settings: Settings) -> None:
    """Fail with one line on what is missing, instead of showing three dead panels.

    Raises:
        UsageError: if no server is known at all.
    """
    _ = settings.redis_url, settings.postgres, settings.kafka


def _replay(args: argparse.Namespace, settings: Settings) -> int:
    from console.recording.recording import Recording, moment  # noqa: PLC0415  (SQLite: 1 MB, for those who replay)

    found = Recording(args.replay)
    if args.compare:
        first, second = (found.find(moment(text, found)) for text in args.compare)
        say(
            plain.comparison(
                found.snapshot(first),
                found.snapshot(second),
                shutil.get_terminal_size().columns,
                ascii_only=args.ascii,
            )
        )
        return ExitCode.OK
    if args.json or not interactive():
        show = (
            _json_lines(args)
            if args.json
            else _plain_lines(args.lang, monitor=False, ascii_only=args.ascii)
        )
        for snapshot in found:
            show(snapshot)
        return ExitCode.OK
    return _tui(Player(found), args, settings, RecordingToggle(settings.data_dir / RECORDINGS))


def _tui(
    source: Feed, args: argparse.Namespace, settings: Settings, toggle: RecordingToggle
) -> int:
    gc.disable()  # until the first picture: nothing of what is imported for it becomes garbage
    from console.tui import start  # noqa: PLC0415  (0.2 s that the plain ways do not need)

    return start.run(source, args, settings, toggle)


if __name__ == "__main__":
    sys.exit(command.main(configure, run, prog="python -m console", description=__doc__))
