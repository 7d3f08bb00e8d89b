"""PostgreSQL: what arrived, who buys, the grades, the dead letters."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from console import rules
from console.snapshot.tables import (
    DeadLetterCount,
    DeadLetterRow,
    DeadLetters,
    GradeCount,
    GradeRunRow,
    Grades,
    Ingested,
    ShopFigures,
    Spender,
    Upgrade,
)
from console.sources import LONGEST_DEADLINE_S, CurrentSettings
from console.text import printable
from shop import postgres
from shop.events import TOPICS
from shop.postgres import Connection, dead_letters
from shop.server_clock import clock_of

MINUTES: Final = 10
"""How far back spenders and takings look: two windows of the default length."""
SHOWN: Final = 20
"""Spenders, upgrades and letters that are read."""
_PAYLOAD_BYTES: Final = 300

_INGESTED: Final = """
    SELECT topic, sum(stored), sum(rejected), sum(ignored) FROM ingest_offsets
    GROUP BY topic LIMIT 100
"""
_SPENDERS: Final = "SELECT user_id, name, grade, orders, spend FROM top_spenders(%s, %s) LIMIT 100"
_TAKINGS: Final = """
    SELECT coalesce(sum(orders), 0), coalesce(sum(spend), 0) FROM spend_of_last(%s) LIMIT 1
"""
_SERVER: Final = """
    SELECT pg_database_size(datid), numbackends FROM pg_stat_database
    WHERE datname = current_database() LIMIT 1
"""
_GRADES: Final = """
    WITH moved AS (
        SELECT to_grade AS grade, customers FROM grade_moves_by_day
        UNION ALL
        SELECT from_grade, -customers FROM grade_moves_by_day
        UNION ALL
        SELECT 'BRONZE', customers FROM sign_ups_by_day
        UNION ALL
        SELECT 'BRONZE', count(*) FROM users WHERE created_at IS NULL
    )
    SELECT grade, sum(customers)::bigint FROM moved GROUP BY grade
    HAVING sum(customers) > 0 ORDER BY 2 DESC, 1 LIMIT 100
"""
"""Of the rollups of days, so that no customer is read; BRONZE is the grade of users' default. The
stubs, customers of which only orders are known, have a small index."""
_RUN: Final = """
    SELECT run_id, as_of, mode, changed, upgraded, downgraded,
           extract(epoch FROM finished_at - started_at)::float8, to_jsonb(r)
    FROM grade_runs r ORDER BY run_id DESC LIMIT 1
"""
_LATER_COLUMNS: Final = (
    "examined", "disagreed", "read_seconds", "compute_seconds", "write_seconds",
)  # fmt: skip
"""Taken from the row as JSON: a schema of before their time has none of them."""
_CHANGES: Final = """
    SELECT from_grade, to_grade, count(*) FROM grade_history
    WHERE as_of = %s GROUP BY 1, 2 LIMIT 1000
"""
_UPGRADES: Final = """
    SELECT h.user_id, u.name, h.from_grade, h.to_grade, h.cumulative_spend, h.as_of,
           array_position(%(names)s::text[], h.to_grade)
               > array_position(%(names)s::text[], h.from_grade) AS rises
    FROM grade_history h LEFT JOIN users u USING (user_id)
    ORDER BY h.as_of DESC, rises DESC NULLS LAST, h.cumulative_spend DESC LIMIT %(most)s
"""
"""Of a run's changes those to a higher grade come first."""
_LETTERS: Final = """
    SELECT topic, partition, "offset", reason, field, detail, substring(payload FOR %s),
           rejected_at, replayed_at
    FROM rejected_messages ORDER BY rejected_at DESC LIMIT %s
"""


class _Database:
    """A connection that is made when it is needed, with a limit on every statement."""

    name = "postgres"

    def __init__(self, current: CurrentSettings, interval: float, limit_ms: int) -> None:
        self.interval = interval
        self.deadline = LONGEST_DEADLINE_S
        self._current = current
        self._limit_ms = limit_ms
        self._conn: Connection | None = None

    def reset(self) -> None:
        """Close the connection."""
        if self._conn is not None:
            self._conn.close()
        self._conn = None

    def _connection(self) -> Connection:
        if self._conn is None or self._conn.closed:
            self._conn = postgres.connect(
                self._current.settings.postgres,
                "console",
                autocommit=True,
                timeout=max(2, math.ceil(self.deadline)),
            )
            self._conn.execute(b"SET default_transaction_read_only = on")
            self._conn.execute(f"SET statement_timeout = {self._limit_ms:d}".encode())
        return self._conn

    def _rows(
        self, query: str, values: Sequence[object] | Mapping[str, object] = ()
    ) -> list[tuple[Any, ...]]:
        return self._connection().execute(query.encode(), values).fetchall()


