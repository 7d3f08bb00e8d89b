"""When a member without partitions acts; that it helps is shown by the faults of members."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from processes import Ingest, wait_until

from flows.stranded import MOST_PATIENCE_S, PATIENCE_S, Stranded
from shop import kafka
from shop.settings import Settings

NOBODY = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}


class Clock:
    """Seconds, set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def acted(seconds: int, *, assigned_at: int | None = None) -> list[int]:
    """Look once a second; return when something was to be done."""
    clock, asked = Clock(), []

    def away() -> AdminClient:
        asked.append(int(clock.now))
        raise KafkaException("away")

    member = Stranded("orders_group", away, clock)
    for second in range(seconds):
        clock.now = second
        member.look(has_partitions=second == assigned_at)
    return asked


def test_patience_doubles_up_to_a_limit() -> None:
    moments = acted(2_000)
    gaps = [b - a for a, b in zip([0, *moments], moments, strict=False)]
    patience = PATIENCE_S
    for gap in gaps:
        assert gap == int(patience) + 1
        patience = min(2 * patience, MOST_PATIENCE_S)
    assert gaps[-1] == MOST_PATIENCE_S + 1


def test_partitions_restore_patience() -> None:
    assert acted(61, assigned_at=10) == [27, 60]


def test_kafka_away_changes_nothing() -> None:
    clock = Clock()
    member = Stranded("orders_group", lambda: AdminClient(NOBODY), clock)
    clock.now = PATIENCE_S + 1
    member.look(has_partitions=False)  # raises nothing: an error here would end the ingest


def test_the_embedded_broker_is_known_and_its_group_deleted(
    env: dict[str, str], settings: Settings, tmp_path: Path
) -> None:
    client = kafka.admin(settings.kafka)
    assert kafka.is_embedded(kafka.cluster_id(client))
    with Ingest(env, tmp_path / "ingest.log", INGEST_TOPICS="orders") as ingest:
        wait_until(lambda: ingest.log().count("partitions assigned") == 1, "it has joined")
        clock = Clock()
        member = Stranded("orders_group", lambda: client, clock)
        clock.now = PATIENCE_S + 1
        member.look(has_partitions=False)
        wait_until(lambda: ingest.log().count("partitions assigned") == 2, "it joins the new group")


@pytest.mark.parametrize("cluster", ["5L6g3nShT-eMCtK--X86sw", ""])
def test_another_cluster_is_not_taken_for_it(cluster: str) -> None:
    assert not kafka.is_embedded(cluster)
