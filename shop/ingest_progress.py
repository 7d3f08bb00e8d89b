"""The progress of the ingest, which health, metrics, doctor, console and `up` show.

For each partition: the end of the log as a read_committed consumer sees it, minus the offset that
PostgreSQL has applied; how long it has waited; which member of the group has it, and whether that
is an ingest of this shop. The group's commits in Kafka follow PostgreSQL and prove nothing: any
consumer that joins the group commits there too.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as NotYetError
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

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
from shop.kafka.daemon_pool import DaemonPool
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
from shop.postgres.deadline import Deadline, shut_down
from shop.redis import cache
from shop.retry import first_line
from shop.settings import Settings

if TYPE_CHECKING:
    import redis

LOOK_S: Final = 5.0
"""Longest time that one look waits for a server, seconds."""
ROUND_TRIPS: Final = 250
"""Round trips to PostgreSQL after which a message that the ingest has read is stored, at most:
the 125 of the transaction under way, of eight batches of orders, and those of its own."""
_ANSWERS: Final = 5
_SOON_S: Final = 1.0
"""Seconds for which a look waits for a new answer of PostgreSQL where the last one may do."""
_CUT_S: Final = 0.2
_OLD_S: Final = 10.0
"""Age at which it may do no more, unless its successor takes longer than a third of this."""


@dataclass(frozen=True)
class _Applied:
    offset: int
    age_s: float


_Database: TypeAlias = tuple[Mapping[tuple[str, str, int], _Applied], str]
"""What PostgreSQL has applied, and why that is not known if so."""


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

    The bound is `INGEST_STALL_AFTER`, and longer where PostgreSQL answers late: at 2 s an answer,
    the ingest's transactions take minutes, and a partition that waits for one is not stuck.

    What the servers are asked at once is asked by threads that live until `close`: five new ones
    for each look took longer than some of the answers.

    Args:
        settings: addresses of Kafka and PostgreSQL, and `INGEST_STALL_AFTER`.
        name: name of the clients in the servers' lists.
        patient: whether there will be more looks; waits then begin with the first one.
        commits: whether to ask for what the groups have committed in Kafka, too.
        ahead: whether looks take PostgreSQL's last answer while the next one is late, so that a
            slow database makes no look slow.
        timeout: seconds that each server gets to answer.
        monotonic: seconds of a clock that never steps.

    Attributes:
        timeout: as given; may be set between two looks.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        *,
        patient: bool = False,
        commits: bool = True,
        ahead: bool = False,
        timeout: float = LOOK_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._name = name
        self._patient = patient
        self.timeout = timeout
        self._monotonic = monotonic
        self._admin: AdminClient | None = None
        self._commits = CommittedOffsets(settings.kafka, name) if commits else None
        self._conn: Connection | None = None
        self._redis: redis.Redis | None = None
        self._ahead = ahead
        self._pool: DaemonPool | None = None
        self._asked: tuple[Future[_Database], float] | None = None
        self._last: tuple[_Database, float] | None = None
        self._answers_s: deque[float] = deque(maxlen=_ANSWERS)
        """Seconds in which PostgreSQL answered lately; the shortest of them is its way alone."""
        self._seen: dict[tuple[str, int], _Seen] = {}

    def close(self) -> None:
        """Close all connections."""
        if self._commits is not None:
            self._commits.close()
        if self._redis is not None:
            self._redis.close()
        if self._asked is None:
            self._disconnect()
        elif self._conn is not None:
            shut_down(self._conn)  # the thread that waits for it closes it
        if self._pool is not None:
            self._pool.close()
        self._pool = None

    @property
    def admin(self) -> AdminClient:
        """The client that asks Kafka, for those who want to know more of the same cluster."""
        if self._admin is None:
            self._admin = kafka.admin(self._settings.kafka, self._name)
        return self._admin

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
        client, timeout = self.admin, self.timeout
        pool = self._pool = self._pool or DaemonPool(3, "progress")
        if self._asked is None:
            self._asked = pool.submit(self._database), self._monotonic()
        asked: list[Future[Any]] = []
        try:  # the waits take as long as the longest of them
            infos = kafka.describe_topics(client, names, timeout)
            keys = [(n, p) for n, info in infos.items() for p in range(info.partitions)]
            asked.append(members := pool.submit(groups.describe, client, infos, timeout))
            asked.append(begins := pool.submit(self._offsets, client, keys, "earliest"))
            commits = self._committed(infos, keys)
            applied, away = self._answer(*self._asked)
            slow_s = ROUND_TRIPS * min(self._answers_s, default=0.0)
            bound = self._settings.ingest_stall_after + slow_s
            # The ends are read last: no partition then seems applied beyond its end.
            ends = self._offsets(client, keys, "latest")
            low, described = begins.result(), members.result()
        finally:
            wait(asked)  # the next look has the same connections
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
        found = ProgressReport(topics, (), away, bound, slow_s)
        return replace(found, waits=self._reasons()) if found.troubles() else found

    def _committed(
        self, infos: Mapping[str, TopicInfo], keys: Sequence[Key]
    ) -> dict[str, Committed | KafkaException]:
        if self._commits is None:
            return {}
        asked = {GROUPS[name]: [key for key in keys if key[0] == name] for name in infos}
        return self._commits.read(asked, self.timeout)

    def _offsets(
        self, client: AdminClient, keys: Sequence[Key], which: Literal["earliest", "latest"]
    ) -> dict[Key, int]:
        spec = getattr(OffsetSpec, which)()
        return kafka.list_offsets(client, keys, spec, self.timeout) if keys else {}

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
        newer = kafka.list_offsets(client, asked, spec, self.timeout)
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

    def _answer(self, asked: Future[_Database], since: float) -> _Database:
        """Return PostgreSQL's answer, or its last one while that may do.

        A silent one is cut off: `statement_timeout` is the server's, and one that was stopped does
        not look at it.

        Args:
            asked: for the answer.
            since: when.
        """
        now, last = self._monotonic(), self._last
        usual = max(self._answers_s, default=0.0)
        fresh = last is not None and now - last[1] < max(_OLD_S, 3 * usual)
        try:
            answer = asked.result(min(_SOON_S, self.timeout) if self._ahead and fresh else
                                  max(0.0, since + self.timeout - now))  # fmt: skip
        except NotYetError:
            if self._ahead and fresh and last is not None:
                return last[0]
            if self._ahead and self._conn is None:
                return {}, f"PostgreSQL has not answered for {now - since:.0f} s"
            while not asked.done():
                if (conn := self._conn) is not None:  # making one has a time-out of its own
                    shut_down(conn)
                wait([asked], _CUT_S)
            answer = asked.result()
        self._asked = None
        self._last = answer, now
        return answer

    def _database(self) -> _Database:
        """Return the applied offsets, and why they are not known if so."""
        try:
            if self._conn is None or self._conn.closed:
                self._conn = postgres.connect(
                    self._settings.postgres, self._name, autocommit=True,
                    timeout=max(2, math.ceil(self.timeout)),
                    limits={"statement_timeout": f"{int(self.timeout * 1000)}"},
                )  # fmt: skip
            began = self._monotonic()
            rows = self._conn.execute(
                "SELECT topic, log_id, partition, next_offset,"
                " extract(epoch FROM now() - updated_at)::float8 FROM ingest_offsets"
            ).fetchall()
            self._answers_s.append(self._monotonic() - began)
            return {(t, log, p): _Applied(o, age) for t, log, p, o, age in rows}, ""
        except (JangteoError, psycopg.Error) as e:
            self._disconnect()
            return {}, f"PostgreSQL does not say what it has applied: {first_line(e)}"

    def _reasons(self) -> tuple[str, ...]:
        """Return why the ingest waits, as far as PostgreSQL and the heartbeats say."""
        found: list[str] = []
        if self._conn is not None and self._asked is None:
            try:
                with Deadline(self._conn, self.timeout):
                    found += blockers.reasons(self._conn)
            except psycopg.Error:
                self._disconnect()
        try:
            if self._redis is None:
                self._redis = cache.optional_client(self._settings)
            found += blockers.said(self._redis) if self._redis is not None else ()
        except (JangteoError, RedisError):
            pass
        return tuple(found)


def _holders(group: ConsumerGroup, topic: str, count: int) -> list[Holder]:
    if group.members is None or group.moves:
        return ["unknown"] * count
    found: list[Holder] = ["none"] * count
    for member in group.members:
        for p in member.partitions:
            if p < count:
                found[p] = "ours" if is_ours(member, topic) else "foreign"
    return found
