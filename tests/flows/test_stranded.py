"""When a member without partitions acts; that it helps is shown by the faults of members."""

from __future__ import annotations

import pytest
from confluent_kafka.admin import AdminClient

from flows.stranded import MOST_PATIENCE_S, PATIENCE_S, Stranded
from shop import kafka


class Clock:
    """Seconds, set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def acted(cluster_id: str, seconds: int, *, assigned_at: int | None = None) -> list[int]:
    """Look once a second; return when the cluster was asked for its identity."""
    clock, asked = Clock(), []

    def cluster() -> str:
        asked.append(int(clock.now))
        return cluster_id

    def nobody() -> AdminClient:
        raise AssertionError("a group that is not the embedded broker's is left in peace")

    member = Stranded("orders_group", cluster, nobody, clock)
    for second in range(seconds):
        clock.now = second
        member.look(has_partitions=second == assigned_at)
    return asked


def test_apache_kafka_is_left_in_peace() -> None:
    assert acted("5L6g3nShT-eMCtK--X86sw", 120)


def test_patience_doubles_up_to_a_limit() -> None:
    moments = acted("another", 2_000)
    gaps = [b - a for a, b in zip([0, *moments], moments, strict=False)]
    patience = PATIENCE_S
    for gap in gaps:
        assert gap == int(patience) + 1
        patience = min(2 * patience, MOST_PATIENCE_S)
    assert gaps[-1] == MOST_PATIENCE_S + 1


def test_partitions_restore_patience() -> None:
    assert acted("another", 61, assigned_at=10) == [27, 60]


def test_the_embedded_brokers_group_is_acted_upon() -> None:
    with pytest.raises(AssertionError, match="left in peace"):
        acted(f"{kafka.EMBEDDED_CLUSTER}0badcafe", 60)
