"""Opens a thing: asks PostgreSQL, Kafka, Redis and the logs for what belongs to it.

Every source is asked on its own: where one does not answer, its rows say so, and the others stay.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final

import psycopg
import redis
from confluent_kafka import KafkaException

from console.lookups import messages
from console.lookups.details import Detail, DetailRow, Ref
from console.lookups.messages import MessageReader
from console.lookups.shop_rows import ShopRows, made_at
from console.snapshot.model import Process, Snapshot
from console.sources import explain
from console.sources.events import Tail
from console.text import duration, printable
from shop.clock import KST
from shop.errors import JangteoError
from shop.events import GROUPS
from shop.log import redact
from shop.redis import cache
from shop.settings import Settings

_ERRORS: Final = (JangteoError, psycopg.Error, KafkaException, redis.RedisError, OSError)
_TOPIC_OF: Final = {"customer": "users", "order": "orders", "product": "products"}
_ID_OF: Final = {"customer": "user_id", "order": "order_id", "product": "product_id"}
LOG_LINES: Final = 200
EVENTS: Final = 20


class Lookup:
    """Looks one thing up; blocking, for a thread of its own.

    Args:
        settings: where the servers are.
        snapshot: for what is known already: processes, partitions, events.
    """

    def __init__(self, settings: Settings, snapshot: Snapshot) -> None:
        self._settings = settings
        self._snapshot = snapshot

    def open(self, ref: Ref) -> Detail:
        """Return all that is known of a thing; never raises for a server that does not answer."""
        openers: dict[str, Callable[[Ref], Iterator[DetailRow]]] = {
            "customer": self._entity,
            "order": self._entity,
            "product": self._entity,
            "grade": lambda r: self._shop(lambda s: s.grade(r.key)),
            "topic": self._topic,
            "partition": self._partition,
            "message": self._message,
            "letter": self._letter,
            "process": self._process,
            "event": self._event,
            "follow": self._follow,
        }
        try:
            rows = tuple(openers[ref.kind](ref))
        except (KeyError, ValueError):  # an id that is none
            rows = (DetailRow(str(ref), "not valid here", wrong=True),)
        return Detail(ref, rows or (DetailRow(str(ref), "none"),))

    # ---- one source each; what it does not answer is one row ----

    def _shop(self, ask: Callable[[ShopRows], Iterator[DetailRow]]) -> Iterator[DetailRow]:
        try:
            with contextlib.closing(ShopRows(self._settings)) as shop:
                yield from list(ask(shop))
        except _ERRORS as e:
            yield DetailRow("PostgreSQL", printable(redact(explain(e))), wrong=True)

    def _kafka(self, ask: Callable[[MessageReader], Iterator[DetailRow]]) -> Iterator[DetailRow]:
        try:
            with contextlib.closing(MessageReader(self._settings)) as reader:
                yield from list(ask(reader))
        except _ERRORS as e:
            yield DetailRow("Kafka", printable(redact(explain(e))), wrong=True)

    def _cache(self, ref: Ref) -> Iterator[DetailRow]:
        key = {"customer": cache.USERS, "product": cache.PRODUCTS}.get(ref.kind)
        if key is None:
            return
        yield DetailRow("cache")
        try:
            with cache.client(self._settings.redis_url) as client:
                entry = client.hget(key, ref.key)
        except _ERRORS as e:
            yield DetailRow("Redis", printable(redact(explain(e))), wrong=True)
            return
        yield DetailRow(f"{key}", "not in it" if entry is None else printable(str(entry), 600))

    def _events(self, text: str) -> Iterator[DetailRow]:
        found = [e for e in self._snapshot.events if text in str(e.text)][-EVENTS:]
        if found:
            yield DetailRow("events")
        for e in reversed(found):
            at = f"{e.at.astimezone(KST):%H:%M:%S} KST"
            yield DetailRow(at, f"{e.source}: {e.text}", Ref("event", str(e.n)))

    # ---- what is opened ----

    def _entity(self, ref: Ref) -> Iterator[DetailRow]:
        """Yield the whole path of an id: row, message, refusals, cache, events."""
        number = int(ref.key)

        def rows(shop: ShopRows) -> Iterator[DetailRow]:
            found = {"customer": shop.customer, "order": shop.order, "product": shop.product}
            yield from found[ref.kind](number)

        yield from self._shop(rows)
        yield from self._cache(ref)
        yield DetailRow("messages")
        yield from self._kafka(lambda r: self._messages_of(r, ref, number))
        refusals = list(self._shop(lambda s: s.letters_about(ref.key)))
        if refusals:
            yield DetailRow("dead letters")
            yield from refusals
        yield from self._events(ref.key)

    def _messages_of(self, reader: MessageReader, ref: Ref, number: int) -> Iterator[DetailRow]:
        """Yield the messages of an id: searched from the time on that the id itself contains."""
        at = made_at(number)
        topic, name = _TOPIC_OF[ref.kind], _ID_OF[ref.kind]
        if at is None:
            return
        starts = reader.since(topic, at - timedelta(seconds=2))
        contains = messages.about(ref.key)
        found = reader.read(topic, starts, most=10, meets=contains) if starts else []
        for m in found:
            if messages.ids_in(m.value() or b"").get(name) == number:
                yield messages.row(m)
        if not found:
            yield DetailRow(topic, "none: written before the oldest that Kafka keeps, or not by it")

    def _topic(self, ref: Ref) -> Iterator[DetailRow]:
        kafka = self._snapshot.kafka.value
        for t in kafka.topics if kafka else ():
            if t.name != ref.key:
                continue
            yield DetailRow("group", t.group)
            for m in t.members or ():
                yield DetailRow("member", f"{m.client_id}@{m.host} {list(m.partitions)}")
            for trouble in t.troubles:
                yield DetailRow("trouble", str(trouble), wrong=True)
            yield DetailRow("partitions")
            for p in t.partitions:
                text = f"lag {p.lag}  {p.verdict.value}  {p.low} to {p.end}  applied {p.applied}"
                yield DetailRow(
                    f"{t.name}-{p.partition}", text, Ref("partition", f"{t.name}/{p.partition}")
                )

    def _partition(self, ref: Ref) -> Iterator[DetailRow]:
        """Yield the newest messages of a partition, or those that a filter wants."""
        place, _, condition = ref.key.partition(" ")
        topic, number = place.split("/")

        def rows(reader: MessageReader) -> Iterator[DetailRow]:
            partition = int(number)
            low, high = reader.bounds(topic, partition)
            yield DetailRow("offsets", f"{low} to {high}")
            yield from self._shop(
                lambda s: iter([DetailRow("applied", str(s.applied(topic, partition)))])
            )
            yield DetailRow("messages")
            if condition.isdigit() and int(condition) < high:
                start = {partition: min(max(int(condition), low), high)}
                found = reader.read(topic, start, most=messages.NEWEST)
            elif condition:
                start = {partition: max(low, high - messages.MOST_SCANNED)}
                found = reader.read(
                    topic, start, most=messages.NEWEST, meets=messages.about(condition)
                )[::-1]
            else:
                found = reader.newest(topic, partition)
            yield from map(messages.row, found)

        yield from self._kafka(rows)

    def _message(self, ref: Ref) -> Iterator[DetailRow]:
        """Yield a message, and the row that it became or the reason why it did not."""
        topic, partition, offset = ref.place
        yield DetailRow("result")
        yield from self._shop(lambda s: self._fate(s, ref, topic, partition, offset))
        yield DetailRow("message")

        def rows(reader: MessageReader) -> Iterator[DetailRow]:
            found = reader.at(ref)
            if found is None:
                yield DetailRow(ref.key, "Kafka no longer has it", wrong=True)
            else:
                yield from messages.whole(found)

        yield from self._kafka(rows)

    def _fate(
        self, shop: ShopRows, ref: Ref, topic: str, partition: int, offset: int
    ) -> Iterator[DetailRow]:
        applied = shop.applied(topic, partition)
        refused = [r for r in shop.letter(ref) if r.wrong]
        if refused:
            yield DetailRow("rejected", refused[0].text, Ref("letter", ref.key), wrong=True)
        elif topic not in GROUPS or applied is None:
            yield DetailRow("not stored", "no ingest of this shop reads the topic")
        elif offset >= applied:
            yield DetailRow("not yet stored", f"PostgreSQL has applied up to {applied}")
        else:
            yield DetailRow("stored", "its rows are under the ids below, or newer revisions")

    def _letter(self, ref: Ref) -> Iterator[DetailRow]:
        yield from self._shop(lambda s: s.letter(ref))
        yield DetailRow("message", ref.key, Ref("message", ref.key))

    def _process(self, ref: Ref) -> Iterator[DetailRow]:
        found = self._snapshot.processes.value
        for p in found.processes if found else ():
            if p.name == ref.key:
                yield from self._of_process(p)
        yield DetailRow("log")
        path = self._settings.data_dir / "logs" / f"{ref.key}.log"
        lines = Tail(path, first=64 << 10).read() if "/" not in ref.key else []
        for line in reversed(lines[-LOG_LINES:]):
            yield DetailRow("", printable(redact(str(line)), 1_000))

    def _of_process(self, p: Process) -> Iterator[DetailRow]:
        up = (self._snapshot.at - p.up_since).total_seconds() if p.up_since else None
        yield DetailRow("state", p.state + (", paused" if p.paused else ""))
        yield DetailRow("pid", str(p.pid))
        yield DetailRow("up", duration(up))
        yield DetailRow("restarts", str(p.restarts))
        yield DetailRow("last exit", p.last_exit or "-")
        for name, value in p.fields.items():
            yield DetailRow(name, value)

    def _event(self, ref: Ref) -> Iterator[DetailRow]:
        for e in self._snapshot.events:
            if str(e.n) == ref.key:
                yield DetailRow("time", f"{e.at.astimezone(KST):%Y-%m-%d %H:%M:%S} KST")
                yield DetailRow("level", e.level)
                yield DetailRow("source", e.source, Ref("process", e.source))
                yield DetailRow("text", str(e.text))

    def _follow(self, ref: Ref) -> Iterator[DetailRow]:
        """Yield where an id or a word is found anywhere."""
        if ref.key.isdigit():
            kinds: list[Ref] = []

            def rows(shop: ShopRows) -> Iterator[DetailRow]:
                kinds.extend(shop.kinds_of(int(ref.key)))
                for found in kinds:
                    yield DetailRow(found.kind, found.key, found)

            yield from self._shop(rows)
            if len(kinds) == 1:
                yield from self._entity(kinds[0])
                return
        yield from self._shop(lambda s: s.letters_about(ref.key))
        yield from self._events(ref.key)
