"""Kafka: lag per partition with its verdict, rates, members."""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource  # `admin` does not declare these
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.admin._metadata import ClusterMetadata

from console import sentences as say
from console import verdict
from console.model import Kafka, Member, Partition, Topic
from console.reading import Rate
from console.sources import READ_DEADLINE_S, Where
from shop import groups, kafka
from shop.commits import Commits
from shop.kafka import Key
from shop.model import GROUPS

MEMBERS_EVERY: Final = 5
"""Reads between two looks at the groups' members, who change rarely."""
GRACE_S: Final = 2.0
"""Messages of so many seconds may be on their way without being a lag worth a word."""


class KafkaSource:
    """Reads offsets of all topics in a handful of batched requests.

    Commits are read before ends, so a lag is never negative because of the order of reading.

    Args:
        where: the cluster is.
        monotonic: seconds of a clock that never steps.
    """

    name = "kafka"

    def __init__(
        self,
        where: Where,
        *,
        interval: float = 2.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.interval = interval
        self._where = where
        self._monotonic = monotonic
        self._admin: AdminClient | None = None
        self._commits: Commits | None = None
        self._windows: dict[Key, deque[verdict.Sample]] = defaultdict(
            lambda: deque(maxlen=verdict.WINDOW)
        )
        self._log_ids: dict[str, str] = {}
        self._members: dict[str, tuple[Member, ...] | None] = {}
        self._min_in_sync: dict[str, int] = {}
        self._reads = 0

    def read(self) -> Kafka:
        """Return offsets and verdicts.

        Raises:
            KafkaException: if the cluster does not answer.
        """
        if self._admin is None:
            self._admin = kafka.admin(self._where.settings.kafka, "console")
        if self._commits is None:
            self._commits = Commits(self._where.settings.kafka, "console-commits")
        admin = self._admin
        metadata = admin.list_topics(timeout=READ_DEADLINE_S)
        counts = {
            name: len(metadata.topics[name].partitions)
            for name in GROUPS
            if name in metadata.topics and metadata.topics[name].error is None
        }
        if self._reads % MEMBERS_EVERY == 0:
            self._look_at_groups(admin, counts)
        committed, errors = self._committed(self._commits, counts)
        keys = [(name, p) for name, n in counts.items() for p in range(n)]
        low, ends = self._offsets(admin, keys)
        now = self._monotonic()
        for key in keys:
            self._append(key, verdict.Sample(now, ends[key], committed.get(key), low.get(key, 0)))
        self._reads += 1
        found = tuple(
            self._topic(name, counts.get(name), errors.get(name)) for name in sorted(GROUPS)
        )
        return cluster(metadata, self._min_in_sync, found)

    def reset(self) -> None:
        """Let the clients go; an admin client has nothing to close."""
        if self._commits is not None:
            self._commits.close()
        self._admin = self._commits = None
        self._reads = 0  # whatever comes back may be another cluster

    def _append(self, key: Key, sample: verdict.Sample) -> None:
        window = self._windows[key]
        if window and sample.end < window[-1].end:  # the topic was made anew
            window.clear()
        window.append(sample)

    def _look_at_groups(self, admin: AdminClient, counts: Mapping[str, int]) -> None:
        """See who consumes, and forget the samples of topics that were made anew."""
        for name, info in kafka.describe_topics(admin, counts).items():
            if self._log_ids.get(name, info.log_id) != info.log_id:
                for key in [k for k in self._windows if k[0] == name]:
                    del self._windows[key]
            self._log_ids[name] = info.log_id
        for name in counts:
            members = groups.members(admin, GROUPS[name], name, READ_DEADLINE_S)
            self._members[name] = (
                None
                if members is None
                else tuple(
                    Member(client_id=m.client_id, host=m.host, partitions=m.partitions)
                    for m in members
                )
            )
        self._min_in_sync = _min_in_sync(admin, counts)

    def _committed(
        self, commits: Commits, counts: Mapping[str, int]
    ) -> tuple[dict[Key, int], dict[str, str]]:
        """Return commits, and errors by topic: one group's error does not hide the others."""
        asked = {GROUPS[name]: [(name, p) for p in range(n)] for name, n in counts.items()}
        answers = commits.read(asked, READ_DEADLINE_S)
        found: dict[Key, int] = {}
        errors: dict[str, str] = {}
        for name in counts:
            answer = answers[GROUPS[name]]
            if isinstance(answer, KafkaException):
                errors[name] = answer.args[0].str()
            else:
                found |= answer
        return found, errors

    def _offsets(
        self, admin: AdminClient, keys: list[Key]
    ) -> tuple[dict[Key, int], dict[Key, int]]:
        """Return the oldest and the next offset of each partition."""
        if not keys:
            return {}, {}
        earliest, latest = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]  # confluent_kafka has no types there
        low = kafka.list_offsets(admin, keys, earliest, READ_DEADLINE_S)
        return low, kafka.list_offsets(admin, keys, latest, READ_DEADLINE_S)

    def _topic(self, name: str, count: int | None, error: str | None) -> Topic:
        group = GROUPS[name]
        if count is None:
            return Topic(name=name, group=group, error=say.NO_TOPIC())
        partitions = tuple(partition(p, tuple(self._windows[name, p])) for p in range(count))
        lag = verdict.total_lag(p.lag for p in partitions)
        published = verdict.total(p.published for p in partitions)
        taken = verdict.total(p.taken for p in partitions)
        return Topic(
            name=name,
            group=group,
            partitions=partitions,
            members=self._members.get(name),
            lag=lag,
            published=published,
            taken=taken,
            verdict=verdict.worst(p.verdict for p in partitions),
            drain_s=verdict.drain_s(lag, published, taken),
            error=error,
        )


