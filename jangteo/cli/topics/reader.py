"""Reads a topic by assignment, from any position, to show it to a person."""

from __future__ import annotations

import contextlib
import io
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin._listoffsets import OffsetSpec  # `admin` does not declare it

from shop import kafka
from shop.errors import JangteoError, UnreachableError, UsageError
from shop.log import get_logger
from shop.messages.start_position import StartPosition
from shop.output import say
from shop.settings import KafkaSettings

ANSWER_S: Final = 30.0
"""Without anything for this long, a read that has an end gives up."""
AT_ONCE: Final = 500
NEW_PARTITIONS_S: Final = 10.0
_GONE: Final = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
    }
)

Meets = Callable[[Message], bool]
Bounds = Mapping[int, tuple[int, int]]
"""Partition -> offset of the oldest message, offset after the newest."""


@dataclass
class ShownMessage:
    """The number of messages shown, and the limit."""

    write: Callable[[list[Message]], None]
    meets: Meets
    limit: int | None
    count: int = field(default=0)

    def enough(self) -> bool:
        """Whether the limit is reached."""
        return self.limit is not None and self.count >= self.limit

    def __call__(self, batch: list[Message]) -> None:
        """Show the messages of a batch that match."""
        wanted = [m for m in batch if self.meets(m)]
        if self.limit is not None:
            wanted = wanted[: self.limit - self.count]
        if wanted:
            self.write(wanted)
            self.count += len(wanted)


