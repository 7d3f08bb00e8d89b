"""What the console knows at one moment: immutable, serialisable, without I/O and without a clock.

A `Snapshot` is what the poller publishes once a second, what the screens draw, what `--json`
prints and what a recording holds. Unknown is always None, never 0: a group without commits has no
lag of 0. Times are aware UTC, durations seconds unless the name says `_ms`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

import msgspec

from console.snapshot.reading import Rate, Reading
from console.snapshot.severity import Severity, State
from console.snapshot.tables import DeadLetters, Grades, ShopFigures
from console.translations import Message, Text
from shop.redis.cache import CacheMeta

SCHEMA: Final = 1
"""Version of the JSON form; raised when a field changes its meaning or goes."""


class Lag(State):
    """The verdict on a partition's lag, from best to worst (Burrow's rules)."""

    UNKNOWN = "unknown", Severity.UNKNOWN
    """No commit, or too few samples to judge."""
    OK = "ok", Severity.OK
    WARN = "warn", Severity.WARNING
    """Commits move, but the lag has not fallen over the window."""
    STALL = "stall", Severity.ERROR
    """Commits are written, but stand still while there is lag."""
    STOP = "stop", Severity.ERROR
    """No commit for longer than the window while there is lag."""
    REWIND = "rewind", Severity.ERROR
    """The committed offset went back."""
    LOST = "lost", Severity.ERROR
    """Messages expired before they were taken."""


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """One partition and its group; offsets, and messages.

    Attributes:
        partition: its number.
        low: offset of the oldest message kept.
        end: offset after the newest.
        committed: the group's in Kafka; written after the PostgreSQL commit, by anybody in it.
            None: nothing, or it was not asked for, as it is for `--json` alone.
        applied: what PostgreSQL has applied; None where it does not answer.
        lag: end - applied, never negative.
        skew: how far `applied` lay beyond the end that was read (the reading's own error).
        lost: messages that expired before they were taken.
        waits_s: seconds for which it has had a lag without advancing.
        holder: who has it: ours, foreign, none, unknown.
        published: messages appended per second.
        taken: messages applied per second.
        verdict: see `Lag`; unknown while the reading is not current.
        drain_s: seconds until the lag is gone at these rates; None if it does not shrink.
    """

    partition: int
    low: int | None = None
    end: int | None = None
    committed: int | None = None
    applied: int | None = None
    lag: int | None = None
    skew: int = 0
    lost: int = 0
    waits_s: float = 0.0
    holder: str = "unknown"
    published: Rate = Rate()
    taken: Rate = Rate()
    verdict: Lag = Lag.UNKNOWN
    drain_s: float | None = None


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer of a group."""

    client_id: str
    host: str
    partitions: tuple[int, ...]


class Topic(msgspec.Struct, frozen=True, kw_only=True):
    """One topic with its group; sums over what is known of its partitions.

    `members` is None where the cluster does not say; `error` concerns this topic alone; `troubles`
    says what keeps it from advancing (see `shop.ingest_progress`); `was` is the last verdict of a
    reading that is not current any more.
    """

    name: str
    group: str
    partitions: tuple[Partition, ...] = ()
    members: tuple[Member, ...] | None = None
    lag: int | None = None
    published: Rate = Rate()
    taken: Rate = Rate()
    verdict: Lag = Lag.UNKNOWN
    was: Lag | None = None
    drain_s: float | None = None
    error: Text | None = None
    troubles: tuple[Text, ...] = ()


class Kafka(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster.

    Clients cannot learn which broker is the controller: under KRaft they get any broker's id.

    Attributes:
        brokers: that are there.
        topics: the shop's.
        away: ids of brokers that are not there, but have replicas of the shop's topics.
        out_of_sync: partitions of the shop's with fewer replicas in sync than replicas; None
            where nobody looked.
        below_min: partitions of the shop's with fewer replicas in sync than `min.insync.replicas`,
            which take nothing from a producer; None where the cluster does not say.
    """

    brokers: int
    topics: tuple[Topic, ...]
    away: tuple[int, ...] = ()
    out_of_sync: int | None = None
    below_min: int | None = None


class Refresh(msgspec.Struct, frozen=True, kw_only=True):
    """One refresh of the cache that the console saw.

    Attributes:
        version: of the cache; of a refresh that failed, the last good one's, like all figures.
        at: when it ended; of one that failed, when the console saw it.
        duration: seconds.
        users: customers in the cache.
        products: products in the cache.
        replaced: entries that are new.
        error: why it failed; empty: it did not.
    """

    version: int
    at: datetime
    duration: float
    users: int
    products: int
    replaced: int
    error: str = ""


class Redis(msgspec.Struct, frozen=True, kw_only=True):
    """Redis and the cache in it.

    Attributes:
        meta: what the cache worker reports.
        users: customers that are in the cache.
        products: products that are in the cache.
        memory: bytes.
        memory_human: as Redis writes it.
        max_memory: bytes; None: no limit.
        ops: commands per second, Redis's own figure.
        hits: since the start of Redis.
        misses: since the start of Redis.
        hit_rate: of the look-ups of the last minute, from 0 to 1; None if there were none.
        evicted: keys since the start.
        clients: connections.
        version: of Redis.
        refreshes: the last ones, oldest first.
        clock_ahead: seconds by which this machine's clock is ahead of Redis's; times in `meta` are
            this machine's.
    """

    meta: CacheMeta
    users: int
    products: int
    memory: int
    memory_human: str
    max_memory: int | None
    ops: int
    hits: int
    misses: int
    hit_rate: float | None
    evicted: int
    clients: int
    version: str
    refreshes: tuple[Refresh, ...] = ()
    clock_ahead: float = 0.0

    @property
    def hit_rate_ever(self) -> float | None:
        """Hits among lookups since Redis started, from 0 to 1."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else None


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process: what the supervisor knows of it, and what it reports itself.

    Attributes:
        name: the supervisor's, or else the heartbeat's.
        pid: of the machine that it runs on.
        state: running, waiting, stopped, ... in the process's own word.
        beat_at: its last heartbeat; None if it has none (servers) or was silent for 15 s.
        beats: whether it is of those that send heartbeats.
        supervised: whether `jangteo up` keeps it running.
        restarts: by the supervisor.
        up_since: of this incarnation.
        last_exit: how the one before ended.
        rate: what it did per second: of its own counter, or its own figure.
        paused: by the operator.
        factor: on its rate, by the operator.
        memory: resident bytes; None where it runs elsewhere.
        cpu: percent of one core since the last reading.
        fields: its own counters.
        version: of the program that it runs; empty where it does not report one.
    """

    name: str
    pid: int | None = None
    state: str
    beat_at: datetime | None = None
    beats: bool = True
    supervised: bool = False
    restarts: int = 0
    up_since: datetime | None = None
    last_exit: str | None = None
    rate: Rate = Rate()
    paused: bool = False
    factor: float = 1.0
    memory: int | None = None
    cpu: float | None = None
    fields: Mapping[str, str] = {}
    version: str = ""


class Processes(msgspec.Struct, frozen=True, kw_only=True):
    """All processes, and the scenarios that run."""

    processes: tuple[Process, ...]
    scenarios: tuple[str, ...] = ()


class EventKind(str, Enum):
    """Where an event comes from."""

    LOG = "log"
    ACTION = "action"
    CONSOLE = "console"
    """What the console itself noticed: a server gone or back, a verdict changed."""


@dataclass(frozen=True)
class Happening:
    """An event that has no number yet."""

    at: datetime
    kind: EventKind
    level: str
    source: str
    text: Text


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened; `n` numbers the events of one console from 1."""

    n: int
    at: datetime
    kind: EventKind
    level: str
    source: str
    text: Text


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, at one moment."""

    schema: int = SCHEMA
    sequence: int
    at: datetime
    kafka: Reading[Kafka] = Reading()
    redis: Reading[Redis] = Reading()
    postgres: Reading[ShopFigures] = Reading()
    grades: Reading[Grades] = Reading()
    letters: Reading[DeadLetters] = Reading()
    processes: Reading[Processes] = Reading()
    events: tuple[Event, ...] = ()
    """The newest, oldest first."""


READINGS: Final = ("kafka", "redis", "postgres", "grades", "letters", "processes")
SERVERS: Final = ("kafka", "redis", "postgres")
"""The readings that are of one server each, which can be away."""
SERVER_OF: Final[Mapping[str, str]] = {"grades": "postgres", "letters": "postgres"}
"""The readings that are made more seldom than another one of the same server."""


def encode(snapshot: Snapshot) -> bytes:
    """Return the snapshot as one line of JSON, as recordings hold it: messages in no language."""
    return msgspec.json.encode(snapshot)


def encode_in_english(snapshot: Snapshot) -> bytes:
    """Return the snapshot as one line of JSON for programs: messages are English text."""
    return msgspec.json.encode(_in_english(snapshot))


def _in_english(snapshot: Snapshot) -> Snapshot:
    changed: dict[str, object] = {}
    for name in READINGS:
        reading: Reading[object] = getattr(snapshot, name)
        if isinstance(reading.error, Message):
            changed[name] = msgspec.structs.replace(reading, error=str(reading.error))
    if (kafka := snapshot.kafka.value) is not None:
        topics = tuple(
            msgspec.structs.replace(
                t,
                error=None if t.error is None else str(t.error),
                troubles=tuple(map(str, t.troubles)),
            )
            for t in kafka.topics
        )
        reading = changed.get("kafka", snapshot.kafka)  # type: ignore[assignment]  # set above
        value = msgspec.structs.replace(kafka, topics=topics)
        changed["kafka"] = msgspec.structs.replace(reading, value=value)
    events = tuple(msgspec.structs.replace(e, text=str(e.text)) for e in snapshot.events)
    return msgspec.structs.replace(snapshot, events=events, **changed)


def decode(line: bytes) -> Snapshot:
    """Read what `encode` wrote.

    Raises:
        msgspec.DecodeError: if it is none.
    """
    return _DECODER.decode(line)


def only_new(snapshot: Snapshot, after: int) -> Snapshot:
    """Return the snapshot with the events after number `after` only.

    >>> from datetime import datetime, timezone
    >>> now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    >>> e = Event(n=3, at=now, kind=EventKind.LOG, level="info", source="orders", text="started")
    >>> s = Snapshot(sequence=1, at=now, events=(e,))
    >>> len(only_new(s, 2).events), len(only_new(s, 3).events)
    (1, 0)
    """
    fresh = tuple(e for e in snapshot.events if e.n > after)
    return msgspec.structs.replace(snapshot, events=fresh)


_DECODER: Final = msgspec.json.Decoder(Snapshot)
