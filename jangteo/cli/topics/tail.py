"""`jangteo topics tail`: show the messages of a topic, without joining any consumer group."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable
from typing import Final

from confluent_kafka import KafkaException, Message

from jangteo.cli.topics.reader import Meets, ShownMessage, TopicReader
from shop import command
from shop.clock import utc_now
from shop.errors import ExitCode, UnreachableError, UsageError
from shop.messages import expression, message_lines, start_position
from shop.messages.start_position import StartPosition
from shop.output import say
from shop.settings import Settings

LAST: Final = 10
"""Number of messages that `--no-follow` shows without `--from`, the same as `tail`."""


def configure(parser: command.Parser) -> None:
    """Add the action `tail`."""
    tail = parser.add_action(
        "tail", "show a topic's messages: new ones, unless --from or --no-follow is given",
        example="jangteo topics tail orders --from -3 --no-follow --where 'amount > 10000'",
    )  # fmt: skip
    add = tail.add_argument
    add("topic", metavar="TOPIC", help="topic to read")
    add("--from", dest="begin", metavar="WHERE",
        help="start at WHERE: beginning, end, an offset, a time (UTC), 15m for 15 minutes ago, "
        f"or -N for the last N messages (default: end; with --no-follow: -{LAST})")  # fmt: skip
    add("--partition", type=command.count, metavar="P", help="show only this partition")
    add("--key", metavar="KEY", help="show only messages with this key")
    add("--where", metavar="EXPR",
        help="""show only matching messages: 'amount > 10000 and status == "PAID"'""")  # fmt: skip
    add("--limit", type=command.count, metavar="N", help="stop after N messages")
    add("--follow", action=argparse.BooleanOptionalAction, default=None,
        help="wait for new messages (the default), or stop at the topic's end")  # fmt: skip
    add("--json", action="store_true", help="print one JSON object per line")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Show messages until the limit, the end, or a signal."""
    topic: str = args.topic
    follow = args.follow is not False
    begin = args.begin or ("end" if follow else f"-{LAST}")
    start = _start(begin)
    meets = _meets(args.key, args.where)
    stop = command.stop_on_signals()
    shown = ShownMessage(_writer(as_json=args.json), meets, args.limit)
    try:
        with contextlib.closing(TopicReader(settings.kafka, topic, args.partition)) as reader:
            reader.show(start, shown, stop, follow=follow)
    except KafkaException as e:
        raise UnreachableError(f"{settings.kafka.where}: {e.args[0].str()}") from None
    if not shown.count and not stop.is_set() and args.limit != 0:
        say(f"{topic}: no such message", to=sys.stderr)
    return ExitCode.OK


def _start(text: str) -> StartPosition:
    try:
        return start_position.parse(text, utc_now())
    except UsageError as e:
        raise UsageError(f"--from {e}") from None


def _meets(key: str | None, where: str | None) -> Meets:
    """Return whether a message is wanted, as a function."""
    wanted = None if key is None else key.encode()
    try:
        condition = None if where is None else expression.parse(where)
    except UsageError as e:
        raise UsageError(f"--where: {e}") from None

    def meets(message: Message) -> bool:
        if wanted is not None and message.key() != wanted:
            return False
        return condition is None or condition(message_lines.fields(message))

    return meets


def _writer(*, as_json: bool) -> Callable[[list[Message]], None]:
    if as_json:
        return lambda batch: say("\n".join(map(message_lines.as_json, batch)))
    if not sys.stdout.isatty():
        return lambda batch: say("\n".join("\t".join(message_lines.cells(m)) for m in batch))
    from rich.console import Console  # noqa: PLC0415  (30 ms that only a terminal needs)
    from rich.text import Text  # noqa: PLC0415  (the same)

    console = Console(highlight=False)

    def write(batch: list[Message]) -> None:
        for message in batch:
            at, partition, offset, key, payload, *headers = message_lines.cells(message)
            line = Text.assemble(
                (at, "dim"), "  ", (f"{partition:>3} {offset:>9}", "cyan"), "  ",
                (f"{key:<16}", "bold"), "  ", payload, *((f"  {h}", "green") for h in headers),
            )  # fmt: skip
            console.print(line, soft_wrap=True)

    return write
