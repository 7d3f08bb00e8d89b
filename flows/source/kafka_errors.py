"""What the errors of a Kafka client mean for the ingest."""

from __future__ import annotations

from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException

from shop.errors import JangteoError
from shop.log import get_logger
from shop.retry import first_line

UNREADABLE: Final = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION})
AWAY: Final = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT,
                          KafkaError._RESOLVE, KafkaError._TIMED_OUT})  # fmt: skip
REFUSED: Final = frozenset({
    KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
})  # fmt: skip


class KafkaRefusesError(JangteoError):
    """Kafka refuses the connection's credentials or rights, or the client cannot continue."""


def close(consumer: Consumer, topic: str) -> None:
    """Close a consumer; an error is logged, since nothing depends on it any more."""
    try:
        consumer.close()
    except (KafkaException, RuntimeError) as e:
        get_logger().debug("consumer did not close", topic=topic, error=first_line(e))
