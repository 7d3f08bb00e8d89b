"""What the errors of a Kafka client mean for the ingest."""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError

from shop.errors import JangteoError

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
