"""The errors of the three servers' clients, as the one line that a command ends with."""

from __future__ import annotations

import sys
from typing import Any

from shop.errors import JangteoError, UnreachableError
from shop.retry import first_line

_CONNECTION: tuple[str, ...] = ("08", "57P")
"""Classes of SQLSTATE of a lost connection and of a server that shuts down."""


def explained(error: Exception) -> JangteoError | None:
    """Return a server's error as one that is shown as a line; None for any other error.

    A command that knows more, such as what to do, raises its own error earlier.
    A client that was not imported cannot have raised, and is not imported for this.
    """
    if (psycopg := sys.modules.get("psycopg")) and isinstance(error, psycopg.Error):
        return _postgres(error, psycopg)
    if (redis := sys.modules.get("redis")) and isinstance(error, redis.RedisError):
        from shop.redis import cache  # noqa: PLC0415  (0.03 s that most commands need not wait)

        away = isinstance(error, (redis.ConnectionError, redis.TimeoutError))
        kind = UnreachableError if away else JangteoError
        return kind(f"Redis: {cache.explain(error)}")
    if (kafka := sys.modules.get("confluent_kafka")) and isinstance(error, kafka.KafkaException):
        return _kafka(error, kafka)
    return None


def kind(error: Exception) -> type[JangteoError]:
    """Return the class, and so the exit code, for an error whose message the command writes."""
    known = explained(error)
    return JangteoError if known is None else type(known)


def _postgres(error: Any, psycopg: Any) -> JangteoError:
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return JangteoError(f"PostgreSQL takes no writes: {first_line(error)}")
    state = error.sqlstate or ""
    lost = isinstance(error, psycopg.OperationalError) and (
        not state or state.startswith(_CONNECTION)
    )
    return (UnreachableError if lost else JangteoError)(f"PostgreSQL: {first_line(error)}")


def _kafka(error: Any, kafka: Any) -> JangteoError:
    cause = error.args[0] if error.args else error
    if not isinstance(cause, kafka.KafkaError):
        return JangteoError(f"Kafka: {first_line(error)}")
    away = cause.code() in (
        kafka.KafkaError._TRANSPORT,
        kafka.KafkaError._PARTIAL,  # an answer that names no broker
        kafka.KafkaError._ALL_BROKERS_DOWN,
        kafka.KafkaError._TIMED_OUT,
        kafka.KafkaError._RESOLVE,
        kafka.KafkaError._AUTHENTICATION,
        kafka.KafkaError._SSL,
    )
    return (UnreachableError if away else JangteoError)(f"Kafka: {cause.str()}")
