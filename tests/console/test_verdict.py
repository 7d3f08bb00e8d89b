"""Verdicts hold for any offsets, not only for chosen examples."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console import deadlines, rules
from console import translations as msg
from console.changes import changes
from console.rules import PartitionSample, Phase, ShopHealth
from console.snapshot.model import (
    Event,
    EventKind,
    Lag,
    Snapshot,
    Topic,
    decode,
    encode,
    encode_in_english,
)
from console.snapshot.reading import Rate, ReadingState
from console.sources.kafka import cluster, partition
from console.translations import Message, Text, of_trouble, render, word
from shop.errors import Trouble
from shop.kafka import TopicInfo
from shop.kafka.groups import GroupMember
from shop.kafka.progress import PartitionProgress, TopicProgress
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
    if not known or window[-1].applied is None:
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


@given(st.integers(1, 100))
def test_backoff_is_capped_and_never_nothing(failures: int) -> None:
    assert 0.8 <= deadlines.backoff(failures) <= 15.0


def health(snapshot: Snapshot) -> tuple[ShopHealth, tuple[str, ...]]:
    level, reasons = rules.health(snapshot)
    return level, tuple(map(str, reasons))


def events(before: Snapshot, after: Snapshot) -> list[tuple[str, str, str]]:
    return [(level, source, str(message)) for level, source, message in changes(before, after)]


def test_health_names_what_is_wrong() -> None:
    assert health(samples.well()) == (ShopHealth.OK, ())
    level, reasons = health(samples.fine())
    assert level is ShopHealth.DEGRADED
    assert reasons == ("orders_group: warn",)
    level, reasons = health(samples.kafka_down())
    assert level is ShopHealth.UNREACHABLE
    assert reasons[0] == "kafka: Local: Broker transport failure"
    level, reasons = health(samples.redis_stale())
    assert level is ShopHealth.DEGRADED
    assert any(r.startswith("redis stale") for r in reasons)


def test_a_broker_that_is_away_is_wrong_and_told() -> None:
    before, after = samples.well(), samples.broker_away()
    level, reasons = health(after)
    assert level is ShopHealth.DEGRADED
    assert reasons == (
        "kafka: brokers away: 1",
        "kafka: partitions out of sync: 12",
        "kafka: partitions that take nothing, below min ISR: 4",
    )
    assert events(before, after) == [
        ("warning", "kafka", "brokers away: 1"),
        ("error", "kafka", "partitions that take nothing, below min ISR: 4"),
    ]
    assert events(after, after) == []
    assert events(after, before) == [
        ("info", "kafka", "brokers back: 1"),
        ("info", "kafka", "all partitions take messages again"),
    ]


def metadata(brokers: list[int], placed: dict[str, list[tuple[list[int], list[int]]]]) -> Any:
    """The client's metadata: the replicas of each partition, and those in sync."""
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
    assert cluster(metadata([2, 3], placed), {}, topics).below_min is None, "unknown, not 0"
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
    assert health(s) == (ShopHealth.DEGRADED, ("orders is silent",))
    away = samples.failing(s.redis, ReadingState.DOWN, "refused", since=9)
    _, reasons = health(msgspec.structs.replace(s, redis=away))
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


def test_a_refresh_that_is_due_since_redis_was_read_is_not_overdue() -> None:
    """`up` reads every five seconds: at every other refresh its record called the cache overdue."""
    s = samples.fine()
    read = samples.ok(samples.redis("waiting", -4.0))
    for ago_s, expected in ((5.0, Phase.WAITING), (1.0, Phase.OVERDUE)):
        taken_at = s.at - timedelta(seconds=ago_s)
        then = msgspec.structs.replace(s, redis=msgspec.structs.replace(read, taken_at=taken_at))
        assert rules.cache_phase(then)[0] is expected
        assert any("overdue" in why for why in health(then)[1]) is (expected is Phase.OVERDUE)


def test_the_cache_is_unknown_while_redis_is_down() -> None:
    assert rules.cache_phase(samples.all_down()) == (Phase.UNKNOWN, None)


def test_what_changed_is_said_once() -> None:
    before, after = samples.well(), samples.kafka_down()
    assert ("error", "kafka", "does not answer: Local: Broker transport failure") in events(
        before, after
    )
    assert not [c for c in events(after, after) if c[1] == "kafka"]
    later = msgspec.structs.replace(samples.well(), at=after.at + timedelta(seconds=6))
    assert ("info", "kafka", "answers again, after 1m10s") in events(after, later)
    assert ("warning", "orders_group", "lag 184: warn") in events(before, samples.fine())
    assert ("info", "orders_group", "lag in order again") in events(samples.fine(), before)


