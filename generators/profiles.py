"""Publish the customers and products that PostgreSQL has and the topics lack.

A start population and a history are written to PostgreSQL, as a million rows take seconds there. A
consumer of the topics would then see orders of customers that it cannot know, so their events are
published too: afterwards `users` and `products`, read from their beginning, name all of them.

What is published already is found by reading the topic, so the same command resumes after any
interruption, publishes nothing twice, and repairs a topic that was recreated.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Final

import msgspec
import polars as pl
import psycopg
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from psycopg import IsolationLevel, sql
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from generators.publishing.encoding import encode_columns
from shop import client_errors, command, kafka, postgres
from shop.errors import ExitCode, JangteoError, UnreachableError
from shop.events import ID_FIELD, SCHEMAS, TOPICS
from shop.log import get_logger
from shop.postgres import Connection, Cursor
from shop.retry import first_line
from shop.settings import Settings, announce

TOPICS_OF_PROFILES: Final = tuple(ID_FIELD)[:2]
SNAPSHOT: Final = ("snapshot", b"true")
"""The header of an event that repeats a row: nobody signed up and nothing was listed just now."""
CHUNK: Final = 50_000
"""Events published in one transaction, which keeps the ingest of the topic waiting meanwhile:
about 0.4 s."""
ANSWER_S: Final = 60.0
"""Without an acknowledgement for this long, Kafka counts as unreachable."""
_LIMITS: Final = {"lock_timeout": "30s", "idle_in_transaction_session_timeout": "120s"}
"""Of the session that locks the ingest's offsets: stopped while it holds them, it must not keep the
ingest waiting for ever. Publishing a chunk takes `ANSWER_S` at most."""
RESUME: Final = "run the same command again to resume"

Offsets = Mapping[int, list[int]]
"""Partition -> the offsets that were acknowledged."""


class Profiles:
    """Publishes the events of one topic's rows.

    Args:
        settings: where PostgreSQL and Kafka are.
        topic: users or products.
        producer: a new one waits up to a second for its id, so both topics share it.
        stop: ends the work between two chunks.
    """

    def __init__(
        self, settings: Settings, topic: str, producer: Producer, stop: threading.Event
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._stop = stop
        found = kafka.describe_topics(kafka.admin(settings.kafka), [topic])
        if topic not in found:
            raise JangteoError(
                f"{settings.kafka.where} has no topic {topic}: `jangteo init` creates it; then "
                "run the same command again"
            )
        self._log_id = found[topic].log_id
        self._producer = producer

    def publish(self, note: Callable[[int], None] = lambda _: None) -> int:
        """Publish what is missing; return the number of events.

        Args:
            note: called with the number of rows that each chunk has dealt with.

        Raises:
            UnreachableError: if Kafka does not acknowledge.
            KafkaException, psycopg.Error: if a server does not answer.
        """
        published = 0
        with ExitStack() as opened:
            # One snapshot, taken before the topic is read: a row that the ingest stores meanwhile
            # comes from the topic and would look missing.
            snapshot = opened.enter_context(
                postgres.connection(self._settings.postgres, "profiles")
            )
            snapshot.isolation_level = IsolationLevel.REPEATABLE_READ
            ledger = opened.enter_context(
                postgres.connection(
                    self._settings.postgres, "profiles", autocommit=True, limits=_LIMITS
                )
            )
            rows = opened.enter_context(snapshot.cursor(name="profiles"))
            rows.execute(_select(self._topic))
            there = self._there()
            while not self._stop.is_set() and (part := rows.fetchmany(CHUNK)):
                missing = [row for row in part if hash(row) not in there]
                if missing:
                    self._publish_chunk(ledger, missing)
                    published += len(missing)
                note(len(part))
        return published

    def _there(self) -> set[int]:
        """Return the fingerprints of the rows whose events are in the topic, in any writing."""
        event = TOPICS[self._topic]
        decoder = msgspec.json.Decoder(event)
        found: set[int] = set()
        if not any(kafka.end_offsets(self._settings.kafka, self._topic).values()):
            return found
        for message in kafka.read(self._settings.kafka, self._topic, timeout=ANSWER_S):
            try:
                decoded = decoder.decode(message.value() or b"")
            except (msgspec.DecodeError, RecursionError):  # a faulty one describes no row
                continue
            found.add(hash(msgspec.structs.astuple(decoded)[1:]))
        return found

    def _publish_chunk(self, conn: Connection, rows: list[tuple[Any, ...]]) -> None:
        """Publish rows, and enter their events as stored where the ingest comes next to them.

        The rows are what the events say, so this transaction does what the ingest would: it locks
        the offsets, and moves those that stand at the first of our events behind the last. Others
        the ingest reads, and counts as duplicates.
        """
        frame = pl.DataFrame(rows, schema=SCHEMAS[self._topic], orient="row")
        with conn.transaction(), conn.cursor() as cur:
            held = self._hold(cur)
            offsets = self._send(*encode_columns(self._topic, frame))
            due = {
                p: (places[-1] + 1, len(places))
                for p, places in offsets.items()
                if places[0] == held.get(p) and places[-1] - places[0] + 1 == len(places)
            }
            cur.execute(
                "UPDATE ingest_offsets AS o SET next_offset = d.next, stored = o.stored + d.stored,"
                " updated_at = now() FROM unnest(%s::int[], %s::bigint[], %s::bigint[])"
                " AS d(partition, next, stored)"
                " WHERE o.topic = %s AND o.log_id = %s AND o.partition = d.partition",
                (
                    list(due), [n for n, _ in due.values()], [n for _, n in due.values()],
                    self._topic, self._log_id,
                ),
            )  # fmt: skip

    def _hold(self, cur: Cursor) -> dict[int, int]:
        """Lock the partitions' offsets, in the ingest's order; return them.

        An empty partition has none yet, and its first offset is 0.
        """
        ends = kafka.end_offsets(self._settings.kafka, self._topic)
        cur.execute(
            "INSERT INTO ingest_offsets (topic, log_id, partition, next_offset)"
            " SELECT %s, %s, p, 0 FROM unnest(%s::int[]) AS p ORDER BY p ON CONFLICT DO NOTHING",
            (self._topic, self._log_id, [p for p, end in ends.items() if not end]),
        )
        cur.execute(
            "SELECT partition, next_offset FROM ingest_offsets WHERE topic = %s AND log_id = %s"
            " ORDER BY partition FOR UPDATE",
            (self._topic, self._log_id),
        )
        return dict(cur.fetchall())

    def _send(self, keys: list[bytes], values: list[bytes]) -> Offsets:
        """Publish messages; return where they are once Kafka has acknowledged all of them."""
        offsets: dict[int, list[int]] = defaultdict(list)
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                failed.append(error)
            else:
                offsets[int(message.partition() or 0)].append(int(message.offset() or 0))

        for key, value in zip(keys, values, strict=True):
            while True:
                try:
                    self._producer.produce(
                        self._topic, value, key, headers=[SNAPSHOT], on_delivery=delivered
                    )
                    break
                except BufferError:
                    self._producer.poll(0.1)
        while len(self._producer) and not failed:
            self._producer.poll(0.1)
        if failed:
            self._producer.purge()
            where, sent = self._settings.kafka.where, sum(map(len, offsets.values()))
            raise UnreachableError(
                f"{where}: {failed[0].str()}: of the last {len(keys):,} events of {self._topic} "
                f"{sent:,} were acknowledged, the others not delivered; {RESUME}"
            )
        return offsets


def _select(topic: str) -> sql.Composed:
    """Return the query of the rows that are no stubs, with the columns of their event."""
    columns = sql.SQL(", ").join(map(sql.Identifier, SCHEMAS[topic]))
    return sql.SQL("SELECT {} FROM {} WHERE name IS NOT NULL ORDER BY {}").format(
        columns, sql.Identifier(topic), sql.Identifier(ID_FIELD[topic])
    )


def publish_missing(settings: Settings, stop: threading.Event) -> dict[str, int]:
    """Publish the customers and products that the topics lack; return the numbers of events.

    Args:
        settings: where PostgreSQL and Kafka are.
        stop: ends the work early; what is left is published by the next run.

    Raises:
        UnreachableError: if Kafka does not answer.
        JangteoError: if a topic is missing or a server refuses.
    """
    kafka.wait_until_up(settings.kafka)
    published = {}
    limit = {"message.timeout.ms": int(ANSWER_S * 1000)}
    producer = kafka.producer(settings.kafka, "profiles", **limit)
    with _bar() as bar:
        for topic in TOPICS_OF_PROFILES:
            try:
                with postgres.connection(settings.postgres, "profiles") as conn:
                    total = _count(conn, topic)
                task = bar.add_task(topic, total=total)
                done = Profiles(settings, topic, producer, stop).publish(
                    lambda n, task=task: bar.advance(task, n)  # type: ignore[misc]  # mypy cannot infer the type of a lambda with a default
                )
            except KafkaException as e:
                raise UnreachableError(
                    f"{settings.kafka.where}: {e.args[0].str()}; {RESUME}"
                ) from None
            except psycopg.Error as e:
                raise client_errors.kind(e)(
                    f"{settings.postgres.where}: {first_line(e)}; {RESUME}"
                ) from None
            published[topic] = done
    return published


def _count(conn: Connection, topic: str) -> int:
    row = conn.execute(sql.SQL("SELECT count(created_at) FROM {}").format(sql.Identifier(topic)))
    (count,) = row.fetchone() or (0,)
    return int(count)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), disable=not sys.stderr.isatty(),
    )  # fmt: skip


def originals(settings: Settings, topic: str, timeout: float) -> int:
    """Return how many of a topic's events do not repeat a row, counted in one reading.

    All events less the copies would be below zero while copies are being published.

    Raises:
        KafkaException: if Kafka does not answer within `timeout` seconds.
    """
    messages = kafka.read(settings.kafka, topic, timeout=timeout)
    return sum(SNAPSHOT not in (message.headers() or ()) for message in messages)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add nothing: what is missing decides."""
    del parser


def run(args: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001  (every command has both)
    """Publish what is missing."""
    announce.servers_in_production(settings, "postgres", "kafka")
    return report(settings, command.stop_on_signals())


def report(settings: Settings, stop: threading.Event) -> ExitCode:
    """Publish what is missing, log the numbers, and return the exit code."""
    began = time.monotonic()
    published = publish_missing(settings, stop)
    seconds = round(time.monotonic() - began, 2)
    if stop.is_set():
        get_logger().warning(f"stopped: {RESUME}", **published)
        return ExitCode.FAILED
    get_logger().info("customers and products published", **published, seconds=seconds)
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(
        command.main(configure, run, prog="python -m generators.profiles", description=__doc__)
    )
