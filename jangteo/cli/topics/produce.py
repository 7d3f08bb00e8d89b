"""`jangteo topics produce`: publish lines of JSON, each checked by the contract first."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from shop import command, kafka
from shop.clock import utc_now
from shop.errors import ExitCode, JangteoError, UnreachableError, UsageError
from shop.events import CONTRACTS, KEY_FIELD, Rejection, decode
from shop.output import escape, say
from shop.settings import Settings, announce

ANSWER_S: Final = 30.0
"""A message that Kafka has not acknowledged by then counts as not sent."""
_TOO_LARGE: Final = 1_048_588  # Kafka's own limit of a batch


@dataclass(frozen=True)
class InputLine:
    """One message to publish.

    Attributes:
        number: number of its line, from 1.
        key: key of the message.
        payload: the line without its line break.
        fault: how it breaks the contract; empty if it does not.
    """

    number: int
    key: bytes | None
    payload: bytes
    fault: str


@dataclass(frozen=True)
class InputPlace:
    """Where Kafka stored the message of a line."""

    line: int
    partition: int
    offset: int


def configure(parser: command.Parser) -> None:
    """Add the action `produce`."""
    produce = parser.add_action(
        "produce", "publish lines of JSON, all of them or none, after checking each line",
        example="jangteo topics produce orders orders.ndjson",
    )  # fmt: skip
    add = produce.add_argument
    add("topic", metavar="TOPIC", help=f"topic to publish to: {', '.join(CONTRACTS)}")
    add("source", nargs="?", default="-", metavar="FILE", help="file to read (default: stdin)")
    add("--key", metavar="KEY", help="key of every message (default: the payload's id)")
    add("--anyway", action="store_true", help="publish invalid lines too, unchanged")
    add("--yes-production", action="store_true", help="allow it with DB_TYPE=production")
    add("--json", action="store_true", help="print one JSON object per line")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Check all lines, then publish all of them, or none if one is faulty."""
    topic: str = args.topic
    settings.refuse_in_production(
        "publish messages by hand", "--yes-production", allowed=args.yes_production
    )
    announce.servers_in_production(settings, "kafka")
    lines = list(checked(topic, read(args.source), args.key))
    for line in lines:
        if line.fault:
            sent = "; sent anyway" if args.anyway else ""
            say(f"line {line.number}: {escape(line.fault)}{sent}", to=sys.stderr)
    faulty = sum(bool(line.fault) for line in lines)
    if faulty and not args.anyway:
        raise JangteoError(
            f"{faulty} of {len(lines)} lines do not meet the contract of {topic}: nothing was "
            "sent; correct them, or add --anyway"
        )
    if not lines:
        raise UsageError("no line to publish: give one JSON object per line, in a file or on stdin")
    places = publish(settings, topic, lines)
    say(as_json(places) if args.json else format_places(topic, places))
    return ExitCode.OK


def read(source: str) -> Iterator[bytes]:
    """Yield the lines of a file, or of stdin for `-`.

    Raises:
        UsageError: if the file cannot be read.
    """
    try:
        with contextlib.ExitStack() as opened:
            stream: BinaryIO = (
                sys.stdin.buffer if source == "-" else opened.enter_context(Path(source).open("rb"))
            )
            yield from stream
    except OSError as e:
        raise UsageError(f"cannot read {source}: {e.strerror or e}") from None


def checked(topic: str, lines: Iterable[bytes], key: str | None) -> Iterator[InputLine]:
    """Yield the messages of lines, with what is wrong with each; blank lines are left out."""
    now = utc_now()
    for number, text in enumerate(lines, 1):
        payload = text.removesuffix(b"\n").removesuffix(b"\r")
        if not payload.strip():
            continue
        own = key.encode() if key is not None else key_in(topic, payload)
        fault = ""
        try:
            # Without a key of its own it is faulty in another way, which is what to say.
            decode(topic, b"" if own is None else own, payload, now=now)
        except Rejection as e:
            fault = str(e)
        yield InputLine(number, own, payload, fault)


def key_in(topic: str, payload: bytes) -> bytes | None:
    """Return the key that a payload's id gives, None if it has no usable id."""
    try:
        found = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
        value = msgspec.json.decode(found[KEY_FIELD[topic]])
    except (msgspec.DecodeError, RecursionError, KeyError):
        return None
    return str(value).encode() if isinstance(value, (int, str)) else None


def publish(settings: Settings, topic: str, lines: Sequence[InputLine]) -> list[InputPlace]:
    """Publish messages and wait until all are acknowledged; return where they are, by line.

    Raises:
        UnreachableError: if no broker answers in time; names how many were acknowledged.
        JangteoError: if there is no such topic, or Kafka refuses a message.
    """
    where = settings.kafka
    kafka.wait_until_up(where)
    places: list[InputPlace] = []
    failed: list[tuple[int, KafkaError]] = []
    try:
        if topic not in kafka.describe_topics(kafka.admin(where), [topic]):
            raise JangteoError(f"no topic {topic}: `jangteo topics create` creates it")
        options = {"message.timeout.ms": int(ANSWER_S * 1000), "message.max.bytes": _TOO_LARGE}
        producer = kafka.producer(where, "produce", **options)
        for line in lines:
            _produce(producer, topic, line, places, failed)
            if failed:
                break
        producer.flush()  # ends by itself: each message is given up in time
    except KafkaException as e:
        raise UnreachableError(f"{where.where}: {e.args[0].str()}") from None
    if failed:
        (number, error), count = failed[0], len(lines)
        kind = UnreachableError if error.code() == KafkaError._MSG_TIMED_OUT else JangteoError
        raise kind(
            f"{where.where}: line {number}: {error.str()}; {len(places)} of {count} messages were "
            + (f"acknowledged, the last of line {places[-1].line}" if places else "acknowledged")
        )
    return sorted(places, key=lambda place: place.line)


def _produce(
    producer: Producer,
    topic: str,
    line: InputLine,
    places: list[InputPlace],
    failed: list[tuple[int, KafkaError]],
) -> None:
    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append((line.number, error))
        else:
            places.append(
                InputPlace(line.number, int(message.partition() or 0), int(message.offset() or 0))
            )

    while not failed:
        try:
            producer.produce(topic, line.payload, line.key, on_delivery=delivered)
        except BufferError:
            producer.poll(0.1)
        except KafkaException as e:  # too large
            failed.append((line.number, e.args[0]))
        else:
            producer.poll(0)
            return


def format_places(topic: str, places: Iterable[InputPlace]) -> str:
    """Return what was acknowledged, a line for each partition.

    >>> print(format_places("orders", [InputPlace(1, 3, 7), InputPlace(2, 3, 8)]))
    orders[3]: 2 messages acknowledged, offsets 7 to 8
    """
    offsets: dict[int, list[int]] = defaultdict(list)
    for place in places:
        offsets[place.partition].append(place.offset)
    lines = []
    for partition, found in sorted(offsets.items()):
        count = "1 message" if len(found) == 1 else f"{len(found)} messages"
        span = f"offset {found[0]}" if len(found) == 1 else f"offsets {min(found)} to {max(found)}"
        lines.append(f"{topic}[{partition}]: {count} acknowledged, {span}")
    return "\n".join(lines)


def as_json(places: Iterable[InputPlace]) -> str:
    """Return what was acknowledged, an object for each line."""
    return "\n".join(msgspec.json.encode(place).decode() for place in places)
