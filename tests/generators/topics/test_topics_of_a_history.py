"""A history with optional topics, in PostgreSQL, files and Kafka; nothing else of it changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import msgspec
import polars as pl
import pytest

from generators import backfill
from generators.history.history import HistorySimulation
from generators.history.plan import Day
from generators.history.request import HistoryRequest
from generators.history.targets.kafka import KafkaTarget
from generators.history.targets.parquet import ParquetTarget
from generators.history.targets.postgres import PostgresTarget
from generators.publishing.encoding import encode_columns
from generators.topics.history import TopicHistories
from shop import kafka
from shop.clock import UTC
from shop.errors import UsageError
from shop.events import SCHEMAS, as_row, decode
from shop.grading_policy import POLICY
from shop.optional.registry import OPTIONAL
from shop.postgres import Connection
from shop.settings import Settings

NOW = datetime(2026, 11, 25, tzinfo=UTC)
PLAIN = HistoryRequest(days=9, orders_per_day=60, end=date(2026, 11, 20), policy=POLICY.as_json())
ASKED = msgspec.structs.replace(PLAIN, topics=tuple(OPTIONAL))
END = ASKED.ends_at(NOW)


def days() -> Iterator[Day]:
    topics = TopicHistories(ASKED.topics, ASKED.seed, END)
    history = HistorySimulation(ASKED.plan(END, POLICY), POLICY, END)
    for day in history.days():
        yield replace(day, topics=topics.of(day.block()))


@pytest.fixture(scope="module")
def expected() -> dict[str, pl.DataFrame]:
    """All events of each topic, those that are due after a later day's among them."""
    frames: dict[str, list[pl.DataFrame]] = {topic: [] for topic in OPTIONAL}
    for day in days():
        for topic, part in day.topics.items():
            frames[topic].append(part.events)
    return {topic: pl.concat(parts) for topic, parts in frames.items()}


def test_no_event_is_ahead_of_its_time(expected: dict[str, pl.DataFrame]) -> None:
    """Each is valid at the moment at which it is published."""
    for topic, events in expected.items():
        times = events[OPTIONAL[topic].time_field]
        for at, key, value in zip(times, *encode_columns(topic, events), strict=True):
            decode(topic, key, value, now=at)


def as_stored(topic: str, events: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that events leave: the highest revision, or all."""
    id_field = OPTIONAL[topic].id_field
    if OPTIONAL[topic].revised:
        events = events.sort(id_field, "rev").unique(id_field, keep="last")
    return events.sort(id_field)


def fill(settings: Settings, asked: HistoryRequest, target: backfill.Target) -> None:
    try:
        assert backfill.fill(target, asked, settings, threading.Event(), clock=lambda: NOW) == 0
    finally:
        target.close()


def postgres_target(settings: Settings) -> PostgresTarget:
    return PostgresTarget(settings.postgres, window_s=300, policy=POLICY, truncate=False)


def test_database_and_files_have_the_topics_and_the_rest_is_as_without(
    settings: Settings, pg: Connection, tmp_path: Path, expected: dict[str, pl.DataFrame]
) -> None:
    target = postgres_target(settings)  # half of it is written, and resumed
    target.begin(ASKED, END)
    for _, day in zip(range(4), days(), strict=False):
        target.prepare(day)()
    with pytest.raises(UsageError, match=r"topics .* not \(\)"):
        target.begin(PLAIN, END)
    target.close()
    fill(settings, ASKED, postgres_target(settings))
    folders = {}
    for name, asked in (("with", ASKED), ("without", PLAIN)):
        folders[name] = tmp_path / name
        fill(settings, asked, ParquetTarget(folders[name], window_s=300, truncate=False))
    for topic, events in expected.items():
        rows = as_stored(topic, events)
        names = ", ".join(rows.columns)
        stored = pg.execute(f"SELECT {names} FROM {topic} ORDER BY {OPTIONAL[topic].id_field}")
        assert stored.fetchall() == rows.rows(), topic
        files = pl.read_parquet(folders["with"] / topic / "**/*.parquet", hive_partitioning=False)
        assert as_stored(topic, files).equals(rows), topic
        assert not (folders["without"] / topic).exists()
    shared = [p.relative_to(folders["without"]) for p in folders["without"].rglob("*.parquet")]
    assert len(shared) > 20
    for path in shared:
        assert (folders["with"] / path).read_bytes() == (folders["without"] / path).read_bytes()


def test_shipments_and_orders_of_a_history_agree(expected: dict[str, pl.DataFrame]) -> None:
    orders = pl.concat(day.orders for day in days())
    parcels = as_stored("shipments", expected["shipments"])
    assert parcels["order_id"].is_in(orders["order_id"].implode()).all()
    both = orders.join(parcels, on="order_id", how="left", suffix="_of_parcel")
    refunded = both.filter(pl.col("status") == "REFUNDED")
    assert len(refunded) > 5
    ended = pl.coalesce("returned_at", "lost_at")
    assert refunded.select((ended < pl.col("updated_at")).fill_null(value=False).all()).item()


@pytest.mark.usefixtures("topics")
def test_topics_are_published_in_the_order_of_their_times(
    settings: Settings, expected: dict[str, pl.DataFrame]
) -> None:
    kafka.create_topics(settings.kafka, OPTIONAL)
    state = settings.data_dir / "state.json"

    def target() -> KafkaTarget:
        stop = threading.Event()
        return KafkaTarget(
            settings.kafka, state, speed=None, truncate=False, stop=stop, topics=ASKED.topics
        )

    first = target()
    first.begin(ASKED, END)
    for _, day in zip(range(4), days(), strict=False):
        first.prepare(day)()
    first.close()
    fill(settings, ASKED, target())
    for topic, events in expected.items():
        read = kafka.read(settings.kafka, topic)
        found = [as_row(decode(topic, m.key(), m.value(), now=NOW)) for m in read]
        frame = pl.DataFrame(found, schema=SCHEMAS[topic])
        keys = [OPTIONAL[topic].id_field, *(["rev"] if OPTIONAL[topic].revised else [])]
        assert frame.sort(keys).equals(events.sort(keys)), topic