class TopicReader:
    """Reads partitions of a topic by assignment: no group sees it, nothing is committed.

    Only committed transactions are read, as by the ingest.

    Args:
        settings: address of the cluster.
        topic: name of the topic.
        partition: read only this partition; None: all.

    Raises:
        UnreachableError: if no broker answers.
        JangteoError: if there is no such topic.
        UsageError: if there is no such partition.
    """

    def __init__(self, settings: KafkaSettings, topic: str, partition: int | None) -> None:
        self._settings = settings
        self._topic = topic
        self._only = partition
        kafka.wait_until_up(settings)
        self._admin = kafka.admin(settings, "tail")
        count = self._partitions()
        if not count:
            raise JangteoError(f"no topic {topic}: `jangteo topics list` shows what there is")
        if partition is not None and partition >= count:
            raise UsageError(f"{topic} has the partitions 0 to {count - 1}, no {partition}")
        self._ids = list(range(count)) if partition is None else [partition]
        self._logged: set[int] = set()
        self._look_again = time.monotonic() + NEW_PARTITIONS_S
        self._consumer = Consumer(
            {
                **kafka.client_config(settings, "tail"),
                "group.id": "jangteo-tail",  # required by the client; nothing joins or commits
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",  # retention overtook us: read what there is
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": 16 << 10,
            }
        )

    def close(self) -> None:
        """Close the clients."""
        self._consumer.close()

    def _partitions(self) -> int:
        found = kafka.describe_topics(self._admin, [self._topic]).get(self._topic)
        return found.partitions if found else 0

    def bounds(self) -> dict[int, tuple[int, int]]:
        """Return what each partition holds now."""
        keys = [(self._topic, p) for p in self._ids]
        earliest, latest = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]  # confluent_kafka has no types there
        low = kafka.list_offsets(self._admin, keys, earliest)
        high = kafka.list_offsets(self._admin, keys, latest)
        return {key[1]: (low[key], high[key]) for key in keys}

    def show(
        self,
        start: StartPosition,
        shown: ShownMessage,
        stop: threading.Event,
        *,
        follow: bool,
    ) -> None:
        """Show messages.

        Args:
            start: where to begin.
            shown: takes the messages, and knows when the limit is reached.
            stop: ends the loop when it is set.
            follow: wait for new messages at the end.
        """
        bounds = self.bounds()
        ends = {p: high for p, (_, high) in bounds.items()}
        if start.kind == "last":
            shown(self._last(start.value, bounds, shown.meets, stop))
            starts = ends
        else:
            starts = self._starts(start, bounds)
        if shown.enough() or (start.kind == "last" and not follow):
            return
        if follow and sys.stderr.isatty() and not shown.count and starts == ends:
            say(f"waiting for new messages of {self._topic}; Ctrl-C stops", to=sys.stderr)
        for batch in self._read(starts, None if follow else ends, stop):
            shown(batch)
            if shown.enough():
                return

    def _starts(self, start: StartPosition, bounds: Bounds) -> dict[int, int]:
        lows = {p: low for p, (low, _) in bounds.items()}
        ends = {p: high for p, (_, high) in bounds.items()}
        if start.kind == "beginning":
            return lows
        if start.kind == "end":
            return ends
        if start.kind == "time":
            asked = [TopicPartition(self._topic, p, start.value) for p in bounds]
            found = self._consumer.offsets_for_times(asked, timeout=kafka.REQUEST_TIMEOUT_S)
            return {f.partition: f.offset if f.offset >= 0 else ends[f.partition] for f in found}
        if not any(low <= start.value <= high for low, high in bounds.values()):
            held = ", ".join(
                f"{self._topic}[{p}] {f'{low} to {high - 1}' if high > low else 'none'}"
                for p, (low, high) in bounds.items()
            )
            raise UsageError(
                f"--from {start.value}: no partition has this offset; they hold: {held}"
            )
        return {p: min(max(start.value, lows[p]), ends[p]) for p in bounds}

    def _last(self, n: int, bounds: Bounds, meets: Meets, stop: threading.Event) -> list[Message]:
        """Return the newest `n` that are wanted, of all partitions together, oldest first.

        Each partition is read from ever further back, until it has `n` of them or is read whole.
        """
        back = n
        found: dict[int, deque[Message]] = {}
        left = {p: b for p, b in bounds.items() if b[0] < b[1]}
        while left and not stop.is_set():
            starts = {p: max(low, high - back) for p, (low, high) in left.items()}
            found.update({p: deque(maxlen=n) for p in left})
            for batch in self._read(starts, {p: high for p, (_, high) in left.items()}, stop):
                for message in filter(meets, batch):
                    found[int(message.partition() or 0)].append(message)
            left = {p: b for p, b in left.items() if len(found[p]) < n and starts[p] > b[0]}
            back *= 10
        # By time; within a partition in offset order, even where the producers' clocks disagree.
        rows = []
        for partition, messages in found.items():
            at = -1
            for message in messages:
                at = max(at, message.timestamp()[1])
                rows.append(((at, partition, int(message.offset() or 0)), message))
        return [message for _, message in sorted(rows, key=lambda row: row[0])[-n:]]

    def _read(
        self, starts: Mapping[int, int], ends: Mapping[int, int] | None, stop: threading.Event
    ) -> Iterator[list[Message]]:
        """Yield messages in batches, up to `ends` or for ever.

        The end of a partition is reached with its last message, or where the client reports it:
        the last record may be the marker of a transaction, which is not a message.
        """
        left = {p for p, start in starts.items() if ends is None or start < ends[p]}
        self._consumer.assign([TopicPartition(self._topic, p, starts[p]) for p in sorted(left)])
        heard = time.monotonic()
        while left and not stop.is_set():
            batch = []
            for message in self._consumer.consume(AT_ONCE, 0.2):
                heard = time.monotonic()
                partition, offset = int(message.partition() or 0), int(message.offset() or 0)
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF and ends is not None:
                        left.discard(partition)
                    self._on_error(error)
                    continue
                if ends is None or offset < ends[partition]:
                    batch.append(message)
                if ends is not None and offset + 1 >= ends[partition]:
                    left.discard(partition)
            if batch:
                yield batch
            elif ends is None:
                self._idle()
            elif time.monotonic() - heard > ANSWER_S:
                raise UnreachableError(
                    f"{self._settings.where}: no message of {self._topic} within {ANSWER_S:.0f} s"
                )
        self._consumer.unassign()

    def _on_error(self, error: KafkaError) -> None:
        code = error.code()
        if code in _GONE:
            raise JangteoError(f"{self._settings.where}: {self._topic}: {error.str()}")
        if code != KafkaError._PARTITION_EOF and code not in self._logged:
            self._logged.add(code)
            get_logger().warning("waiting for Kafka", topic=self._topic, error=error.str())

    def _idle(self) -> None:
        """Notice, while no message arrives, a closed output pipe and an added partition.

        Raises:
            BrokenPipeError: if the reader of the output is gone.
        """
        with contextlib.suppress(io.UnsupportedOperation):  # a stdout that is no file
            poll = select.poll()
            poll.register(sys.stdout.fileno(), 0)
            if any(event & select.POLLERR for _, event in poll.poll(0)):
                raise BrokenPipeError
        if self._only is not None or time.monotonic() < self._look_again:
            return
        self._look_again = time.monotonic() + NEW_PARTITIONS_S
        try:
            added = list(range(len(self._ids), self._partitions()))
        except KafkaException:
            return
        self._ids += added
        if added:
            self._consumer.incremental_assign([TopicPartition(self._topic, p, 0) for p in added])
