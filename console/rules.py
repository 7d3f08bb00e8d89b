"""Pure rules that turn numbers into verdicts. No I/O, no clock, no state.

The lag rules are Burrow's, over a sliding window of samples, with one difference: a partition is
in order if its lag was small in one of the newest three samples, not at any time of the window.
Otherwise it matters whether commits come, move and keep up.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec

from console import translations as msg
from console.snapshot.model import READINGS, SERVER_OF, SERVERS, Kafka, Lag, Snapshot, Topic
from console.snapshot.reading import Rate, Reading, ReadingState
from console.snapshot.severity import Severity, State
from console.text import number
from console.translations import Message, Text, word
from shop.clock import SAID_S

WINDOW: Final = 10
"""Samples that a verdict looks at: 20 s at one sample every 2 s."""
WINDOW_S: Final = 60.0
"""Older samples say nothing of now: they are from before an outage of the source."""
JUDGED_FROM: Final = 3
"""Samples that a verdict other than ok needs."""
SILENT_AFTER_S: Final = 5.0
"""A process beats every second; the beat is forgotten after 15 s."""
CLOCK_S: Final = 1e-9
"""Seconds that a clock can measure; what happened in less has no rate."""


@dataclass(frozen=True)
class PartitionSample:
    """One look at a partition: monotonic seconds, and offsets; `applied` is PostgreSQL's word."""

    at: float
    end: int
    applied: int | None
    low: int = 0


def lost(low: int | None, applied: int | None) -> int:
    """Return messages that expired before they were taken.

    >>> lost(100, 40), lost(0, 40), lost(100, None), lost(None, 3)
    (60, 0, 0, 0)
    """
    return 0 if low is None or applied is None else max(0, low - applied)


def judge(window: Sequence[PartitionSample], allowed: int = 0, slow_s: float = 0.0) -> Lag:
    """Return the verdict on a partition.

    Args:
        window: samples, oldest first.
        allowed: a lag that is in order.
        slow_s: seconds that the ingest's transactions take: nothing need be applied for as long.

    >>> def w(*pairs): return [PartitionSample(float(i), e, c) for i, (e, c) in enumerate(pairs)]
    >>> judge(w((10, None))).value, judge(w((10, 10))).value, judge(w((9, 9), (9, None))).value
    ('unknown', 'ok', 'unknown')
    >>> judge(w((10, 10), (20, 10), (30, 10), (40, 10))).value  # was in order, and no longer is
    'stop'
    >>> judge(w((10, 5), (11, 5), (12, 5))).value  # nothing is applied
    'stop'
    >>> judge(w((10, 5), (10, 5), (10, 5))).value  # nothing new, and the rest is not taken
    'stall'
    >>> judge(w((10, 5), (11, 5), (12, 5)), slow_s=9.0).value  # a transaction may be under way
    'warn'
    >>> judge(w((10, 5), (12, 6), (14, 7))).value  # taken, but more comes
    'warn'
    >>> judge(w((10, 5), (12, 8), (14, 12))).value  # catching up
    'ok'
    >>> judge(w((10, 9), (10, 2), (10, 3))).value
    'rewind'
    >>> judge([PartitionSample(0.0, 90, 40, low=60)]).value
    'lost'
    """
    known = [s for s in window if s.applied is not None]
    if not known or window[-1].applied is None:
        return Lag.UNKNOWN
    newest = known[-1]
    if lost(newest.low, newest.applied):
        return Lag.LOST
    seen_s = newest.at - known[0].at
    found = _judge_movement([(s.end, s.applied or 0) for s in known], allowed)
    return Lag.WARN if seen_s < slow_s and found in (Lag.STOP, Lag.STALL) else found


