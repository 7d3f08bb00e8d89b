"""The progress of the ingest, which health, metrics, doctor, console and `up` show.

For each partition: the end of the log as a read_committed consumer sees it, minus the offset that
PostgreSQL has applied; how long it has waited; which member of the group has it, and whether that
is an ingest of this shop. The group's commits in Kafka follow PostgreSQL and prove nothing: any
consumer that joins the group commits there too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec  # `admin` does not declare it
from redis.exceptions import RedisError

from shop import kafka, postgres
from shop.clock import utc_now
from shop.errors import JangteoError
from shop.events import CONTRACTS, GROUPS
from shop.kafka import Key, TopicInfo, groups
from shop.kafka.committed_offsets import Committed, CommittedOffsets
from shop.kafka.groups import ConsumerGroup
from shop.kafka.progress import (
    REBALANCE_S,
    Holder,
    PartitionProgress,
    ProgressReport,
    TopicProgress,
    is_ours,
)
from shop.postgres import Connection, blockers
from shop.redis import cache
from shop.retry import first_line
from shop.settings import Settings

if TYPE_CHECKING:
    import redis

LOOK_S: Final = 5.0
"""Longest time that one look waits for a server, seconds."""


@dataclass(frozen=True)
class _Applied:
    offset: int
    age_s: float


@dataclass
class _Seen:
    """State of a partition between looks; monotonic seconds."""

    applied: int | None
    advanced_at: float
    held_at: float


class ProgressReader:
    """Reads the ingest's progress; remembers since when a partition waits.

    A single look has no memory: a partition then counts as waiting if PostgreSQL's clock
    says that it has not advanced for the bound, and Kafka that its next message is older, too.

    Args:
        settings: addresses of Kafka and PostgreSQL, and `INGEST_STALL_AFTER`.
        name: name of the clients in the servers' lists.
        patient: whether there will be more looks; waits then begin with the first one.
        commits: whether to ask for what the groups have committed in Kafka, too.
        timeout: seconds that each server gets to answer.
        monotonic: seconds of a clock that never steps.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        *,
        patient: bool = False,
        commits: bool = True,
        timeout: float = LOOK_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._name = name
        self._patient = patient
        self._timeout = timeout
        self._monotonic = monotonic
        self._admin: AdminClient | None = None
        self._commits = CommittedOffsets(settings.kafka, name) if commits else None
        self._conn: Connection | None = None
        self._redis: redis.Redis | None = None
        self._seen: dict[tuple[str, int], _Seen] = {}

    def close(self) -> None:
        """Close all connections."""
        if self._commits is not None:
            self._commits.close()
        if self._redis is not None:
            self._redis.close()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._conn is not None:
            self._conn.close()
        self._conn = None

    def look(self, names: Sequence[str] = tuple(CONTRACTS)) -> ProgressReport:
        """Return the progress of the ingest of those of the topics that exist.

        If PostgreSQL is away, the look reports it and leaves its columns unknown.

        Raises:
            KafkaException: if the cluster does not answer.
        """
        try:
            return self._look(names)
        except KafkaException:
            self._admin = None  # see `shop.kafka.groups`: it cancels its open requests
            raise

    def _look(self, names: Sequence[str]) -> ProgressReport:
        if self._admin is None:
            self._admin = kafka.admin(self._settings.kafka, self._name)
        client, bound = self._admin, self._settings.ingest_stall_after
        with ThreadPoolExecutor(5) as pool:  # five waits take as long as the longest
            database = pool.submit(self._database)
            said = pool.submit(self._said)
            infos = kafka.describe_topics(client, names, self._timeout)
            keys = [(n, p) for n, info in infos.items() for p in range(info.partitions)]
            members = pool.submit(groups.describe, client, infos, self._timeout)
            begins = pool.submit(self._offsets, client, keys, "earliest")
            commits = self._committed(infos, keys)
            applied, reasons, away = database.result()
            # The ends are read last: no partition then seems applied beyond its end.
            ends = self._offsets(client, keys, "latest")
            low, described = begins.result(), members.result()
        if any(g.members is None for g in described.values()):
            self._admin = None  # see `shop.kafka.groups`
        old = self._old(client, infos, ends, applied, bound)
        topics = {}
        for name, info in infos.items():
            group, commit = described[name], commits.get(GROUPS[name], {})
            holders = _holders(group, name, info.partitions)
            offsets = {} if isinstance(commit, KafkaException) else commit
            partitions = []
            for p in range(info.partitions):
                at = applied.get((name, info.log_id, p))
                made = PartitionProgress(
                    partition=p, begin=low[name, p], end=ends[name, p],
                    committed=offsets.get((name, p)),
                    applied=None if away else at.offset if at else 0,
                    holder=holders[p],
                )  # fmt: skip
                partitions.append(self._timed(info, made, at, bound, old=(name, p) in old))
            topics[name] = TopicProgress(info, tuple(partitions), group.members, group.error)
        return ProgressReport(topics, (*reasons, *said.result()), away, bound)

    def _committed(
        self, infos: Mapping[str, TopicInfo], keys: Sequence[Key]
    ) -> dict[str, Committed | KafkaException]:
        if self._commits is None:
            return {}
        asked = {GROUPS[name]: [key for key in keys if key[0] == name] for name in infos}
        return self._commits.read(asked, self._timeout)

    def _offsets(
        self, client: AdminClient, keys: Sequence[Key], which: Literal["earliest", "latest"]
    ) -> dict[Key, int]:
        spec = getattr(OffsetSpec, which)()
        return kafka.list_offsets(client, keys, spec, self._timeout) if keys else {}

    def _old(
        self,
        client: AdminClient,
        infos: Mapping[str, TopicInfo],
        ends: Mapping[Key, int],
        applied: Mapping[tuple[str, str, int], _Applied],
        bound: float,
    ) -> set[Key]:
        """Return the partitions, of those never seen, whose next message is older than the bound.

        A single look has only the clocks: PostgreSQL's for when a partition advanced, and the
        producers' for when its next message was published.
        """
        asked: list[Key] = []
        for (name, p), end in ends.items():
            log_id = infos[name].log_id
            at = applied.get((name, log_id, p), _Applied(0, float("inf")))
            if (log_id, p) not in self._seen and end > at.offset and at.age_s > bound:
                asked.append((name, p))
        if not asked or self._patient:
            return set()
        since = int((utc_now().timestamp() - bound) * 1000)
        spec = OffsetSpec.for_timestamp(since)
        newer = kafka.list_offsets(client, asked, spec, self._timeout)
        none = _Applied(0, 0.0)
        return {
            (n, p)
            for (n, p), first in newer.items()
            if first < 0 or first > applied.get((n, infos[n].log_id, p), none).offset
        }

    def _timed(
        self, info: TopicInfo, p: PartitionProgress, at: _Applied | None, bound: float, *, old: bool
    ) -> PartitionProgress:
        now = self._monotonic()
        seen = self._seen.get((info.log_id, p.partition))
        if seen is None:
            first_wait = max(at.age_s if at else 0.0, bound + 1) if old else 0.0
            unheld = 0.0 if self._patient else REBALANCE_S + 1
            seen = _Seen(p.applied, now - first_wait, now - unheld)
            self._seen[info.log_id, p.partition] = seen
        if p.pending == 0 or (p.applied is not None and p.applied != seen.applied):
            seen.advanced_at = now
        if p.applied is not None:
            seen.applied = p.applied
        if p.holder != "none":
            seen.held_at = now
        waits = 0.0 if p.pending == 0 else now - seen.advanced_at
        return PartitionProgress(
            p.partition, p.begin, p.end, p.committed, p.applied, waits, p.holder,
            now - seen.held_at,
        )  # fmt: skip

    # -- PostgreSQL ----------------------------------------------------------------------------

    def _database(self) -> tuple[dict[tuple[str, str, int], _Applied], tuple[str, ...], str]:
        """Return the applied offsets, why the ingest waits, and why neither is known if so."""
        try:
            if self._conn is None or self._conn.closed:
                self._conn = postgres.connect(
                    self._settings.postgres, self._name, autocommit=True,
                    limits={"statement_timeout": f"{int(self._timeout * 1000)}"},
                )  # fmt: skip
            rows = self._conn.execute(
                "SELECT topic, log_id, partition, next_offset,"
                " extract(epoch FROM now() - updated_at)::float8 FROM ingest_offsets"
            ).fetchall()
            applied = {(t, log, p): _Applied(o, age) for t, log, p, o, age in rows}
            return applied, blockers.reasons(self._conn), ""
        except (JangteoError, psycopg.Error) as e:
            self._disconnect()
            return {}, (), f"PostgreSQL does not say what it has applied: {first_line(e)}"

    def _said(self) -> tuple[str, ...]:
        """Return why the ingests wait by their heartbeats; nothing if Redis does not answer."""
        try:
            if self._redis is None:
                self._redis = cache.optional_client(self._settings)
            return blockers.said(self._redis) if self._redis is not None else ()
        except (JangteoError, RedisError):
            return ()


def _holders(group: ConsumerGroup, topic: str, count: int) -> list[Holder]:
    if group.members is None or group.moves:
        return ["unknown"] * count
    found: list[Holder] = ["none"] * count
    for member in group.members:
        for p in member.partitions:
            if p < count:
                found[p] = "ours" if is_ours(member, topic) else "foreign"
    return found
