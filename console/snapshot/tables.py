"""What the console reads from PostgreSQL: arrivals, spenders, grades, dead letters. Immutable."""

from __future__ import annotations

from datetime import datetime

import msgspec

from console.snapshot.reading import Rate


class Ingested(msgspec.Struct, frozen=True, kw_only=True):
    """What PostgreSQL counts of a topic: messages since the beginning, and rates."""

    topic: str
    stored: int
    rejected: int
    ignored: int
    rate: Rate = Rate()
    """Messages per second: stored, rejected and ignored."""


class Spender(msgspec.Struct, frozen=True, kw_only=True):
    """A customer by what they spent in the last minutes; KRW."""

    user_id: int
    name: str | None
    grade: str
    orders: int
    spend: int


class ShopFigures(msgspec.Struct, frozen=True, kw_only=True):
    """PostgreSQL's side: what arrived, and who buys.

    Attributes:
        ingested: per topic.
        spenders: of the last `minutes`, the largest first.
        minutes: how far back they and the next two look.
        orders: paid in that time.
        spend: KRW, in that time.
        size: bytes of the database.
        connections: clients of the server.
        clock_ahead: seconds by which this machine's clock is ahead of PostgreSQL's.
    """

    ingested: tuple[Ingested, ...]
    spenders: tuple[Spender, ...]
    minutes: int
    orders: int
    spend: int
    size: int
    connections: int
    clock_ahead: float = 0.0


class GradeRunRow(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the grader.

    Attributes:
        run_id: its number.
        as_of: the moment whose grades were worked out.
        mode: full, or incremental.
        changed: customers.
        upgraded: customers.
        downgraded: customers.
        seconds: all of it.
        examined: customers whose spend was worked out; None where the schema has none.
        disagreed: customers that an incremental run graded otherwise; None: not compared.
        read_seconds: of `seconds`; None where the schema has none, as are the next two.
        compute_seconds: of `seconds`.
        write_seconds: of `seconds`.
    """

    run_id: int
    as_of: datetime
    mode: str
    changed: int
    upgraded: int
    downgraded: int
    seconds: float
    examined: int | None = None
    disagreed: int | None = None
    read_seconds: float | None = None
    compute_seconds: float | None = None
    write_seconds: float | None = None


class GradeCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many customers hold a grade, and how many more since the run before the last."""

    grade: str
    customers: int
    change: int


class Upgrade(msgspec.Struct, frozen=True, kw_only=True):
    """A customer who changed grade; KRW in the period that counts.

    Attributes:
        rises: whether the new grade is the higher one; None if the policy no longer names both.
    """

    user_id: int
    name: str | None
    from_grade: str
    to_grade: str
    spend: int
    at: datetime
    rises: bool | None = None


class Grades(msgspec.Struct, frozen=True, kw_only=True):
    """The customers' grades, in the order of the policy."""

    counts: tuple[GradeCount, ...]
    run: GradeRunRow | None
    upgrades: tuple[Upgrade, ...]

    @property
    def customers(self) -> int:
        """All of them."""
        return sum(c.customers for c in self.counts)


class DeadLetterCount(msgspec.Struct, frozen=True, kw_only=True):
    """Rejected messages of one topic and reason; messages."""

    topic: str
    reason: str
    total: int
    open: int
    """Not replayed yet."""
    newest: datetime


class DeadLetterRow(msgspec.Struct, frozen=True, kw_only=True):
    """One rejected message; `payload` is its beginning, printable."""

    topic: str
    partition: int
    offset: int
    reason: str
    field: str | None
    detail: str
    payload: str
    rejected_at: datetime
    replayed_at: datetime | None


class DeadLetters(msgspec.Struct, frozen=True, kw_only=True):
    """The dead letters: counts, and the newest."""

    counts: tuple[DeadLetterCount, ...]
    newest: tuple[DeadLetterRow, ...]

    @property
    def open(self) -> int:
        """Not replayed yet."""
        return sum(c.open for c in self.counts)
