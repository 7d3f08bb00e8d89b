"""The progress of the ingest of each topic, and its problems, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from shop.errors import Trouble
from shop.events import GROUPS
from shop.kafka.groups import GroupMember
from shop.kafka.topics import TopicInfo
from shop.output import escape

REBALANCE_S: Final = 20.0
"""Longest time that a rebalance leaves partitions without a member: a session of 6 s and a join."""

Holder = Literal["ours", "foreign", "none", "unknown"]


@dataclass(frozen=True)
class PartitionProgress:
    """The offsets of one partition; None where an offset is not known.

    Attributes:
        partition: its number.
        begin: offset of the oldest message kept.
        end: offset after the newest message that a read_committed consumer is given.
        committed: the group's commit in Kafka, written after the PostgreSQL commit.
        applied: the offset that PostgreSQL has applied (`ingest_offsets`), which is authoritative.
        waits_s: seconds for which it has had a lag without advancing; 0 without a lag.
        holder: whether an ingest of this shop holds it.
        unheld_s: seconds for which no ingest of this shop has held it.
    """

    partition: int
    begin: int
    end: int
    committed: int | None = None
    applied: int | None = None
    waits_s: float = 0.0
    holder: Holder = "unknown"
    unheld_s: float = 0.0

    @property
    def pending(self) -> int | None:
        """Number of offsets that PostgreSQL has not applied; None if PostgreSQL does not answer.

        >>> [PartitionProgress(0, begin=0, end=10, applied=n).pending for n in (7, None)]
        [3, None]
        """
        return None if self.applied is None else max(0, self.end - self.applied)

    @property
    def lost(self) -> int:
        """Number of offsets that the log no longer has and PostgreSQL has not applied.

        >>> PartitionProgress(0, begin=5, end=10, applied=3).lost
        2
        """
        return 0 if self.applied is None else max(0, self.begin - self.applied)


@dataclass(frozen=True)
class TopicProgress:
    """One topic and its consumer group.

    Attributes:
        info: the cluster's description of it.
        partitions: in order.
        members: of the group; None if its coordinator does not answer.
        error: why it does not answer.
    """

    info: TopicInfo
    partitions: tuple[PartitionProgress, ...] = ()
    members: tuple[GroupMember, ...] | None = None
    error: str = ""

    @property
    def name(self) -> str:
        """The topic's name."""
        return self.info.name

    @property
    def lag(self) -> int | None:
        """Number of offsets not yet applied, as far as known; None if unknown everywhere."""
        known = [p.pending for p in self.partitions if p.pending is not None]
        return sum(known) if known else None

    @property
    def foreign(self) -> tuple[GroupMember, ...]:
        """Members of the group that are not an ingest of this shop."""
        return tuple(m for m in self.members or () if not is_ours(m, self.name))

    def troubles(self, bound: float) -> tuple[str, ...]:
        """Return the problems of the topic, one line each.

        Args:
            bound: seconds that a partition may wait.
        """
        found = []
        for member in self.foreign:
            held = member.partitions
            found.append(
                Trouble(
                    "foreign",
                    member=escape(member.client_id) or "a consumer",
                    host=member.host.lstrip("/"),
                    group=GROUPS[self.name],
                    what=Trouble("holds", ids=_numbers(held)) if held else Trouble("holds_none"),
                )
            )
        lost = [p for p in self.partitions if p.lost]
        if lost:
            ids = _numbers([p.partition for p in lost])
            count, command = sum(p.lost for p in lost), "`jangteo topics accept-loss`"
            found.append(Trouble("removed", count=count, ids=ids, command=command))
        unheld = [
            p.partition
            for p in self.partitions
            if p.holder == "none" and p.unheld_s > REBALANCE_S and (p.pending or self.members)
        ]
        if unheld:
            found.append(Trouble("unheld", ids=_numbers(unheld)))
        slow = [p for p in self.partitions if p.waits_s > bound]
        if slow:
            known = [p.pending for p in slow if p.pending is not None]
            ids = _numbers([p.partition for p in slow])
            seconds = f"{max(p.waits_s for p in slow):.0f}"
            found.append(
                Trouble("still", ids=ids, seconds=seconds, count=sum(known))
                if known
                else Trouble("still_uncounted", ids=ids, seconds=seconds)
            )
        return tuple(found)


@dataclass(frozen=True)
class ProgressReport:
    """The progress of all topics at one time.

    Attributes:
        topics: those that exist, by name.
        waits: why the ingest waits: the holders of its locks, a read-only database, the reasons
            in its heartbeats.
        away: why the applied offsets are not known; empty if they are.
        bound: seconds for which a partition may wait.
        slow_s: part of the bound that is there because PostgreSQL answers late.
    """

    topics: Mapping[str, TopicProgress] = field(default_factory=dict)
    waits: tuple[str, ...] = ()
    away: str = ""
    bound: float = 60.0
    slow_s: float = 0.0

    def troubles(self) -> dict[str, tuple[str, ...]]:
        """Return the problems by topic; a topic without problems has no key."""
        found = {name: topic.troubles(self.bound) for name, topic in self.topics.items()}
        if self.waits:
            slow = {n for n, t in self.topics.items() if any(p.waits_s for p in t.partitions)}
            found = {n: (*lines, *(self.waits if lines and n in slow else ()))
                     for n, lines in found.items()}  # fmt: skip
        return {name: lines for name, lines in found.items() if lines}


def is_ours(member: GroupMember, topic: str) -> bool:
    """Return whether a member is an ingest of this shop, by the client id that only those have."""
    return member.client_id == f"jangteo-ingest-{topic}"


def _numbers(partitions: Sequence[int]) -> str:
    """Return numbers separated by commas, at most the first twelve.

    >>> _numbers([2, 1]), _numbers(range(500))
    ('1, 2', '0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 488 more')
    """
    every = sorted(partitions)
    first = ", ".join(map(str, every[:12]))
    return Trouble("more", first=first, count=len(every) - 12) if len(every) > 12 else first