class ShopSource(_Database):
    """What arrived and who buys."""

    def __init__(
        self,
        current: CurrentSettings,
        *,
        interval: float = 2.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(current, interval, 2_000)
        self._monotonic = monotonic
        self._before: tuple[float, dict[str, int]] | None = None

    def read(self) -> ShopFigures:
        """Return it.

        Raises:
            psycopg.Error: if PostgreSQL does not answer, or has no schema.
        """
        counted: dict[str, Sequence[int]] = dict.fromkeys(sorted(TOPICS), (0, 0, 0))
        counted |= {topic: numbers for topic, *numbers in self._rows(_INGESTED)}
        now = self._monotonic()
        sums = {topic: sum(map(int, numbers)) for topic, numbers in counted.items()}
        before, self._before = self._before, (now, sums)
        ingested = tuple(
            Ingested(
                topic=topic,
                stored=int(numbers[0]),
                rejected=int(numbers[1]),
                ignored=int(numbers[2]),
                rate=rules.rate(
                    before[1].get(topic) if before else None,
                    sums[topic],
                    now - before[0] if before else 0.0,
                ),
            )
            for topic, numbers in counted.items()
        )
        spenders = tuple(
            Spender(
                user_id=user_id,
                name=name and printable(name),
                grade=grade,
                orders=int(orders),
                spend=int(spend),
            )
            for user_id, name, grade, orders, spend in self._rows(_SPENDERS, (MINUTES, SHOWN))
        )
        ((orders, spend),) = self._rows(_TAKINGS, (MINUTES,))
        ((size, connections),) = self._rows(_SERVER)
        ahead = clock_of(self._connection()).apart
        return ShopFigures(
            ingested=ingested,
            spenders=spenders,
            minutes=MINUTES,
            orders=int(orders),
            spend=int(spend),
            size=int(size),
            connections=int(connections),
            clock_ahead=round(ahead, 1) if abs(ahead) > 1.0 else 0.0,
        )


class GradeSource(_Database):
    """The grades: how many customers hold each, the last run, and the newest changes."""

    name = "grades"

    def __init__(self, current: CurrentSettings, *, interval: float = 10.0) -> None:
        super().__init__(current, interval, 30_000)
        self._looked: int | None = None

    def read(self) -> Grades:
        """Return them.

        Raises:
            psycopg.Error: if PostgreSQL does not answer, or has no schema.
        """
        counts = self._rows(_GRADES)
        runs = self._rows(_RUN)
        run, changes = None, {}
        if runs:
            run_id, as_of, mode, changed, up, down, seconds, row = runs[0]
            run = GradeRunRow(
                run_id=run_id,
                as_of=as_of,
                mode=mode,
                changed=changed,
                upgraded=up,
                downgraded=down,
                seconds=seconds,
                **{name: row.get(name) for name in _LATER_COLUMNS},
            )
            changes = net(self._rows(_CHANGES, (as_of,)))
        names = list(self._current.settings.grade_policy.names)
        asked = {"names": names, "most": SHOWN}
        upgrades = tuple(
            Upgrade(
                user_id=user_id,
                name=name and printable(name),
                from_grade=from_,
                to_grade=to,
                spend=spend,
                at=at,
                rises=rises,
            )
            for user_id, name, from_, to, spend, at, rises in self._rows(_UPGRADES, asked)
        )
        return Grades(
            counts=tuple(
                GradeCount(grade=grade, customers=number, change=changes.get(grade, 0))
                for grade, number in in_order(counts, names)
            ),
            run=run,
            upgrades=upgrades,
        )


class DeadLetterSource(_Database):
    """The dead letters."""

    name = "letters"

    def __init__(self, current: CurrentSettings, *, interval: float = 5.0) -> None:
        super().__init__(current, interval, 5_000)

    def read(self) -> DeadLetters:
        """Return counts and the newest.

        Raises:
            psycopg.Error: if PostgreSQL does not answer, or has no schema.
        """
        counts = tuple(
            DeadLetterCount(
                topic=c.topic, reason=c.reason, total=c.messages, open=c.waiting, newest=c.newest
            )
            for c in dead_letters.counts(self._connection())
        )
        newest = tuple(
            DeadLetterRow(
                topic=topic,
                partition=partition,
                offset=offset,
                reason=reason,
                field=field,
                detail=printable(detail),
                payload=printable((payload or b"").decode(errors="replace"), _PAYLOAD_BYTES),
                rejected_at=rejected,
                replayed_at=replayed,
            )
            for topic, partition, offset, reason, field, detail, payload, rejected, replayed in (
                self._rows(_LETTERS, (_PAYLOAD_BYTES, 5 * SHOWN)) if counts else ()
            )
        )
        return DeadLetters(counts=counts, newest=newest)


def in_order(counts: Sequence[tuple[Any, ...]], names: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return (grade, customers) in the policy's order, with 0 where nobody has a grade.

    Grades that the policy no longer names come last.

    >>> in_order([("VIP", 2), ("OLD", 1)], ["BRONZE", "VIP"])
    [('BRONZE', 0), ('VIP', 2), ('OLD', 1)]
    """
    found = dict(counts)
    return [*((n, found.pop(n, 0)) for n in names), *found.items()]


def net(changes: Sequence[tuple[Any, ...]]) -> dict[str, int]:
    """Return how many more customers hold each grade, of (from, to, customers).

    >>> net([("BRONZE", "SILVER", 3), ("SILVER", "BRONZE", 1)])
    {'BRONZE': -2, 'SILVER': 2}
    """
    found: dict[str, int] = {}
    for from_, to, number in changes:
        found[from_] = found.get(from_, 0) - number
        found[to] = found.get(to, 0) + number
    return found
