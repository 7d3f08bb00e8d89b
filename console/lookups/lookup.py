"""Opens a thing: asks PostgreSQL, Kafka, Redis and the logs for what belongs to it.

Every source is asked on its own: where one does not answer, its rows say so, and the others stay.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import psycopg
import redis
from confluent_kafka import KafkaException, Message

from console import translations as msg
from console.lookups import cache_rows, messages, texts
from console.lookups.browse import MessagePage, MessageQuery, browse
from console.lookups.command_rows import effect_rows, score_rows
from console.lookups.details import Detail, DetailRow, Ref, heading, named
from console.lookups.messages import MessageReader, SearchResult
from console.lookups.process_rows import process_rows
from console.lookups.shop_rows import ShopRows, made_at
from console.snapshot.model import Snapshot
from console.sources import explain
from console.text import printable
from console.translations import Text, word
from shop.clock import KST
from shop.errors import JangteoError
from shop.events import GROUPS, ID_FIELD, KEY_FIELD
from shop.log import redact
from shop.messages.fault_location import Fault
from shop.redis import cache
from shop.settings import Settings

_ERRORS: Final = (JangteoError, psycopg.Error, KafkaException, redis.RedisError, OSError)
_TOPIC_OF: Final = {"customer": "users", "order": "orders", "product": "products"}
EVENTS: Final = 20


def pages(
    settings: Settings, query: MessageQuery, now: datetime, stop: Callable[[], bool]
) -> Iterator[MessagePage | Text]:
    """Yield pages of messages; a text is why there are none, and the last.

    Args:
        settings: where Kafka is.
        query: what is wanted.
        now: UTC; what a time such as `15m` is measured from.
        stop: whether nobody waits for more.
    """
    try:
        with contextlib.closing(MessageReader(settings)) as reader:
            yield from browse(reader, query, now, stop)
    except _ERRORS as e:
        yield printable(redact(explain(e)))


def _later(label: str, read: Callable[[], Iterator[DetailRow]]) -> DetailRow:
    """Return a row in the place of those that are still to be read."""
    return DetailRow(label, later=lambda _stop: [*read()])


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
            "topics": self._topics,
            "score": self._score,
            "scenario": self._scenario,
            "message": self._message,
            "letter": self._letter,
            "process": lambda r: process_rows(self._settings, self._snapshot, r.key),
            "event": self._event,
            "follow": self._follow,
            "key": lambda r: self._redis(lambda c: cache_rows.key_rows(c, r.key)),
            "entry": self._entry,
            "refresh": lambda r: cache_rows.refresh_rows(self._snapshot.redis.value, r.key),
        }
        try:
            rows = tuple(openers[ref.kind](ref))
        except (KeyError, ValueError):  # an id that is none
            rows = (DetailRow("result", word("not valid here"), wrong=True),)
        return Detail(ref, rows or (DetailRow("result", word("nothing found")),))

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

    def _redis(self, ask: Callable[[redis.Redis], Iterator[DetailRow]]) -> Iterator[DetailRow]:
        try:
            with cache.client(self._settings.redis_url) as client:
                yield from list(ask(client))
        except _ERRORS as e:
            yield DetailRow("Redis", printable(redact(explain(e))), wrong=True)

    def _cache(self, ref: Ref) -> Iterator[DetailRow]:
        key = {"customer": cache.USERS, "product": cache.PRODUCTS}.get(ref.kind)
        if key is None:
            return
        yield heading("cache")

        def rows(client: redis.Redis) -> Iterator[DetailRow]:
            entry = client.hget(key, ref.key)
            if entry is None:
                yield named(key, word("it is not in the cache"), Ref("key", key))
            else:
                yield named(key, printable(str(entry), 600), Ref("entry", f"{key}/{ref.key}"))

        yield from self._redis(rows)

    def _entry(self, ref: Ref) -> Iterator[DetailRow]:
        """Yield an entry of the cache; the key names it, as in `cache:users/5`."""
        key, field = ref.key.rsplit("/", 1)
        return self._redis(lambda c: cache_rows.entry_rows(c, key, field))

    def _events(self, text: str) -> Iterator[DetailRow]:
        # A number is no part of another number.
        wanted = re.compile(
            rf"(?<!\d){re.escape(text)}(?!\d)" if text.isdigit() else re.escape(text)
        )
        found = [e for e in self._snapshot.events if wanted.search(str(e.text))][-EVENTS:]
        if found:
            yield heading("events")
        for e in reversed(found):
            at = f"{e.at.astimezone(KST):%H:%M:%S} KST"
            yield named(at, msg.OF(name=e.source, error=e.text), Ref("event", str(e.n)))

    # ---- what is opened ----

    def _entity(self, ref: Ref) -> Iterator[DetailRow]:
        """Yield the whole path of an id: row, score, message, refusals, cache, events."""
        number = int(ref.key)

        def rows(shop: ShopRows) -> Iterator[DetailRow]:
            found = {"customer": shop.customer, "order": shop.order, "product": shop.product}
            yield from found[ref.kind](number)

        # Each source has a thread of its own: one that is slow delays no other.
        yield _later(_TOPIC_OF[ref.kind], lambda: self._shop(rows))
        yield _later("cache", lambda: self._cache(ref))
        yield heading("messages")
        messages_of = lambda r: self._messages_of(r, ref, number)  # noqa: E731  (passed on as it is)
        yield _later(_TOPIC_OF[ref.kind], lambda: self._kafka(messages_of))
        yield _later("dead letters", lambda: self._refusals(ref.key))
        if ref.kind == "customer":
            yield heading("why this customer buys")
            yield from self._score(ref)
        yield from self._events(ref.key)

    def _refusals(self, text: str) -> Iterator[DetailRow]:
        """Yield the dead letters that contain a text, if there are any."""
        found = list(self._shop(lambda s: s.letters_about(text)))
        if found:
            yield heading("dead letters")
            yield from found

    def _score(self, ref: Ref) -> Iterator[DetailRow]:
        """Yield the score of a customer, term by term, which another program computes."""
        user_id, data_dir = int(ref.key), self._settings.data_dir
        yield DetailRow("score", later=lambda stop: [*score_rows(data_dir, user_id, stop)])

    def _messages_of(self, reader: MessageReader, ref: Ref, number: int) -> Iterator[DetailRow]:
        """Yield the messages of an id: searched from the time on that the id itself contains.

        Those of a customer or product of a history were published later, among many others.
        """
        at = made_at(number)
        topic = _TOPIC_OF[ref.kind]
        if at is None:
            return

        def id_in(message: Message) -> int | None:
            return messages.ids_in(messages.payload(message)).get(ID_FIELD[topic])

        def search(starts: dict[int, int]) -> SearchResult:
            contains = messages.about(ref.key)
            return reader.search(
                topic, starts, most=10, meets=lambda m: contains(m) and id_in(m) == number
            )

        result = search(reader.since(topic, at - timedelta(seconds=2)))
        whole = result.whole
        if not result.messages and not whole and KEY_FIELD[topic] == ID_FIELD[topic]:
            result = search(reader.near(topic, number, id_in))
        yield from map(messages.row, result.messages)
        if not result.messages:
            none = texts.NO_MESSAGE() if whole else texts.NOT_AMONG(count=f"{result.scanned:,}")
            yield named(topic, none)

    def _topics(self, _: Ref) -> Iterator[DetailRow]:
        """Yield all topics of the cluster."""

        def rows(reader: MessageReader) -> Iterator[DetailRow]:
            for name, count in reader.topics().items():
                yield named(name, texts.PARTITIONS(count=count), Ref("topic", name))

        yield from self._kafka(rows)

    def _topic(self, ref: Ref) -> Iterator[DetailRow]:
        """Yield a topic: its group, and its partitions with their messages."""
        kafka = self._snapshot.kafka.value
        known = next((t for t in (kafka.topics if kafka else ()) if t.name == ref.key), None)
        yield DetailRow("messages", word("of all partitions"), Ref("messages", ref.key))
        if known is None:
            yield from self._kafka(lambda r: self._offsets(r, ref.key))
            return
        yield DetailRow("group", known.group)
        for m in known.members or ():
            text = texts.MEMBER_OF_GROUP(
                client=m.client_id, host=m.host, ids=texts.ranges(m.partitions)
            )
            yield DetailRow("member", text)
        for trouble in known.troubles:
            yield DetailRow("trouble", trouble, wrong=True)
        yield heading("partitions")
        for p in known.partitions:
            lag, low, high, applied = (
                "-" if n is None else f"{n:,}" for n in (p.lag, p.low, p.end, p.applied)
            )
            text = texts.PARTITION(
                state=word(p.verdict.value), lag=lag, low=low, high=high, applied=applied
            )
            key = f"{known.name}/{p.partition}"
            yield named(f"{known.name}-{p.partition}", text, Ref("partition", key))

    def _offsets(self, reader: MessageReader, topic: str) -> Iterator[DetailRow]:
        numbers = reader.partitions(topic)
        if not numbers:
            yield DetailRow("result", msg.NO_TOPIC(), wrong=True)
        for number in numbers:
            low, high = reader.bounds(topic, number)
            text = texts.OFFSETS(low=f"{low:,}", high=f"{high:,}")
            yield named(f"{topic}-{number}", text, Ref("partition", f"{topic}/{number}"))

    def _message(self, ref: Ref) -> Iterator[DetailRow]:
        """Yield a message, and the row that it became or the reason why it did not."""
        read: list[Message | None] = []

        def rows(reader: MessageReader) -> Iterator[DetailRow]:
            read.append(reader.at(ref))
            return iter(())

        failed = list(self._kafka(rows))
        message = read[0] if read else None
        refused: list[tuple[str, Fault | None]] = []
        yield heading("result")
        yield from self._shop(lambda s: self._fate(s, ref, message, refused))
        yield heading("message")
        yield from failed
        if message is not None:
            yield from messages.whole(message, refused[0][1] if refused else None)
        elif not failed:
            yield DetailRow(ref.key, word("Kafka no longer has it"), wrong=True, name=True)

    def _fate(
        self,
        shop: ShopRows,
        ref: Ref,
        message: Message | None,
        refused: list[tuple[str, Fault | None]],
    ) -> Iterator[DetailRow]:
        """Yield what became of a message; add why it was rejected, if it was, to `refused`."""
        topic, partition, offset = ref.place
        applied = shop.applied(topic, partition)
        if (fault := shop.fault_of(ref)) is not None:
            refused.append(fault)
            yield DetailRow("rejected", fault[0], Ref("letter", ref.key), wrong=True)
        elif topic not in GROUPS or applied is None:
            yield DetailRow("not stored", word("no ingest of this shop reads the topic"))
        elif offset >= applied:
            yield DetailRow("not yet stored", texts.APPLIED_UP_TO(offset=applied))
        elif message is None:
            yield DetailRow("stored", texts.APPLIED_UP_TO(offset=applied))
        else:
            yield self._row_of(shop, topic, message)

    def _row_of(self, shop: ShopRows, topic: str, message: Message) -> DetailRow:
        """Return the row that a message which was applied became, as it is now."""
        ids = messages.ids_in(messages.payload(message))
        number = ids.get(ID_FIELD[topic])
        if number is None:
            return DetailRow("stored", word("it has no id"), wrong=True)
        about = {"table": topic, "id": str(number)}
        found = shop.stored(topic, number)
        if found is None:
            return DetailRow("stored", texts.ROW_GONE(**about), wrong=True)
        (rev,) = found
        if rev is None:
            text: Text = texts.STORED_ROW(**about)
        elif rev > ids.get("rev", 1):
            text = texts.NEWER_STORED(**about, rev=rev)
        else:
            text = texts.STORED_AS(**about, rev=rev)
        kind = next((k for k, t in _TOPIC_OF.items() if t == topic), "")
        return DetailRow("stored", text, Ref(kind, str(number)) if kind else None)

    def _letter(self, ref: Ref) -> Iterator[DetailRow]:
        yield from self._shop(lambda s: s.letter(ref))
        yield DetailRow("message", ref.key, Ref("message", ref.key))

    def _scenario(self, ref: Ref) -> Iterator[DetailRow]:
        """Yield what a scenario does now: its factor, the rate of orders, and what it sold."""
        data_dir = self._settings.data_dir
        yield DetailRow("scenario", later=lambda s: [*effect_rows(data_dir, ref.key, s)])
        kafka = self._snapshot.kafka.value
        for t in kafka.topics if kafka else ():
            if t.name == "orders" and t.published.per_s is not None:
                yield DetailRow("rate of orders", f"{t.published.per_s:.1f}/s")
        yield heading("orders by hour and share")
        yield from self._shop(lambda s: s.sales_of(ref.key))

    def _event(self, ref: Ref) -> Iterator[DetailRow]:
        for e in self._snapshot.events:
            if str(e.n) == ref.key:
                yield DetailRow("time", f"{e.at.astimezone(KST):%Y-%m-%d %H:%M:%S} KST")
                yield DetailRow("level", e.level)
                yield DetailRow("source", e.source, self._source(e.source))
                yield DetailRow("text", e.text)

    def _source(self, name: str) -> Ref | None:
        """Return what the source of an event leads to: a process, or a group's topic."""
        processes, kafka = self._snapshot.processes.value, self._snapshot.kafka.value
        if any(p.name == name for p in (processes.processes if processes else ())):
            return Ref("process", name)
        topics = kafka.topics if kafka else ()
        return next((Ref("topic", t.name) for t in topics if t.group == name), None)

    def _follow(self, ref: Ref) -> Iterator[DetailRow]:
        """Yield where an id or a word is found anywhere."""
        failed = False
        if ref.key.isdigit():
            number = int(ref.key)
            kinds: list[Ref] = []

            def rows(shop: ShopRows) -> Iterator[DetailRow]:
                kinds.extend(shop.kinds_of(number))
                for found in kinds:
                    yield DetailRow(found.kind, found.key, found)

            found = list(self._shop(rows))
            yield from found
            if len(kinds) == 1:
                yield from self._entity(kinds[0])
                return
            failed = any(row.wrong for row in found)
            if not kinds:
                yield from self._not_stored(ref.key, number)
        if not failed:
            yield from self._shop(lambda s: s.letters_about(ref.key))
        yield from self._events(ref.key)

    def _not_stored(self, key: str, number: int) -> Iterator[DetailRow]:
        """Yield where an id is of which PostgreSQL has no row, or does not answer."""
        yield heading("messages")
        for kind, topic in _TOPIC_OF.items():
            ask = partial(self._messages_of, ref=Ref(kind, key), number=number)
            yield _later(topic, partial(self._kafka, ask))
        for kind in ("customer", "product"):
            yield _later("cache", partial(self._cached, Ref(kind, key)))

    def _cached(self, ref: Ref) -> Iterator[DetailRow]:
        """Yield the entry that the cache has of a thing, if it has one."""
        found = list(self._cache(ref))
        if any(row.wrong or (row.ref and row.ref.kind == "entry") for row in found):
            yield from found
