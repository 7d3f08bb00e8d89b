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
from confluent_kafka.admin._metadata import ClusterMetadata

from console import rules
from console import translations as msg
from console.snapshot.model import Kafka, Member, Partition, Topic
from console.snapshot.reading import Rate
from console.sources import LONGEST_DEADLINE_S, CurrentSettings
from console.translations import of_trouble
from shop import kafka
from shop.events import CONTRACTS, GROUPS, TOPICS
from shop.ingest_progress import ProgressReader
from shop.kafka import Key
from shop.kafka.progress import PartitionProgress, TopicProgress

CONFIGS_EVERY: Final = 5
"""Reads between two looks at the topics' configuration, which rarely changes."""
GRACE_S: Final = 2.0
"""Seconds' worth of messages that may be on their way without counting as a lag."""


class TopicsSource:
    """Reads the progress of all topics in a handful of batched requests.

    Args:
        current: the servers are.
        commits: whether to read what the groups have committed in Kafka.
        monotonic: seconds of a clock that never steps.
    """

    name = "kafka"

    def __init__(
        self,
        current: CurrentSettings,
        *,
        interval: float = 2.0,
        commits: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.interval = interval
        self.deadline = LONGEST_DEADLINE_S
        self._current = current
        self._commits = commits
        self._monotonic = monotonic
        self._progress: ProgressReader | None = None
        self._windows: dict[Key, deque[rules.PartitionSample]] = defaultdict(
            lambda: deque(maxlen=rules.WINDOW)
        )
        self._log_ids: dict[str, str] = {}
        self._min_in_sync: dict[str, int] = {}
        self._reads = 0

    def read(self) -> Kafka:
        """Return offsets and verdicts.

        Raises:
            KafkaException: if the cluster does not answer.
        """
        settings = self._current.settings
        if self._progress is None:
            # A client waits for all of its deadline where nothing listens; this one fails soon.
            kafka.wait_until_up(settings.kafka, self.deadline)
            self._progress = ProgressReader(
                settings, "console", commits=self._commits, ahead=True, monotonic=self._monotonic
            )
        self._progress.timeout = self.deadline
        metadata = self._progress.admin.list_topics(timeout=self.deadline)
        look = self._progress.look(tuple(CONTRACTS))
        if self._reads % CONFIGS_EVERY == 0:
            self._min_in_sync = _min_in_sync(self._progress.admin, look.topics, self.deadline)
        self._reads += 1
        now = self._monotonic()
        for name, topic in look.topics.items():
            self._take(name, topic, now)
        troubles = look.troubles()
        found = tuple(
            self._topic(name, look.topics.get(name), troubles.get(name, ()), look.slow_s)
            for name in sorted({*TOPICS, *look.topics})
        )
        return cluster(metadata, self._min_in_sync, found)

    def reset(self) -> None:
        """Close the connections."""
        if self._progress is not None:
            self._progress.close()
        self._progress = None
        self._reads = 0  # the next one may be another cluster

    def _take(self, name: str, topic: TopicProgress, now: float) -> None:
        """Append a sample of each partition; those of a topic that was recreated begin again."""
        if self._log_ids.get(name, topic.info.log_id) != topic.info.log_id:
            for key in [k for k in self._windows if k[0] == name]:
                del self._windows[key]
        self._log_ids[name] = topic.info.log_id
        for p in topic.partitions:
            window = self._windows[name, p.partition]
            window.append(rules.PartitionSample(now, p.end, p.applied, p.begin))
            while now - window[0].at > rules.WINDOW_S:
                window.popleft()

    def _topic(
        self, name: str, seen: TopicProgress | None, troubles: tuple[str, ...], slow_s: float
    ) -> Topic:
        group = GROUPS[name]
        if seen is None:
            return Topic(name=name, group=group, error=msg.NO_TOPIC())
        partitions = tuple(
            partition(p, tuple(self._windows[name, p.partition]), slow_s) for p in seen.partitions
        )
        lag = rules.total_lag(p.lag for p in partitions)
        published = rules.total(p.published for p in partitions)
        taken = rules.total(p.taken for p in partitions)
        members = seen.members
        return Topic(
            name=name,
            group=group,
            partitions=partitions,
            members=None
            if members is None
            else tuple(
                # Kafka writes the host as Java does an address without a name: "/127.0.0.1".
                Member(client_id=m.client_id, host=m.host.lstrip("/"), partitions=m.partitions)
                for m in members
            ),
            lag=lag,
            published=published,
            taken=taken,
            verdict=rules.worst(p.verdict for p in partitions),
            drain_s=rules.drain_s(lag, published, taken),
            error=seen.error or None,
            troubles=tuple(map(of_trouble, troubles)),
        )


def cluster(
    metadata: ClusterMetadata, min_in_sync: Mapping[str, int], found: tuple[Topic, ...]
) -> Kafka:
    """Return what the metadata contain about the brokers and the replicas of the shop's topics.

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


def _min_in_sync(admin: AdminClient, names: Iterable[str], timeout: float) -> dict[str, int]:
    """Return `min.insync.replicas` of the topics for which the cluster gives it in time."""
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    if not resources:
        return {}
    futures = admin.describe_configs(resources, request_timeout=timeout)
    found: dict[str, int] = {}
    for resource, future in futures.items():
        try:
            entry = future.result().get("min.insync.replicas")
        except KafkaException:  # not allowed, or not known there
            continue
        if entry is not None and entry.value is not None:
            found[resource.name] = int(entry.value)
    return found


def partition(
    seen: PartitionProgress, window: tuple[rules.PartitionSample, ...], slow_s: float = 0.0
) -> Partition:
    """Return what the samples of a partition, oldest first, say of it.

    Args:
        seen: its offsets.
        window: samples, oldest first.
        slow_s: seconds for which a slow database may keep it from advancing.

    >>> from console.rules import PartitionSample
    >>> seen = PartitionProgress(0, begin=0, end=30, committed=20, applied=20)
    >>> p = partition(seen, (PartitionSample(0.0, 10, 10), PartitionSample(2.0, 30, 20)))
    >>> p.lag, p.published.per_s, p.taken.per_s, p.verdict.value
    (10, 10.0, 5.0, 'ok')
    """
    last = window[-1]
    before = window[-2] if len(window) > 1 else None
    published = taken = Rate()
    if before is not None:
        elapsed = last.at - before.at
        published = rules.rate(before.end, last.end, elapsed)
        taken = rules.rate(before.applied, last.applied, elapsed)
    allowed = math.ceil(GRACE_S * (published.per_s or 0.0))
    return Partition(
        partition=seen.partition,
        low=seen.begin,
        end=seen.end,
        committed=seen.committed,
        applied=seen.applied,
        lag=seen.pending,
        skew=max(0, (seen.applied or 0) - seen.end),
        lost=seen.lost,
        waits_s=seen.waits_s,
        holder=seen.holder,
        published=published,
        taken=taken,
        verdict=rules.judge(window, allowed, slow_s),
        drain_s=rules.drain_s(seen.pending, published, taken),
    )
