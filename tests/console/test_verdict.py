"""Verdicts hold for any offsets, not only for those that come to mind."""

from __future__ import annotations

import re
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console import rules, sentences
from console.changes import changes
from console.rules import PartitionSample, Phase, ShopHealth
from console.sentences import Sentence
from console.snapshot.model import Lag, Topic, decode, encode
from console.snapshot.reading import Rate, ReadingState
from console.sources.kafka import cluster, partition
from console.tui.korean import KOREAN
from shop.ingest_progress import PartitionProgress, TopicProgress
from shop.kafka import TopicInfo
from shop.kafka.groups import GroupMember
from tests.console import console_samples as samples

OFFSETS = st.integers(0, 10**12)
SAMPLES = st.lists(
    st.builds(
        PartitionSample,
        at=st.floats(0, 1e6),
        end=OFFSETS,
        applied=st.none() | OFFSETS,
        low=OFFSETS,
    ),
    min_size=1,
    max_size=rules.WINDOW,
)


@given(SAMPLES, st.integers(0, 1000))
def test_every_window_has_a_verdict_that_fits(window: list[PartitionSample], allowed: int) -> None:
    found = rules.judge(window, allowed)
    known = [s for s in window if s.applied is not None]
    if not known:
        assert found is Lag.UNKNOWN
        return
    newest = known[-1]
    breached = newest.low > (newest.applied or 0)
    assert (found is Lag.LOST) == breached
    commits = [s.applied or 0 for s in known]
    if not breached:
        assert (found is Lag.REWIND) == (commits != sorted(commits))
    if found in (Lag.WARN, Lag.STALL, Lag.STOP):
        assert all(s.end - (s.applied or 0) > allowed for s in known)


@given(SAMPLES)
def test_a_group_that_had_caught_up_in_the_window_is_in_order(
    window: list[PartitionSample],
) -> None:
    level = [msgspec_replace(s, applied=s.end, low=0) for s in window]
    ordered = sorted(level, key=lambda s: s.end)
    assert rules.judge(ordered) is Lag.OK


def msgspec_replace(sample: PartitionSample, **changes: int) -> PartitionSample:
    return PartitionSample(**{**sample.__dict__, **changes})


@given(st.none() | OFFSETS, st.none() | OFFSETS, st.floats(-1, 1e6))
def test_a_rate_is_never_negative(before: int | None, after: int | None, elapsed: float) -> None:
    rate = rules.rate(before, after, elapsed)
    assert rate.per_s is None or rate.per_s >= 0
    if before is not None and after is not None and elapsed > 0:
        assert rate.reset == (after < before)


@given(SAMPLES)
def test_a_partition_can_be_drawn_from_any_samples(window: list[PartitionSample]) -> None:
    last = window[-1]
    seen = PartitionProgress(3, begin=last.low, end=last.end, applied=last.applied)
    found = partition(seen, tuple(window))
    assert found.lag is None or found.lag >= 0
    assert found.drain_s is None or found.drain_s >= 0
    assert found.skew == max(0, (window[-1].applied or 0) - window[-1].end)


@given(st.integers(1, 100), st.floats(0, 1))
def test_backoff_is_capped_and_never_nothing(failures: int, jitter: float) -> None:
    assert 0.8 <= rules.backoff(failures, jitter) <= 15.0


def test_health_names_what_is_wrong() -> None:
    assert rules.health(samples.well()) == (ShopHealth.OK, ())
    level, reasons = rules.health(samples.fine())
    assert level is ShopHealth.DEGRADED
    assert reasons == ("orders_group: warn",)
    level, reasons = rules.health(samples.kafka_down())
    assert level is ShopHealth.UNREACHABLE
    assert reasons[0] == "kafka: Local: Broker transport failure"
    level, reasons = rules.health(samples.redis_stale())
    assert level is ShopHealth.DEGRADED
    assert any(r.startswith("redis stale") for r in reasons)


def test_a_broker_that_is_away_is_wrong_and_told() -> None:
    before, after = samples.well(), samples.broker_away()
    level, reasons = rules.health(after)
    assert level is ShopHealth.DEGRADED
    assert reasons == (
        "kafka: brokers away: 1",
        "kafka: partitions out of sync: 12",
        "kafka: partitions that take nothing, below min ISR: 4",
    )
    assert changes(before, after) == [
        ("warning", "kafka", "brokers away: 1"),
        ("error", "kafka", "partitions that take nothing, below min ISR: 4"),
    ]
    assert changes(after, after) == []
    assert changes(after, before) == [
        ("info", "kafka", "brokers back: 1"),
        ("info", "kafka", "all partitions take messages again"),
    ]


def metadata(brokers: list[int], placed: dict[str, list[tuple[list[int], list[int]]]]) -> Any:
    """What the client tells: of each partition the replicas, and those in sync."""
    topics = {
        name: SimpleNamespace(
            partitions={
                n: SimpleNamespace(replicas=replicas, isrs=isrs)
                for n, (replicas, isrs) in enumerate(partitions)
            }
        )
        for name, partitions in placed.items()
    }
    return SimpleNamespace(brokers=dict.fromkeys(brokers), topics=topics)


