"""The start offsets: those that PostgreSQL has applied, for this incarnation of a topic.

A topic is known by its `log_id` (cluster id and topic id). One that was deleted and created again,
or lives in a cluster whose disks were replaced, has another: its offsets begin at 0 again and are
counted apart, so nothing is skipped and nothing refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event
from typing import TypeVar

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec  # `admin` does not declare it

from flows.metrics import KAFKA, POSTGRES, IngestMetrics
from shop import kafka, postgres
from shop.errors import JangteoError
from shop.kafka import TopicInfo
from shop.postgres.patience import patient
from shop.postgres.sqlstate import Verdict, explain, judge
from shop.retry import NotAwaitedError, Outage, Patience, Refusal, while_wanted
from shop.settings import PostgresSettings

Result = TypeVar("Result")


class StoppedError(Exception):
    """The process is asked to end."""


class LostOffsetsError(JangteoError):
    """The log no longer has messages that PostgreSQL has not got."""


def lost_offsets(topic: str, partition: int, wanted: int, low: int, high: int) -> LostOffsetsError:
    """Return what stops the ingest: how many offsets are missing, and what to do.

    Args:
        topic: its name.
        partition: its number.
        wanted: the next offset to read.
        low: where the log begins.
        high: where it ends.
    """
    gone = (
        f"the log begins at {low}: {low - wanted} offsets were removed before they were read "
        "(retention?); raise retention.ms"
        if wanted < low
        else f"the log ends at {high}: the brokers lost {wanted - high} offsets "
        "(an unclean election?)"
    )
    return LostOffsetsError(
        f"{topic}[{partition}]: PostgreSQL has applied up to offset {wanted}, but {gone}. `jangteo "
        f"topics accept-loss {topic}` shows what is lost and lets the ingest continue without it"
    )


class StartOffsets:
    """Reads, and registers, the offsets of partitions; waits for servers that are away.

    Args:
        topic: users, products or orders.
        settings: where PostgreSQL is.
        admin: makes a client that asks for the topic's identity.
        stop: ends the waiting.
        metrics: records outages.
    """

    def __init__(
        self,
        topic: str,
        settings: PostgresSettings,
        admin: Callable[[], AdminClient],
        stop: Event,
        metrics: IngestMetrics,
    ) -> None:
        self._topic = topic
        self._settings = settings
        self._make_admin = admin
        self._admin: AdminClient | None = None
        self._patience = Patience(kafka.ASK_S, kafka.LONGEST_ASK_S)
        self._stop = stop
        self._outages = {
            KAFKA: Outage("Kafka", metrics.watch(KAFKA), topic=topic),
            POSTGRES: Outage(settings.where, metrics.watch(POSTGRES), topic=topic),
        }
        self._refusal = Refusal(settings.where, metrics.watch(POSTGRES), topic=topic)

    def topic(self) -> TopicInfo:
        """Return the topic as it is now.

        Raises:
            StoppedError: if asked to end while Kafka is away, or the topic not there.
        """
        return self._persist(self._outages[KAFKA], self._ask_topic)

    def bounds(self, partition: int) -> tuple[int, int]:
        """Return the first and the next offset of a partition's log.

        Raises:
            StoppedError: if asked to end while Kafka is away.
        """
        return self._persist(self._outages[KAFKA], lambda: self._ask_bounds(partition))

    def load(self, log_id: str, partitions: Sequence[int]) -> dict[int, int]:
        """Return the next offset of each partition, 0 for one that was never read.

        A table, a column or a right that is missing is reported and waited for, as by the writer.

        Raises:
            StoppedError: if asked to end while PostgreSQL is away, or refuses to say.
        """
        return self._persist(self._outages[POSTGRES], lambda: self._register(log_id, partitions))

    def _ask_topic(self) -> TopicInfo:
        found = self._asking(
            lambda client: kafka.describe_topics(client, [self._topic], self._patience.seconds)
        )
        if self._topic not in found:
            raise LookupError(f"there is no topic {self._topic!r} (`jangteo init` creates it)")
        return found[self._topic]

    def _ask_bounds(self, partition: int) -> tuple[int, int]:
        key = (self._topic, partition)

        def ask(client: AdminClient) -> tuple[int, int]:
            earliest, latest = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]  # confluent_kafka has no types there
            within = self._patience.seconds
            low = kafka.list_offsets(client, [key], earliest, within)[key]
            return low, kafka.list_offsets(client, [key], latest, within)[key]

        return self._asking(ask)

    def _asking(self, ask: Callable[[AdminClient], Result]) -> Result:
        client = self._admin = self._admin or self._make_admin()
        try:
            with self._patience.waiting():
                return while_wanted(lambda: ask(client), self._stop.is_set)
        except NotAwaitedError:
            raise StoppedError from None
        except KafkaException:
            # It may wait for a controller that is no more: librdkafka remembers which broker that
            # was, and a container that was killed took its name with it. Asking with the same
            # client lasted 76 s.
            self._admin = None
            raise

    def _register(self, log_id: str, partitions: Sequence[int]) -> dict[int, int]:
        with (
            postgres.connect_unless(
                self._stop.is_set, self._settings, f"positions-{self._topic}"
            ) as conn,
            patient(conn, self._settings),
        ):
            key = (self._topic, log_id, list(partitions))
            conn.execute(
                "INSERT INTO ingest_offsets (topic, log_id, partition, next_offset)"
                " SELECT %s, %s, p, 0 FROM unnest(%s::int[]) AS p ORDER BY p"
                " ON CONFLICT DO NOTHING",
                key,
            )
            rows = conn.execute(
                "SELECT partition, next_offset FROM ingest_offsets"
                " WHERE topic = %s AND log_id = %s AND partition = ANY(%s)",
                key,
            )
            return dict(rows.fetchall())

    def _persist(self, outage: Outage, ask: Callable[[], Result]) -> Result:
        while not self._stop.is_set():
            try:
                answer = ask()
            except psycopg.Error as e:
                verdict = judge(e)
                if verdict is Verdict.STOP:
                    raise
                if verdict is Verdict.RETRY:
                    self._stop.wait(outage.failed(e))
                else:
                    self._stop.wait(self._refusal.failed(JangteoError(explain(e))))
            except (KafkaException, LookupError) as e:
                self._stop.wait(outage.failed(e))
            else:
                outage.over()
                self._refusal.over()
                return answer
        raise StoppedError