def cluster(
    metadata: ClusterMetadata, min_in_sync: Mapping[str, int], found: tuple[Topic, ...]
) -> Kafka:
    """Return what the metadata say of the brokers and of the replicas of the shop's topics.

    Args:
        metadata: of the whole cluster.
        min_in_sync: `min.insync.replicas` by topic, where it is known.
        found: the shop's topics.
    """
    described = {t.name: metadata.topics[t.name] for t in found if t.partitions}
    placed = [(name, p) for name, t in described.items() for p in t.partitions.values()]
    known = bool(placed) and set(described) <= set(min_in_sync)
    return Kafka(
        brokers=len(metadata.brokers),
        topics=found,
        away=tuple(sorted({b for _, p in placed for b in p.replicas} - set(metadata.brokers))),
        out_of_sync=sum(len(p.isrs) < len(p.replicas) for _, p in placed),
        below_min=sum(len(p.isrs) < min_in_sync[n] for n, p in placed) if known else None,
    )


def _min_in_sync(admin: AdminClient, names: Iterable[str]) -> dict[str, int]:
    """Return `min.insync.replicas` of those topics of which the cluster says it."""
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    if not resources:
        return {}
    futures = admin.describe_configs(resources, request_timeout=READ_DEADLINE_S)
    found: dict[str, int] = {}
    for resource, future in futures.items():
        try:
            entry = future.result().get("min.insync.replicas")
        except KafkaException:  # not allowed, or not known there
            continue
        if entry is not None and entry.value is not None:
            found[resource.name] = int(entry.value)
    return found


def partition(number: int, window: tuple[verdict.Sample, ...]) -> Partition:
    """Return what the samples of a partition, oldest first, say of it.

    >>> from console.verdict import Sample
    >>> p = partition(0, (Sample(0.0, 10, 10), Sample(2.0, 30, 20)))
    >>> p.lag, p.published.per_s, p.taken.per_s, p.verdict.value
    (10, 10.0, 5.0, 'ok')
    """
    if not window:
        return Partition(partition=number)
    last = window[-1]
    before = window[-2] if len(window) > 1 else None
    published = taken = Rate()
    if before is not None:
        elapsed = last.at - before.at
        published = verdict.rate(before.end, last.end, elapsed)
        taken = verdict.rate(before.committed, last.committed, elapsed)
    lag = verdict.lag_of(last.end, last.committed)
    allowed = math.ceil(GRACE_S * (published.per_s or 0.0))
    return Partition(
        partition=number,
        low=last.low,
        end=last.end,
        committed=last.committed,
        lag=lag,
        skew=max(0, (last.committed or 0) - last.end),
        lost=verdict.lost(last.low, last.committed),
        published=published,
        taken=taken,
        verdict=verdict.judge(window, allowed),
        drain_s=verdict.drain_s(lag, published, taken),
    )
