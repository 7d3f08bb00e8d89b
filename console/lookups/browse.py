"""Browses a topic: its messages from a position on, or as they come, bounded in rows and time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from confluent_kafka import Message

from console.lookups.messages import MOST_SCANNED, MessageReader
from shop.errors import UsageError
from shop.messages import expression, message_lines, start_position
from shop.messages.start_position import StartPosition

MOST_SHOWN: Final = 200
"""Messages of a page; of those that come while it is open, the newest are kept."""
FIRST: Final = StartPosition("last", 100)
"""Where reading begins if nothing is asked for."""


@dataclass(frozen=True)
class MessageQuery:
    """The messages that are wanted.

    Attributes:
        topic: which topic.
        partition: only this partition; None: all of them.
        begin: the position as typed, see `shop.messages.start_position`; empty: the newest.
        key: only messages with this key; empty: any.
        where: only messages that meet this condition; empty: any.
        follow: whether to wait for new messages after that.
    """

    topic: str
    partition: int | None = None
    begin: str = ""
    key: str = ""
    where: str = ""
    follow: bool = False


@dataclass(frozen=True)
class MessagePage:
    """What was found so far.

    Attributes:
        messages: the newest first.
        scanned: number of messages that were looked at.
        bounds: partition -> the oldest offset, the offset after the newest.
        whole: whether everything from the position on was looked at.
    """

    messages: tuple[Message, ...]
    scanned: int
    bounds: dict[int, tuple[int, int]]
    whole: bool


def browse(
    reader: MessageReader, query: MessageQuery, now: datetime, stop: Callable[[], bool]
) -> Iterator[MessagePage]:
    """Yield the page of a query and, if it follows, the page again as messages come.

    A page takes `messages.READ_S` seconds and `messages.MOST_SCANNED` messages at the most.

    Args:
        reader: reads; of the caller, who closes it.
        query: what is wanted.
        now: UTC; what a time such as `15m` is measured from.
        stop: whether nobody waits for more.

    Raises:
        UsageError: if the position or the condition is not valid, or there is no such topic.
        KafkaException: if the cluster does not answer.
    """
    meets = _condition(query)
    filtered = bool(query.key or query.where)
    begin = start_position.parse(query.begin, now) if query.begin else None
    numbers = reader.partitions(query.topic)
    if query.partition is not None:
        numbers = [n for n in numbers if n == query.partition]
    if not numbers:
        raise UsageError(f"{query.topic}: no such topic or partition")
    bounds = {n: reader.bounds(query.topic, n) for n in numbers}
    if begin is None:
        begin = StartPosition("last", MOST_SCANNED) if filtered else FIRST
    starts = _starts(reader, query.topic, begin, bounds)
    newest = begin.kind == "last" or query.follow
    most = _most(begin, query, filtered=filtered)
    kept: list[Message] = []
    scanned, whole = 0, False
    for batch, at_end in reader.stream(query.topic, starts, stop):
        scanned += len(batch)
        kept = _kept(kept, filter(meets, batch), most, newest=newest)
        whole = at_end
        if scanned >= MOST_SCANNED or (not newest and len(kept) == most):
            break
    yield MessagePage(_in_order(kept), scanned, bounds, whole)
    if not query.follow:
        return
    for batch in reader.follow(stop):
        scanned += len(batch)
        if found := [m for m in batch if meets(m)]:
            kept = _kept(kept, found, most, newest=True)
            yield MessagePage(_in_order(kept), scanned, bounds, whole)


def _kept(
    before: list[Message], found: Iterable[Message], most: int, *, newest: bool
) -> list[Message]:
    """Return the newest messages, or the first ones."""
    both = [*before, *found]
    return heapq.nlargest(most, both, key=_age) if newest else both[:most]


def _condition(query: MessageQuery) -> Callable[[Message], bool]:
    condition = expression.parse(query.where) if query.where else None
    key = query.key.encode()

    def meets(message: Message) -> bool:
        if key and message.key() != key:
            return False
        return condition is None or condition(message_lines.fields(message))

    return meets


def _most(begin: StartPosition, query: MessageQuery, *, filtered: bool) -> int:
    """Return the number of messages that are kept: `-5` without a condition shows five."""
    if begin.kind == "last" and not filtered and not query.follow:
        return min(begin.value, MOST_SHOWN)
    return MOST_SHOWN


def _starts(
    reader: MessageReader, topic: str, begin: StartPosition, bounds: dict[int, tuple[int, int]]
) -> dict[int, int]:
    """Return the offset of each partition from which on there is something to read."""
    if begin.kind == "time":
        at = reader.at_time(topic, begin.value, [*bounds])
        return {n: at.get(n, high) for n, (_, high) in bounds.items()}
    # The newest of the topic may all be in one partition; together they stay within the bound.
    last = min(begin.value, max(1, MOST_SCANNED // len(bounds)))

    def offset(low: int, high: int) -> int:
        if begin.kind == "offset":
            return min(max(begin.value, low), high)
        return {"beginning": low, "end": high, "last": max(low, high - last)}[begin.kind]

    return {n: offset(low, high) for n, (low, high) in bounds.items()}


def _in_order(messages: list[Message]) -> tuple[Message, ...]:
    """Return messages, the newest first; those of one partition by offset."""
    return tuple(sorted(messages, key=_age, reverse=True))


def _age(message: Message) -> tuple[int, int]:
    return message.timestamp()[1], message.offset() or 0