def test_replicas_tell_which_brokers_should_be_there() -> None:
    placed = {
        "orders": [([1, 2, 3], [2]), ([2, 3, 1], [2, 3]), ([3, 1, 2], [3, 1, 2])],
        "of others": [([9], [])],
    }
    topics = (samples.topic("orders", [0, 0, 0]), Topic(name="users", group="users_group"))
    found = cluster(metadata([2, 3], placed), {"orders": 2}, topics)
    assert (found.brokers, found.away, found.out_of_sync, found.below_min) == (2, (1,), 2, 1)
    assert cluster(metadata([2, 3], placed), {}, topics).below_min is None, "not told: not 0"
    nothing = cluster(metadata([1], {}), {}, topics[1:])
    assert (nothing.brokers, nothing.away, nothing.below_min) == (1, (), None)


def test_a_silent_process_is_noticed_unless_redis_is_the_reason() -> None:
    silent = samples.processes()
    old = tuple(
        msgspec.structs.replace(p, beat_at=None) if p.name == "orders" else p
        for p in silent.processes
    )
    s = msgspec.structs.replace(
        samples.well(), processes=samples.ok(msgspec.structs.replace(silent, processes=old))
    )
    assert rules.health(s) == (ShopHealth.DEGRADED, ("orders is silent",))
    away = samples.failing(s.redis, ReadingState.DOWN, "refused", since=9)
    _, reasons = rules.health(msgspec.structs.replace(s, redis=away))
    assert reasons == ("redis: refused",)


@pytest.mark.parametrize(
    ("phase", "left", "expected"),
    [
        ("waiting", 31.4, Phase.WAITING),
        ("waiting", -0.5, Phase.WAITING),
        ("waiting", -3.2, Phase.OVERDUE),
        ("refreshing", -1.0, Phase.REFRESHING),
        ("failed", -8.0, Phase.FAILED),
    ],
)
def test_phases_of_the_cache(phase: str, left: float, expected: Phase) -> None:
    s = msgspec.structs.replace(samples.fine(), redis=samples.ok(samples.redis(phase, left)))
    found, seconds = rules.cache_phase(s)
    assert found is expected
    assert seconds == pytest.approx(left)


def test_the_cache_is_unknown_while_redis_is_down() -> None:
    assert rules.cache_phase(samples.all_down()) == (Phase.UNKNOWN, None)


def test_what_changed_is_said_once() -> None:
    before, after = samples.well(), samples.kafka_down()
    assert ("error", "kafka", "does not answer: Local: Broker transport failure") in changes(
        before, after
    )
    assert not [c for c in changes(after, after) if c[1] == "kafka"]
    later = msgspec.structs.replace(samples.well(), at=after.at + timedelta(seconds=6))
    assert ("info", "kafka", "answers again, after 1m10s") in changes(after, later)
    assert ("warning", "orders_group", "lag 184: warn") in changes(before, samples.fine())
    assert ("info", "orders_group", "lag in order again") in changes(samples.fine(), before)


def test_a_snapshot_survives_its_json() -> None:
    for make in (samples.fine, samples.kafka_down, samples.all_down):
        s = make()
        assert decode(encode(s)) == s
    assert Rate(per_s=None, reset=True) != Rate()


@pytest.mark.parametrize("sentence", sentences.ALL, ids=lambda s: s.en)
def test_every_sentence_is_found_out_from_its_english(sentence: Sentence) -> None:
    """Whatever stands in its places: only `{name}: {error}` is anything at all."""
    words = {"state": "stale", "outcome": "done", "verdict": "warn", "ids": "1, 2", "first": "1"}
    names = re.findall(r"\{(\w+)\}", sentence.en)
    assert sorted(names) == sorted(re.findall(r"\{(\w+)\}", sentence.ko))
    values = {name: words.get(name, f"orders-{n}") for n, name in enumerate(names)}
    found = sentences.in_korean(sentence(**values), KOREAN.get)
    said = {k: KOREAN.get(v, v) if k in words else v for k, v in values.items()}
    assert found == KOREAN.get(sentence.en, sentence.ko).format(**said)


def test_what_keeps_a_topic_from_advancing_is_said_in_korean() -> None:
    """The real lines of `shop.ingest_progress` and `shop.postgres.blockers`, not copies."""
    foreign = (GroupMember("cat", "/10.0.0.2", (3,)), GroupMember("dog", "/10.0.0.3", ()))
    many = [PartitionProgress(n, 0, 9, applied=5, waits_s=61, holder="ours") for n in range(20)]
    topic = TopicProgress(
        TopicInfo("orders", 24, 1, "c/t"),
        (*many, PartitionProgress(21, begin=7, end=9, applied=5, holder="none", unheld_s=30)),
        foreign,
    )
    waits = (
        "PostgreSQL is a standby: it takes no writes until it is promoted",
        "the database is read-only (default_transaction_read_only)",
        "ingest has waited 9 s for a lock that pid 7 (x, in its transaction for 9 s) holds: L",
        'ingest waits: postgresql: new row violates "few" (23514): remove it',
    )
    lines = [*topic.troubles(60.0), *waits]
    assert len(lines) == 9
    for line in lines:
        said = sentences.in_korean(f"orders_group: {line}", KOREAN.get)
        assert said.startswith("orders_group: ")
        assert re.search("[가-힣]", said), line
        assert not re.search(r"\b(and|has|have|partitions|waits|is)\b", said), said


@given(st.text(max_size=80))
def test_what_is_no_sentence_of_ours_stays(text: str) -> None:
    assert sentences.in_korean(f"zz {text.replace(':', '')}", KOREAN.get).startswith("zz ")
