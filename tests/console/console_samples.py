"""Fixed snapshots as the poller would publish them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec

from console import rules
from console import translations as msg
from console.snapshot.model import (
    Event,
    EventKind,
    Kafka,
    Lag,
    Partition,
    Process,
    Processes,
    Redis,
    Refresh,
    Snapshot,
    Topic,
)
from console.snapshot.reading import Rate, Reading, ReadingState
from console.snapshot.tables import (
    DeadLetterCount,
    DeadLetterRow,
    DeadLetters,
    GradeCount,
    GradeRunRow,
    Grades,
    Ingested,
    ShopFigures,
    Spender,
    Upgrade,
)
from console.translations import Text
from shop.clock import UTC
from shop.redis.cache import CacheMeta

NOW = datetime(2026, 11, 23, 3, 3, 41, tzinfo=UTC)


def ok(value: Any, age: float = 0.3) -> Reading[Any]:
    return Reading(
        value=value, state=ReadingState.OK, taken_at=NOW - timedelta(seconds=age), latency_ms=2.0
    )


def failing(
    reading: Reading[Any], state: ReadingState, error: Text, *, since: float
) -> Reading[Any]:
    return msgspec.structs.replace(
        reading,
        state=state,
        error=error,
        failing_since=NOW - timedelta(seconds=since),
        attempts=3,
        retry_at=NOW + timedelta(seconds=4),
    )


def partition(number: int, lag: int | None, verdict: Lag = Lag.OK) -> Partition:
    return Partition(
        partition=number,
        low=0,
        end=1_000 + number,
        committed=None if lag is None else 1_000 + number - lag,
        lag=lag,
        published=Rate(4.0 + number),
        taken=Rate(3.5 + number),
        verdict=verdict,
        drain_s=None if verdict is not Lag.OK or not lag else 4.0,
    )


def topic(name: str, lags: list[int | None], verdict: Lag = Lag.OK) -> Topic:
    partitions = tuple(partition(i, n, verdict if i == 0 else Lag.OK) for i, n in enumerate(lags))
    return Topic(
        name=name,
        group=f"{name}_group",
        partitions=partitions,
        members=None,
        lag=sum(n or 0 for n in lags),
        published=Rate(60.0),
        taken=Rate(55.5),
        verdict=verdict,
        drain_s=None,
    )


def kafka() -> Kafka:
    return Kafka(
        brokers=3,
        topics=(
            topic("orders", [120, 61, 0, 3], Lag.WARN),
            topic("products", [0, None, 2, 1]),
            topic("users", [4, 0, 0, 0]),
        ),
        out_of_sync=0,
        below_min=0,
    )


def redis(phase: str = "waiting", left: float = 31.4) -> Redis:
    meta = CacheMeta(
        version=128,
        refreshed_at=NOW - timedelta(seconds=50.0 - left),
        next_due_at=NOW + timedelta(seconds=left),
        duration=0.14,
        users=1000,
        products=1000,
        replaced=41,
        phase=phase,
        error="relation users does not exist" if phase == "failed" else "",
    )
    refreshes = tuple(
        Refresh(
            version=128 - n,
            at=NOW - timedelta(seconds=18 + 50 * n),
            duration=0.14 + n / 100,
            users=1000,
            products=1000,
            replaced=41 + n,
        )
        for n in (2, 1, 0)
    )
    return Redis(
        meta=meta,
        users=1000,
        products=1000,
        memory=52_428_800,
        memory_human="50.00M",
        max_memory=268_435_456,
        ops=3_100,
        hits=98_700,
        misses=1_300,
        hit_rate=0.75,
        evicted=0,
        clients=11,
        version="7.4.1",
        refreshes=refreshes,
    )


def shop() -> ShopFigures:
    names = ("김민지", "Lee Ji-woo", "남궁하늘별", None)
    return ShopFigures(
        ingested=tuple(
            Ingested(topic=t, stored=1000, rejected=3, ignored=0, rate=Rate(5.0))
            for t in ("orders", "products", "users")
        ),
        spenders=tuple(
            Spender(user_id=i, name=name, grade="VIP", orders=3, spend=1_000_000 - i)
            for i, name in enumerate(names)
        ),
        minutes=10,
        orders=2_500,
        spend=178_641_140,
        size=15_000_000,
        connections=8,
    )


def grades() -> Grades:
    counts = (("BRONZE", 569, -31), ("SILVER", 238, 20), ("GOLD", 117, 10), ("VIP", 76, 1))
    return Grades(
        counts=tuple(GradeCount(grade=g, customers=n, change=c) for g, n, c in counts),
        run=GradeRunRow(
            run_id=7,
            as_of=NOW - timedelta(minutes=2),
            mode="incremental",
            changed=31,
            upgraded=31,
            downgraded=0,
            seconds=0.05,
            examined=412,
            disagreed=0,
            read_seconds=0.02,
            compute_seconds=0.01,
            write_seconds=0.02,
        ),
        upgrades=(
            Upgrade(
                user_id=1,
                name="김민지",
                from_grade="BRONZE",
                to_grade="SILVER",
                spend=120_000,
                at=NOW - timedelta(minutes=2),
                rises=True,
            ),
        ),
    )


def letters() -> DeadLetters:
    return DeadLetters(
        counts=(DeadLetterCount(topic="orders", reason="bad_json", total=40, open=37, newest=NOW),),
        newest=tuple(
            DeadLetterRow(
                topic="orders",
                partition=3,
                offset=100 - n,
                reason="bad_json",
                field=None,
                detail=f"JSON is malformed: trailing characters (byte {n}) [/bold]",
                payload='{"v": 1, "order_id": [red]}}',
                rejected_at=NOW - timedelta(seconds=n),
                replayed_at=None,
            )
            for n in range(30)
        ),
    )


def processes() -> Processes:
    def process(name: str, *, beats: bool = True, **more: Any) -> Process:
        given: dict[str, Any] = {
            "state": "running",
            "pid": 100,
            "beat_at": NOW - timedelta(seconds=0.4) if beats else None,
            "supervised": True,
            "up_since": NOW - timedelta(minutes=33),
            "memory": 96_000_000,
            "cpu": 3.0,
        }
        return Process(name=name, beats=beats, **{**given, **more})

    return Processes(
        processes=(
            *(process(n, beats=False) for n in ("postgres", "redis", "kafka")),
            process("ingest", rate=Rate(57.0), restarts=1, fields={"batches": "7"}),
            process("cache", rate=Rate(0.02)),
            process("users", rate=Rate(10.0)),
            process("products", rate=Rate(0.14), paused=True),
            process("orders", rate=Rate(47.0), factor=2.5),
            process("grader", state="waiting"),
        ),
        scenarios=("flash_sale x2",),
    )


def events(count: int = 40) -> tuple[Event, ...]:
    levels = ("info", "info", "warning", "error")
    return tuple(
        Event(
            n=n + 1,
            at=NOW - timedelta(seconds=count - n),
            kind=EventKind.ACTION if n % 10 == 9 else EventKind.LOG,
            level=levels[n % 4],
            source="orders" if n % 2 else "cache",
            text=f"event {n} of 장터 [bold]not markup[/bold] " + "x" * (n % 30),
        )
        for n in range(count)
    )


def fine(sequence: int = 1, seconds: float = 0.0) -> Snapshot:
    """A snapshot in which all is well but one partition."""
    return Snapshot(
        sequence=sequence,
        at=NOW + timedelta(seconds=seconds),
        kafka=ok(kafka(), 0.4),
        redis=ok(redis(), 0.2),
        postgres=ok(shop(), 0.3),
        grades=ok(grades(), 5.0),
        letters=ok(letters(), 2.0),
        processes=ok(processes(), 0.5),
        events=events(),
    )


def well() -> Snapshot:
    """A snapshot in which nothing at all is wrong."""
    topics = tuple(topic(n, [0, 1, 0]) for n in ("orders", "products", "users"))
    return msgspec.structs.replace(
        fine(), kafka=ok(msgspec.structs.replace(kafka(), topics=topics))
    )


def broker_away() -> Snapshot:
    """One broker of three is away, and with it the third replica of each partition."""
    s = well()
    some = msgspec.structs.replace(s.kafka.value, brokers=2, away=(1,), out_of_sync=12, below_min=4)
    return msgspec.structs.replace(s, kafka=ok(some, 0.4))


def kafka_down() -> Snapshot:
    s = fine()
    reading = failing(s.kafka, ReadingState.DOWN, "Local: Broker transport failure", since=64.0)
    reading = msgspec.structs.replace(reading, taken_at=NOW - timedelta(seconds=65))
    return rules.without_stale_verdicts(msgspec.structs.replace(s, kafka=reading))


def redis_stale() -> Snapshot:
    s = fine()
    return msgspec.structs.replace(
        s, redis=failing(s.redis, ReadingState.STALE, msg.NO_ANSWER_FOR(seconds=2), since=2.0)
    )


def all_down() -> Snapshot:
    """Return a snapshot in which no server was ever reached."""
    error = "connection refused"
    empty: dict[str, Any] = {
        name: failing(Reading(), ReadingState.DOWN, error, since=12.0)
        for name in ("kafka", "redis", "postgres", "grades", "letters", "processes")
    }
    return Snapshot(sequence=1, at=NOW, **empty)


class StillFeed:
    """A feed of given snapshots."""

    def __init__(self, *snapshots: Snapshot) -> None:
        self.snapshots = list(snapshots)
        self.refreshed = 0
        self.interval = 1.0

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def latest(self) -> Snapshot:
        return self.snapshots[0]

    def advance(self) -> None:
        del self.snapshots[0]

    def refresh(self) -> None:
        self.refreshed += 1
