"""Messages of a topic, from Kafka: by place, by time, the newest; nothing joins or commits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, cast

import msgspec
from confluent_kafka import Consumer, Message, TopicPartition

from console.lookups.details import DetailRow, Ref, as_text, heading, in_hex, named, place
from console.text import printable
from console.translations import word
from shop import kafka
from shop.clock import KST
from shop.events import ID_FIELD
from shop.messages.fault_location import Fault
from shop.settings import Settings

READ_S: Final = 5.0
"""Longest time of one reading."""
MOST_SCANNED: Final = 20_000
"""Messages that one search looks at."""
AROUND: Final = 500
"""Messages before the place of an id that are looked at: producers publish next to one another."""
_ANSWER_S: Final = 3.0


class SearchResult(NamedTuple):
    """The messages that were found, the number looked at, and whether the end was reached."""

    messages: list[Message]
    scanned: int
    whole: bool


class MessageReader:
    """Reads messages of a cluster by assignment.

    Args:
        settings: where Kafka is.
        monotonic: seconds of a clock that never steps.
    """

    def __init__(self, settings: Settings, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._consumer = Consumer(
            {
                **kafka.client_config(settings.kafka, "console-lookup"),
                "group.id": "jangteo-console",  # required by the client; nothing joins or commits
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": 4 << 10,
            }
        )

    def close(self) -> None:
        """Let go of the cluster."""
        self._consumer.close()

    def topics(self) -> dict[str, int]:
        """Return the topics of the cluster, each with its number of partitions; no internal ones.

        Raises:
            KafkaException: if the cluster does not answer.
        """
        found = self._consumer.list_topics(timeout=_ANSWER_S).topics
        return {n: len(t.partitions) for n, t in sorted(found.items()) if not n.startswith("__")}

    def partitions(self, topic: str) -> list[int]:
        """Return the numbers of a topic's partitions.

        Raises:
            KafkaException: if the cluster does not answer.
        """
        found = self._consumer.list_topics(topic, timeout=_ANSWER_S).topics[topic]
        return sorted(found.partitions) if found.error is None else []

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the oldest offset of a partition and the one after its newest.

        Raises:
            KafkaException: if the cluster does not answer.
        """
        asked = TopicPartition(topic, partition)
        low, high = self._consumer.get_watermark_offsets(asked, timeout=_ANSWER_S)
        return low, high

    def at(self, ref: Ref) -> Message | None:
        """Return the message at a place; None if Kafka no longer has it."""
        topic, partition, offset = ref.place
        found = self.read(topic, {partition: offset}, most=1)
        return found[0] if found and found[0].offset() == offset else None

    def near(
        self, topic: str, number: int, id_in: Callable[[Message], int | None]
    ) -> dict[int, int]:
        """Return the partition of an id that is the key, and an offset just before its messages.

        An id says when it was made, so ids ascend where each has one message: also those of a
        history, which are published long after they were made. Some twenty messages are read.

        Args:
            topic: which topic.
            number: the id.
            id_in: returns the id that a message is about; None: it has none.

        Raises:
            KafkaException: if the cluster does not answer.
        """
        partition = partition_of(b"%d" % number, len(self.partitions(topic)))
        oldest, high = self.bounds(topic, partition)
        low = oldest
        until = self._monotonic() + READ_S
        while low < high and self._monotonic() < until:
            middle = (low + high) // 2
            first = self.read(topic, {partition: middle}, most=1, meets=lambda m: bool(id_in(m)))
            known = id_in(first[0]) if first else None
            if known is not None and known < number:
                low = cast("int", first[0].offset()) + 1
            else:
                high = middle
        return {partition: max(oldest, low - AROUND)}

    def since(self, topic: str, at: datetime) -> dict[int, int]:
        """Return, of each partition that has one, the offset of the first message since a time."""
        return self.at_time(topic, int(at.timestamp() * 1000), self.partitions(topic))

    def at_time(self, topic: str, ms: int, partitions: Sequence[int]) -> dict[int, int]:
        """Return, of each partition that has one, the offset of the first message since a time.

        Args:
            topic: which topic.
            ms: milliseconds since 1970.
            partitions: which partitions.
        """
        asked = [TopicPartition(topic, p, ms) for p in partitions]
        found = self._consumer.offsets_for_times(asked, timeout=_ANSWER_S) if asked else []
        return {f.partition: f.offset for f in found if f.offset >= 0}

    def stream(
        self,
        topic: str,
        starts: dict[int, int],
        stop: Callable[[], bool] = lambda: False,
        *,
        most: int = 500,
    ) -> Iterator[tuple[list[Message], bool]]:
        """Yield messages from some offsets on, and whether these were the last ones.

        It ends at the end of the partitions, after `READ_S` seconds, or when `stop` returns true.

        Args:
            topic: which topic.
            starts: partition -> offset.
            stop: whether nobody waits for more.
            most: number of messages that are waited for together.
        """
        left = set(starts)
        self._consumer.assign([TopicPartition(topic, p, o) for p, o in starts.items()])
        until = self._monotonic() + READ_S
        while left and self._monotonic() <= until and not stop():
            batch = []
            for message in self._consumer.consume(most, 0.2):
                if message.error() is None:
                    batch.append(message)
                else:
                    left.discard(cast("int", message.partition()))
            yield batch, not left

    def follow(self, stop: Callable[[], bool]) -> Iterator[list[Message]]:
        """Yield the messages that come after those of `stream`, until `stop` returns true."""
        while not stop():
            found = self._consumer.consume(500, 0.3)
            yield [m for m in found if m.error() is None]

    def read(
        self,
        topic: str,
        starts: dict[int, int],
        *,
        most: int,
        meets: Callable[[Message], bool] = lambda _: True,
    ) -> list[Message]:
        """Return messages from some offsets on: those that `search` finds."""
        return self.search(topic, starts, most=most, meets=meets).messages

    def search(
        self, topic: str, starts: dict[int, int], *, most: int, meets: Callable[[Message], bool]
    ) -> SearchResult:
        """Search messages from some offsets on, for `READ_S` seconds and `MOST_SCANNED` messages.

        Args:
            topic: which topic.
            starts: partition -> offset.
            most: number of messages that are returned.
            meets: returns whether a message is wanted.
        """
        found: list[Message] = []
        scanned, whole = 0, not starts
        for batch, at_end in self.stream(topic, starts, most=1 if most == 1 else 500):
            scanned, whole = scanned + len(batch), at_end
            found += [m for m in batch if meets(m)]
            if len(found) >= most or scanned >= MOST_SCANNED:
                break
        self._consumer.unassign()
        return SearchResult(found[:most], scanned, whole)


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key, as the producers of the shop and those in Java choose it.

    >>> [partition_of(str(n).encode(), 12) for n in (5, 893462723403008, 893462724541696)]
    [6, 11, 8]
    """
    mask, m = 0xFFFFFFFF, 0x5BD1E995  # murmur2, with Kafka's seed
    h = 0x9747B28C ^ len(key)
    whole_words = len(key) // 4 * 4
    for at in range(0, whole_words, 4):
        k = int.from_bytes(key[at : at + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    if rest := key[whole_words:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return ((h ^ h >> 15) & 0x7FFFFFFF) % partitions


def about(text: str) -> Callable[[Message], bool]:
    """Return a condition: the key or the payload contains a text."""
    wanted = text.encode()
    return lambda m: wanted in (_bytes(m.key()) or b"") or wanted in (_bytes(m.value()) or b"")


def row(message: Message) -> DetailRow:
    """Return a message as one row that leads to it."""
    key = place(
        str(message.topic()), cast("int", message.partition()), cast("int", message.offset())
    )
    value = (_bytes(message.value()) or b"").decode(errors="replace")
    return named(key, f"{_time(message)}  {printable(value, 400)}", Ref("message", key))


def whole(message: Message, fault: Fault | None = None) -> Iterator[DetailRow]:
    """Yield all of a message: place, time, key, headers, payload as text and as bytes.

    Args:
        message: which message.
        fault: the bytes of the payload that are at fault, which are marked.
    """
    yield DetailRow("topic", str(message.topic()), Ref("topic", str(message.topic())))
    partition = f"{message.topic()}/{message.partition()}"
    yield DetailRow("partition", str(message.partition()), Ref("partition", partition))
    yield DetailRow("offset", str(message.offset()))
    yield DetailRow("time", _time(message))
    key = _bytes(message.key())
    yield DetailRow("key", "-" if key is None else printable(key.decode(errors="replace")))
    headers = cast("list[tuple[str, bytes | None]]", message.headers() or [])  # stubs allow text
    for name, value in headers:
        data = _bytes(value)
        shown = "-" if data is None else printable(data.decode(errors="replace"))
        yield named(f"header {name}", shown)
    payload = _bytes(message.value())
    if payload is None:
        yield DetailRow("payload", word("none: a tombstone"))
        return
    yield as_text(payload, fault)
    kinds = {"user_id": "customer", "order_id": "order", "product_id": "product"}
    for name, number in ids_in(payload).items():
        if (kind := kinds.get(name)) is None:
            continue
        yield named(name, str(number), Ref(kind, str(number)))
    yield heading("bytes")
    yield from in_hex(payload, fault)


def payload(message: Message) -> bytes:
    """Return the payload of a message; that of a tombstone is empty."""
    return _bytes(message.value()) or b""


def ids_in(payload: bytes) -> dict[str, int]:
    """Return the ids and the revision in a payload.

    >>> ids_in(b'{"order_id": 7, "user_id": "x", "product_id": 9}'), ids_in(b"[")
    ({'order_id': 7, 'product_id': 9}, {})
    """
    try:
        found: Any = msgspec.json.decode(payload)
    except (ValueError, RecursionError):  # msgspec raises UnicodeDecodeError, too
        return {}
    names = (*ID_FIELD.values(), "rev")
    if not isinstance(found, dict):
        return {}
    return {n: v for n, v in found.items() if n in names and isinstance(v, int)}


def _bytes(value: Any) -> bytes | None:
    return value.encode() if isinstance(value, str) else cast("bytes | None", value)


def _time(message: Message) -> str:
    _, ms = message.timestamp()
    if ms < 0:
        return "-"
    try:
        at = datetime.fromtimestamp(ms / 1000, KST)
    except (OverflowError, ValueError, OSError):
        return str(ms)
    return f"{at:%Y-%m-%d %H:%M:%S} KST"
