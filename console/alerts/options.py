"""The options of notifications, each with a variable of the environment."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from console.alerts.tracker import waits
from console.poller import Poller
from shop.errors import UsageError
from shop.settings import Settings
from shop.settings.notify import WAYS


@dataclass(frozen=True)
class AlertOptions:
    """How and when an operator is notified.

    Attributes:
        ways: of the terminal: bell, osc9.
        command: program and arguments.
        webhook: address.
        after: seconds by kind.
    """

    ways: tuple[str, ...]
    command: tuple[str, ...]
    webhook: str
    after: dict[str, float]

    @property
    def any(self) -> bool:
        """Whether anybody is to be notified."""
        return bool(self.ways or self.command or self.webhook)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    group = parser.add_argument_group(
        "notifications", "also with --watch; each has a variable, CONSOLE_NOTIFY and so on"
    )
    add = group.add_argument
    add("--notify", metavar="WAYS", help=f"notify through the terminal: {', '.join(WAYS)}")
    add("--notify-command", metavar="COMMAND", help="run COMMAND for each notification")
    add("--notify-webhook", metavar="URL", help="post each notification to URL as JSON")
    add(
        "--notify-on",
        metavar="KINDS",
        help="notify of these kinds only, such as server,lag:60 (default: all)",
    )
    add(
        "--notify-after",
        metavar="SECONDS",
        help="notify of what has held for SECONDS (default: 10)",
    )


def read(args: argparse.Namespace, settings: Settings) -> AlertOptions:
    """Read the options, and for those that are not given the environment.

    Raises:
        UsageError: names the variable that is wrong.
    """
    given = {
        "CONSOLE_NOTIFY": args.notify,
        "CONSOLE_NOTIFY_COMMAND": args.notify_command,
        "CONSOLE_NOTIFY_WEBHOOK": args.notify_webhook,
        "CONSOLE_NOTIFY_ON": args.notify_on,
        "CONSOLE_NOTIFY_AFTER": args.notify_after,
    }
    env = {**settings.env, **{k: v for k, v in given.items() if v is not None}}
    chosen = Settings(settings.data_dir, env, settings.source)
    try:
        command = tuple(shlex.split(chosen.notify_command))
    except ValueError as e:
        raise UsageError(f"CONSOLE_NOTIFY_COMMAND: {e}; quote it as in a shell") from None
    return AlertOptions(
        chosen.notify,
        command,
        chosen.notify_webhook,
        waits(chosen.notify_on, chosen.notify_after),
    )


def begin(
    source: Poller,
    args: argparse.Namespace,
    settings: Settings,
    terminal: Callable[[str], None] | None = None,
) -> Callable[[], None]:
    """Have an operator notified, if that is wanted; return what ends it.

    Args:
        source: whose snapshots are watched.
        args: the options.
        settings: the environment.
        terminal: writes codes to the terminal; by default standard error, where it is one.
    """
    chosen = read(args, settings)
    if not chosen.any:
        return lambda: None
    from console.alerts.notifier import Notifier  # noqa: PLC0415  (HTTP: 30 ms, for those who are notified)

    return Notifier(chosen, source, lang=args.lang, terminal=terminal).close
