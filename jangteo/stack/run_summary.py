"""The summary of a run of `jangteo up`: what was published, and whether all is accounted for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from jangteo.stack import consistency, screen
from jangteo.stack.accounting import (
    Account,
    AccountingEvidence,
    OffsetAccounting,
    cross_check,
    read_evidence,
)
from jangteo.stack.observer import count
from shop import postgres
from shop.redis import cache
from shop.settings import Settings


@dataclass(frozen=True)
class RunSummary:
    """The result of a run."""

    account: Account
    unread: dict[str, int]
    """Number of messages by topic that an earlier run left unread; the ingest has read them now."""
    grades: dict[str, int]
    cache: dict[str, int]
    differences: list[str]
    spend_consistent: bool
    seconds: float

    @property
    def published(self) -> dict[str, int]:
        """What the ingest had to read: what this run published, and what was unread before."""
        return {topic: n + self.unread[topic] for topic, n in self.account.published.items()}

    def as_json(self) -> str:
        """Return the final line of --json."""
        record: dict[str, Any] = {
            "published": self.published,
            "stored": dict(self.account.stored),
            "rejected": sum(self.account.rejected.values()),
            "ignored": sum(self.account.ignored.values()),
            "lag": sum(self.account.lag.values()),
            "spend_consistent": self.spend_consistent,
            "grades": self.grades,
            "cache": self.cache,
            "seconds": round(self.seconds, 1),
            "wrong": list(self.differences),
        }
        return json.dumps(record, ensure_ascii=False)

    def line(self) -> str:
        """Return the summary for people, one line."""
        return (
            f"published: {screen.pairs(self.published)}"
            f" | stored: {screen.pairs(self.account.stored)}"
            f" | rejected: {sum(self.account.rejected.values())}"
            f" | ignored: {sum(self.account.ignored.values())}"
            f" | lag: {sum(self.account.lag.values())}"
            f" | spend {'matches' if self.spend_consistent else 'does NOT match'} the orders"
            f" | {self.seconds:.0f} s"
        )


def summarize(
    settings: Settings,
    accounting: OffsetAccounting,
    before: AccountingEvidence | None,
    *,
    refreshes: int,
    seconds: float,
) -> RunSummary:
    """Compare Kafka, PostgreSQL and the cache at the end of a run.

    Args:
        settings: their addresses.
        accounting: opened at the start of the run.
        before: the tables' counts at the start, None if they are not to be compared.
        refreshes: version of the cache at the start.
        seconds: duration of the run.

    Raises:
        KafkaException: if Kafka does not answer.
        psycopg.Error: if PostgreSQL does not answer.
        redis.RedisError: if Redis does not answer.
    """
    with (
        postgres.connection(settings.postgres, "up", autocommit=True) as conn,
        cache.client(settings.redis_url) as client,
    ):
        account = accounting.account(conn)
        differences = account.differences()
        if before:
            differences += cross_check(before, read_evidence(conn), account.stored)
        unequal = consistency.check(conn, limit=3)
        _, grades = count(conn)
        return RunSummary(
            account=account,
            unread=accounting.unread,
            grades=grades,
            cache={
                "users": int(client.hlen(cache.USERS)),
                "products": int(client.hlen(cache.PRODUCTS)),
                "refreshes": cache.read_meta(client).version - refreshes,
            },
            differences=differences + unequal,
            spend_consistent=not unequal,
            seconds=seconds,
        )