def _judge_movement(known: Sequence[tuple[int, int]], allowed: int) -> Lag:
    """Judge (end, applied) of a window in which every offset is known."""
    if any(b < a for (_, a), (_, b) in itertools.pairwise(known)):
        return Lag.REWIND
    lags = [max(0, end - applied) for end, applied in known]
    if min(lags[-JUDGED_FROM:]) <= allowed:
        return Lag.OK
    if len(known) < JUDGED_FROM:
        return Lag.UNKNOWN
    (first_end, first), (last_end, last) = known[0], known[-1]
    if first == last:
        # Kafka does not report when a commit was written: with new messages and no new commit the
        # group has stopped; with neither it is stuck on what is there.
        return Lag.STOP if last_end > first_end else Lag.STALL
    return Lag.OK if lags[-1] < lags[0] else Lag.WARN


def without_stale_verdicts(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot without verdicts, rates and drain times of a reading that is not current.

    A topic keeps its last verdict in `was`.
    """
    reading = snapshot.kafka
    if reading.value is None or reading.current:
        return snapshot
    topics = tuple(
        msgspec.structs.replace(
            t,
            verdict=Lag.UNKNOWN,
            was=t.verdict,
            drain_s=None,
            published=Rate(),
            taken=Rate(),
            partitions=tuple(
                msgspec.structs.replace(
                    p, verdict=Lag.UNKNOWN, drain_s=None, published=Rate(), taken=Rate()
                )
                for p in t.partitions
            ),
        )
        for t in reading.value.topics
    )
    value = msgspec.structs.replace(reading.value, topics=topics)
    return msgspec.structs.replace(snapshot, kafka=msgspec.structs.replace(reading, value=value))


_ORDER: Final = tuple(Lag)


def topic_state(topic: Topic) -> tuple[Severity, Text]:
    """Return the severity of a topic's state, and its text: the cause before the verdict."""
    if topic.error:
        return Severity.ERROR, topic.error
    if topic.troubles and topic.was is None:
        cause = topic.troubles[0]
        return Severity.UNKNOWN if msg.is_unknown(cause) else Severity.ERROR, cause
    return topic.verdict.severity, word(topic.verdict.value)


def worst(verdicts: Iterable[Lag]) -> Lag:
    """Return the worst of several verdicts; unknown if there are none.

    >>> worst([Lag.OK, Lag.STALL, Lag.UNKNOWN]).value, worst([]).value
    ('stall', 'unknown')
    """
    return max(verdicts, key=_ORDER.index, default=Lag.UNKNOWN)


def rate(before: int | None, after: int | None, elapsed: float) -> Rate:
    """Return what a counter did per second; a counter that fell was reset, not negative.

    >>> rate(10, 30, 2.0).per_s, rate(30, 10, 2.0), rate(None, 3, 1.0).per_s
    (10.0, Rate(per_s=None, reset=True), None)
    """
    if before is None or after is None or elapsed <= 0:
        return Rate()
    if after < before:
        return Rate(reset=True)
    return Rate((after - before) / elapsed) if elapsed >= CLOCK_S else Rate()


def total(rates: Iterable[Rate]) -> Rate:
    """Add rates up: what is known of them.

    >>> total([Rate(1.0), Rate(), Rate(2.0)]).per_s, total([Rate()]).per_s
    (3.0, None)
    """
    every = list(rates)
    known = [r.per_s for r in every if r.per_s is not None]
    return Rate(sum(known) if known else None, any(r.reset for r in every))


def total_lag(lags: Iterable[int | None]) -> int | None:
    """Add lags up: what is known of them; None if nothing is.

    >>> total_lag([1, None, 2]), total_lag([None])
    (3, None)
    """
    known = [n for n in lags if n is not None]
    return sum(known) if known else None


def drain_s(lag: int | None, published: Rate, taken: Rate) -> float | None:
    """Return seconds until the lag is gone; None if it does not shrink.

    >>> drain_s(100, Rate(10.0), Rate(60.0)), drain_s(100, Rate(10.0), Rate(10.0))
    (2.0, None)
    >>> drain_s(0, Rate(), Rate())
    0.0
    """
    if lag == 0:
        return 0.0
    if lag is None or published.per_s is None or taken.per_s is None:
        return None
    faster = taken.per_s - published.per_s
    return lag / faster if faster > 0 else None


def share(part: int | None, whole: int | None) -> float | None:
    """Return a share from 0 to 1; None where nothing was counted, or a counter was reset.

    >>> share(3, 4), share(0, 0), share(-1, 5)
    (0.75, None, None)
    """
    if part is None or not whole or part < 0 or whole < 0 or part > whole:
        return None
    return part / whole


class Phase(State):
    """The phase of the cache's refresh."""

    WAITING = "waiting", Severity.OK
    REFRESHING = "refreshing", Severity.ACTIVE
    OVERDUE = "overdue", Severity.WARNING
    FAILED = "failed", Severity.ERROR
    UNKNOWN = "unknown", Severity.UNKNOWN


OVERDUE_AFTER_S: Final = 1.5
"""The worker looks once a second whether the cache is due."""


def cache_phase(snapshot: Snapshot) -> tuple[Phase, float | None]:
    """Return the phase of the cache and seconds until its refresh is due (negative: overdue)."""
    reading = snapshot.redis
    if reading.value is None or not reading.current:
        return Phase.UNKNOWN, None
    meta = reading.value.meta
    left = (meta.next_due_at - snapshot.at).total_seconds() if meta.next_due_at else None
    if meta.phase in (Phase.FAILED.value, Phase.REFRESHING.value):
        return Phase(meta.phase), left
    if left is None:
        return Phase.UNKNOWN, None
    # Since Redis was read, seconds ago in the record of `up`, a refresh may be done and not seen.
    unseen_s = (snapshot.at - (reading.taken_at or snapshot.at)).total_seconds()
    return (Phase.OVERDUE if left + unseen_s < -OVERDUE_AFTER_S else Phase.WAITING), left


class ShopHealth(State):
    """Whether all is well."""

    LOADING = "loading", Severity.UNKNOWN
    OK = "ok", Severity.OK
    DEGRADED = "degraded", Severity.WARNING
    UNREACHABLE = "unreachable", Severity.ERROR


def silent(beat_at: datetime | None, now: datetime) -> bool:
    """Return whether a process that beats every second has missed several.

    >>> from datetime import timedelta, timezone
    >>> now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    >>> silent(now - timedelta(seconds=2), now), silent(now - timedelta(seconds=9), now)
    (False, True)
    """
    return beat_at is None or (now - beat_at).total_seconds() > SILENT_AFTER_S


def health(snapshot: Snapshot) -> tuple[ShopHealth, tuple[Message, ...]]:
    """Return whether all is well, and a message for each thing that is not."""
    unreachable: list[Message] = []
    wrong: list[Message] = []
    loading = False
    for name in READINGS:
        reading: Reading[object] = getattr(snapshot, name)
        if name in SERVER_OF and not getattr(snapshot, SERVER_OF[name]).current:
            continue  # its server is reported
        error = reading.error or msg.NO_ANSWER()
        if reading.state is ReadingState.DOWN and name in SERVERS:
            unreachable.append(msg.OF(name=name, error=error))
            unreachable += _counter_evidence(snapshot, name)
        elif reading.state is ReadingState.SLOW:
            took = f"{(reading.latency_ms or 0) / 1000:.1f}"
            wrong.append(msg.IS_SLOW(name=word(name), seconds=took))
        elif reading.state in (ReadingState.DOWN, ReadingState.STALE):
            state = word(reading.state.value)
            wrong.append(msg.OF_STATE(name=word(name), state=state, error=error))
        loading = loading or reading.state is ReadingState.LOADING
    wrong += _cluster_troubles(snapshot) + _lag_troubles(snapshot)
    wrong += _cache_troubles(snapshot) + process_troubles(snapshot) + clock_troubles(snapshot)
    if unreachable:
        return ShopHealth.UNREACHABLE, (*unreachable, *wrong)
    if wrong:
        return ShopHealth.DEGRADED, tuple(wrong)
    return (ShopHealth.LOADING if loading else ShopHealth.OK), ()


def _counter_evidence(snapshot: Snapshot, name: str) -> list[Message]:
    """Return what the heartbeats of ingests show against it: that they store through the server."""
    processes = snapshot.processes
    if name not in ("kafka", "postgres") or processes.value is None or not processes.current:
        return []
    return [
        msg.BUT_STORES(name=p.name, rate=number(p.rate.per_s))
        for p in processes.value.processes
        if p.name.startswith("ingest")
        and p.rate.per_s
        and p.state == "running"
        and not silent(p.beat_at, processes.taken_at or snapshot.at)
    ]


def _of_cluster(kafka: Kafka) -> Iterator[Message]:
    if kafka.away:
        yield msg.BROKERS_AWAY(ids=ids(kafka.away))
    if kafka.out_of_sync:
        yield msg.OUT_OF_SYNC(count=kafka.out_of_sync)
    if kafka.below_min:
        yield msg.BELOW_MIN(count=kafka.below_min)


def brokers(kafka: Kafka) -> str:
    """Return how many brokers there are, and of how many, where some are away.

    >>> brokers(Kafka(brokers=3, topics=())), brokers(Kafka(brokers=2, topics=(), away=(1,)))
    ('3', '2/3')
    """
    every = kafka.brokers + len(kafka.away)
    return f"{kafka.brokers}/{every}" if kafka.away else str(kafka.brokers)


def ids(brokers: Iterable[int]) -> str:
    """Return brokers' ids in a row.

    >>> ids([1, 3])
    '1, 3'
    """
    return ", ".join(map(str, brokers))


def _cluster_troubles(snapshot: Snapshot) -> list[Message]:
    view = snapshot.kafka.value if snapshot.kafka.current else None
    return [msg.OF(name="kafka", error=s) for s in _of_cluster(view)] if view else []


def _lag_troubles(snapshot: Snapshot) -> list[Message]:
    view = snapshot.kafka.value if snapshot.kafka.current else None
    if view is None:
        return []
    found: list[Message] = []
    for t in view.topics:
        if t.troubles:
            # Where PostgreSQL is away, its own reading names the cause.
            known = [s for s in t.troubles if snapshot.postgres.current or not msg.is_unknown(s)]
            found += [msg.OF(name=t.group, error=line) for line in known]
        elif t.error or t.verdict not in (Lag.OK, Lag.UNKNOWN):
            found.append(msg.OF(name=t.group, error=t.error or word(t.verdict.value)))
    return found


def _cache_troubles(snapshot: Snapshot) -> list[Message]:
    phase, left = cache_phase(snapshot)
    if phase is Phase.OVERDUE and left is not None:
        return [msg.CACHE_OVERDUE(seconds=f"{-left:.0f}")]
    if phase is Phase.FAILED and snapshot.redis.value:
        return [msg.CACHE_FAILED(error=snapshot.redis.value.meta.error)]
    return []


def clock_troubles(snapshot: Snapshot) -> list[Message]:
    """Return a message for each server whose clock is far from this machine's."""
    found = []
    for name, reading in (("Redis", snapshot.redis), ("PostgreSQL", snapshot.postgres)):
        ahead = reading.value.clock_ahead if reading.value and reading.current else 0.0
        if abs(ahead) > SAID_S:
            found.append(msg.CLOCKS(name=name, seconds=f"{ahead:+.0f}"))
    return found


def process_troubles(snapshot: Snapshot) -> list[Message]:
    """Return a message for each process that is down or silent."""
    view = snapshot.processes.value if snapshot.processes.current else None
    redis_here = snapshot.redis.current
    read_at = snapshot.processes.taken_at or snapshot.at
    found: list[Message] = []
    for p in view.processes if view else ():
        if p.state == "backoff":
            found.append(msg.IS_DOWN(name=p.name, how=p.last_exit))
        elif p.supervised and p.beats and redis_here and p.state not in ("stopped", "stopping"):
            started = p.up_since is None or (read_at - p.up_since).total_seconds() > 15.0
            if started and silent(p.beat_at, read_at):
                found.append(msg.SILENT(name=p.name))
    return found
