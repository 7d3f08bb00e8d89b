"""Offsets of partitions, of which librdkafka sometimes answers that it does not know them."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaException

from shop import kafka
from shop.settings import Settings


class WithoutOffset:
    """An admin client whose first answers have no offset and no error, as on a busy machine."""

    def __init__(self, client: Any, times: int) -> None:
        self._client = client
        self.left = times

    def list_offsets(self, asked: Any, **options: Any) -> Any:
        answers = self._client.list_offsets(asked, **options)
        if self.left <= 0:
            return answers
        self.left -= 1
        unknown: Future[Any] = Future()
        unknown.set_result(SimpleNamespace(offset=OFFSET_INVALID))
        return dict.fromkeys(answers, unknown)

    def list_topics(self, **options: Any) -> Any:
        return self._client.list_topics(**options)


@pytest.mark.usefixtures("topics")
def test_an_answer_without_an_offset_is_asked_for_again(settings: Settings) -> None:
    client: Any = WithoutOffset(kafka.admin(settings.kafka), times=1)
    assert kafka.ends_of(client, {"orders": 1}) == {"orders": {0: 0}}
    assert client.left == 0

    client = WithoutOffset(kafka.admin(settings.kafka), times=1_000)
    with pytest.raises(KafkaException, match="no offset"):
        kafka.ends_of(client, {"orders": 1}, timeout=0.2)
