"""Consumer groups, asked of while their coordinator is away; for its return see the faults."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException

from shop import embedded, groups, kafka
from shop import settings as shop_settings
from shop.settings import KafkaSettings


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[embedded.Broker]:
    """A broker of our own, to be killed."""
    made = embedded.Broker(tmp_path)
    made.start()
    try:
        yield made
    finally:
        made.kill()


def where(broker: embedded.Broker) -> KafkaSettings:
    return shop_settings.load(broker.env, use_stack=False).kafka


def test_silence_is_an_error_within_the_time_given(broker: embedded.Broker) -> None:
    kafka.create_topics(where(broker))
    client = kafka.admin(where(broker))
    assert groups.committed(client, ["orders_group"]) == {"orders_group": {}}
    broker.kill()
    for _ in range(3):
        (answer,) = groups.committed(client, ["orders_group"], 0.2).values()
        assert isinstance(answer, KafkaException)
        code = answer.args[0].code()
        if code != KafkaError._DESTROY_BROKER:  # the first may meet the connection's end
            break
    assert code == KafkaError._TIMED_OUT
    assert groups.members(client, "orders_group", "orders", 0.2) is None
