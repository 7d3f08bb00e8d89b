"""Consumer groups, asked of while their coordinator is away; for its return see the faults."""

from __future__ import annotations

from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from shop import kafka
from shop.kafka import groups
from shop.kafka.committed_offsets import CommittedOffsets

ASKED = {"orders_group": [("orders", p) for p in range(12)], "users_group": [("users", 0)]}


def test_silence_is_an_error_within_the_time_given(topics: Any) -> None:
    client, commits = kafka.admin(topics.settings), CommittedOffsets(topics.settings, "test")
    assert commits.read(ASKED) == {"orders_group": {}, "users_group": {}}
    topics.kill()
    for answer in commits.read(ASKED, 0.2).values():
        assert isinstance(answer, KafkaException)
        assert answer.args[0].code() == KafkaError._TIMED_OUT
        assert "coordinator does not answer" in answer.args[0].str()
    assert groups.describe(client, ["orders"], 0.2)["orders"].members is None
    commits.close()
    topics.start()
    while isinstance(commits.read(ASKED, 20)["orders_group"], KafkaException):
        pass  # the test's time-out ends it
    commits.close()


def test_what_is_committed_is_known_by_partition(topics: Any) -> None:
    config = kafka.consumer_config(topics.settings, "test", "orders_group")
    member = Consumer(config)
    member.commit(offsets=[TopicPartition("orders", 3, 7)], asynchronous=False)
    member.close()
    commits = CommittedOffsets(topics.settings, "test")
    assert commits.read(ASKED) == {"orders_group": {("orders", 3): 7}, "users_group": {}}
    assert commits.read({}) == {}
    assert groups.describe(kafka.admin(topics.settings), ["orders"])["orders"].members == ()
    commits.close()