def test_a_snapshot_survives_its_json() -> None:
    for make in (samples.fine, samples.kafka_down, samples.all_down):
        s = make()
        assert decode(encode(s)) == s
    assert Rate(per_s=None, reset=True) != Rate()


TEMPLATES = [t for t in vars(msg).values() if isinstance(t, msg.Template)]


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda t: t.id)
def test_a_message_has_the_same_values_in_both_languages(template: msg.Template) -> None:
    names = re.findall(r"\{(\w+)\}", template.en)
    assert sorted(names) == sorted(re.findall(r"\{(\w+)\}", template.ko))
    message = template(**{name: f"v-{n}" for n, name in enumerate(names)})
    for lang, written in (("en", template.en), ("ko", template.ko)):
        assert render(message, lang) == written.format(**message.values)
    assert msgspec.json.decode(msgspec.json.encode(message), type=Message) == message


def test_no_message_id_is_used_twice() -> None:
    assert [i for i, n in Counter(t.id for t in TEMPLATES).items() if n > 1] == []


def test_what_keeps_a_topic_from_advancing_is_shown_in_korean() -> None:
    foreign = (GroupMember("cat", "/10.0.0.2", (3,)), GroupMember("dog", "/10.0.0.3", ()))
    many = [PartitionProgress(n, 0, 9, applied=5, waits_s=61, holder="ours") for n in range(20)]
    topic = TopicProgress(
        TopicInfo("orders", 24, 1, "c/t"),
        (*many, PartitionProgress(21, begin=7, end=9, applied=5, holder="none", unheld_s=30)),
        foreign,
    )
    unknown = TopicProgress(topic.info, (PartitionProgress(0, 0, 9, waits_s=61, holder="ours"),))
    lines = [
        *topic.troubles(60.0),
        *unknown.troubles(60.0),
        Trouble("standby"),
        Trouble("read_only", setting="default_transaction_read_only"),
        Trouble("blocked", ingest="ingest", seconds=9, pid=7, who="x", lasts=9, query="LOCK"),
        Trouble("waits", ingest="ingest", error='new row violates "few" (23514): remove it'),
    ]
    assert len(lines) == 10
    for line in lines:
        message = msg.OF(name="orders_group", error=of_trouble(line))
        assert str(message) == f"orders_group: {line}"
        shown = render(message, "ko")
        assert shown.startswith("orders_group: ")
        assert re.search("[가-힣]", shown), line
        assert not re.search(r"\b(and|has|have|partitions|waits|is|with|number)\b", shown), shown


@given(st.text(max_size=80))
def test_text_from_outside_is_never_translated(text: str) -> None:
    assert render(text, "ko") == text
    assert render("orders is silent", "ko") == "orders is silent"
    assert text in render(Message("silent", {"name": text}), "ko")


def with_event(text: Text) -> Snapshot:
    event = Event(
        n=1, at=samples.NOW, kind=EventKind.CONSOLE, level="info", source="kafka", text=text
    )
    return msgspec.structs.replace(samples.redis_stale(), events=(event,))


def test_json_for_programs_is_english_text_and_a_recording_keeps_the_message() -> None:
    message = msg.LAG(messages=3, verdict=word("warn"))
    assert decode(encode(with_event(message))).events[0].text == message
    found = json.loads(encode_in_english(with_event(message)))
    assert found["events"][0]["text"] == "lag 3: warn"
    assert found["redis"]["error"] == "no answer for 2 s"
    assert render(message, "ko") == "랙 3건: 주의"


def test_an_event_of_an_older_recording_is_shown_as_it_is() -> None:
    (event,) = decode(encode(with_event("lag 3: warn"))).events
    assert render(event.text, "ko") == "lag 3: warn"


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (
            '{"id": "silent", "values": {"name": "a\\u001b[2J"}}',
            "a\N{REPLACEMENT CHARACTER}[2J 응답 없음",
        ),
        ('{"id": "of_next_year", "values": {"n": 1}}', "of_next_year n=1"),
        ('{"id": "silent"}', "silent"),
    ],
)
def test_a_message_of_another_version_is_shown_as_well_as_it_can_be(data: str, shown: str) -> None:
    message = msg.from_json(data)
    assert message is not None
    assert render(message, "ko") == shown


@pytest.mark.parametrize("data", ["", "{", "[]", '{"values": {}}', '{"id": 1}', "x" * 5_000])
def test_what_is_not_a_message_is_none(data: str) -> None:
    assert msg.from_json(data) is None
    deep = '{"id":"of","values":{"name":"a","error":' * 95 + '"x"' + "}}" * 95
    assert len(deep) < 4_000
    message = msg.from_json(deep)
    assert message is not None
    assert str(message).endswith("x")
