"""Dead letters for tests: rejected by the real store, in a database without a broker."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from flows.deadletters import command as deadletters_command
from flows.decoding.decode import decode_batch
from flows.transaction import Store
from shop import postgres
from shop.command import Parser
from shop.settings import Settings
from tests.support.event_samples import NOW, Message, raw_batch


def reject_messages(
    settings: Settings,
    messages: Sequence[Message],
    *,
    topic: str = "orders",
    partition: int = 0,
    log_id: str = "log-1",
) -> None:
    """Let the ingest's own store reject messages, at offsets from 0 of one partition."""
    with postgres.connect(settings.postgres, "letters") as conn:
        with conn.transaction():
            conn.execute(
                "INSERT INTO ingest_offsets (topic, partition, log_id, next_offset)"
                " VALUES (%s, %s, %s, 0)",
                (topic, partition, log_id),
            )
        store = Store(topic, window_s=300)
        store.prepare(conn)
        raw = raw_batch(topic, messages, partition=partition, log_id=log_id)
        outcome = store.apply(conn, decode_batch(raw, clock=lambda: NOW))
        assert outcome.rejected == len(messages)


def dlq_parser() -> Parser:
    parser = Parser(prog="jangteo dlq")
    deadletters_command.configure(parser)
    return parser


def dlq_args(*words: str) -> argparse.Namespace:
    return dlq_parser().parse(words)


def call(settings: Settings, *words: str) -> int:
    """Run `jangteo dlq WORDS` in this process."""
    return deadletters_command.run(dlq_args(*words), settings)
