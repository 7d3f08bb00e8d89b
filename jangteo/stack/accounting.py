"""Account for every message published since a start: the offsets of Kafka and of PostgreSQL.

`ingest_offsets` counts, in the transactions that store the messages, how many were stored,
rejected or ignored; the end of the log shows how many there were. The two must agree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shop import kafka
from shop.events import CONTRACTS, TOPICS
from shop.optional.registry import OPTIONAL
from shop.postgres import Connection
from shop.settings import KafkaSettings


@dataclass(frozen=True)
class OffsetRow:
    """One row of `ingest_offsets`; counts messages, unless the name says offsets."""

    next_offset: int = 0
    stored: int = 0
    rejected: int = 0
    ignored: int = 0
    gaps: int = 0
    """Offsets without a message; see `lost`."""
    lost: int = 0
    """Offsets that an operator skipped."""

    @property
    def taken(self) -> int:
        """Number of messages that the offsets advanced over: stored + rejected + ignored.

        >>> OffsetRow(next_offset=10, stored=6, gaps=3, lost=1).taken
        6
        """
        return self.next_offset - self.gaps - self.lost


Log = tuple[str, str]
"""A topic and its log id."""
Ledger = Mapping[Log, Mapping[int, OffsetRow]]
Ends = Mapping[Log, Mapping[int, int]]


@dataclass(frozen=True)
class Account:
    """What happened since the baseline, in messages by topic."""

    published: Mapping[str, int] = field(default_factory=dict)
    stored: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)
    taken: Mapping[str, int] = field(default_factory=dict)
    """Messages that the offsets advanced over; stored + rejected + ignored must be the same."""
    lag: Mapping[str, int] = field(default_factory=dict)

    def differences(self) -> list[str]:
        """Return what does not match, a line each; none if every message is accounted for.

        >>> Account(published={"orders": 3}, taken={"orders": 3}, stored={"orders": 2},
        ...         rejected={"orders": 0}, ignored={"orders": 0}, lag={"orders": 0}).differences()
        ['orders: 3 messages taken, 2 stored + 0 rejected + 0 ignored = 2']
        """
        found = []
        for topic in self.published:
            stored, rejected = self.stored[topic], self.rejected[topic]
            ignored, taken = self.ignored[topic], self.taken[topic]
            if self.lag[topic]:
                found.append(f"{topic}: {self.lag[topic]} messages not yet taken")
            if stored + rejected + ignored != taken:
                found.append(
                    f"{topic}: {taken} messages taken, {stored} stored + {rejected} rejected"
                    f" + {ignored} ignored = {stored + rejected + ignored}"
                )
        return found


def account(
    start_ends: Ends, start_ledger: Ledger, ends: Ends, ledger: Ledger, logs: Iterable[Log]
) -> Account:
    """Account for every offset.

    Args:
        start_ends: ends of the logs at the baseline.
        start_ledger: the ledger at the baseline.
        ends: ends of the logs that exist now.
        ledger: the ledger now.
        logs: every log that existed since the baseline. What a deleted log held beyond its
            ledger can no longer be known, and counts as never published.
    """
    logs = tuple(logs)
    topics = (*TOPICS, *(t for t in OPTIONAL if any(t == log[0] for log in logs)))
    sums: dict[str, dict[str, int]] = {
        name: dict.fromkeys(topics, 0)
        for name in ("published", "stored", "rejected", "ignored", "taken", "lag")
    }
    for log in logs:
        topic = log[0]
        now, before = ledger.get(log, {}), start_ledger.get(log, {})
        for partition, entry in now.items():
            base = before.get(partition, OffsetRow())
            sums["stored"][topic] += entry.stored - base.stored
            sums["rejected"][topic] += entry.rejected - base.rejected
            sums["ignored"][topic] += entry.ignored - base.ignored
            sums["taken"][topic] += entry.taken - base.taken
            if log not in ends:
                start = max(base.next_offset, start_ends.get(log, {}).get(partition, 0))
                published = entry.next_offset - start - _no_messages(base, entry)
                sums["published"][topic] += max(0, published)
        for partition, end in ends.get(log, {}).items():
            entry, base = now.get(partition, OffsetRow()), before.get(partition, OffsetRow())
            sums["lag"][topic] += max(0, end - entry.next_offset)
            # The end was read before the ledger, which may have advanced since. Offsets not taken
            # yet count as messages: only a reader learns which of them are markers.
            start = start_ends.get(log, {}).get(partition, 0)
            published = max(end, entry.next_offset) - start - _no_messages(base, entry)
            sums["published"][topic] += max(0, published)
    return Account(**sums)


def _no_messages(before: OffsetRow, now: OffsetRow) -> int:
    """Return the number of offsets between two entries that were not messages, or are lost."""
    return now.gaps + now.lost - before.gaps - before.lost


class OffsetAccounting:
    """Keeps the accounts of one run.

    Args:
        settings: address of Kafka.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._admin = kafka.admin(settings, "books")
        self._start_ends: Ends = {}
        self._start_ledger: Ledger = {}
        self._logs: set[Log] = set()

    @property
    def unread(self) -> dict[str, int]:
        """How many messages were unread at the baseline, by topic."""
        found = dict.fromkeys((*TOPICS, *(log[0] for log in self._start_ends)), 0)
        for log, partitions in self._start_ends.items():
            taken = self._start_ledger.get(log, {})
            for partition, end in partitions.items():
                found[log[0]] += max(0, end - taken.get(partition, OffsetRow()).next_offset)
        return found

    def open(self, conn: Connection) -> None:
        """Take the baseline: what is published or taken from here on counts.

        Raises:
            KafkaException, psycopg.Error: if a server does not answer.
        """
        self._start_ends = self.ends()
        self._start_ledger = read_ledger(conn)
        self._logs = set(self._start_ends)

    def ends(self) -> Ends:
        """Return the ends of the topics' logs now.

        Raises:
            KafkaException: if Kafka does not answer.
        """
        described = kafka.describe_topics(self._admin, CONTRACTS)
        ends = kafka.ends_of(self._admin, {n: t.partitions for n, t in described.items()})
        return {(name, topic.log_id): ends[name] for name, topic in described.items()}

    @property
    def logs(self) -> Iterable[Log]:
        """The logs that were seen, at the baseline or since."""
        return tuple(self._logs)

    def account(self, conn: Connection) -> Account:
        """Return what happened since the baseline.

        Raises:
            KafkaException, psycopg.Error: if a server does not answer.
        """
        ends = self.ends()
        self._logs |= set(ends)
        return account(self._start_ends, self._start_ledger, ends, read_ledger(conn), self._logs)


def read_ledger(conn: Connection) -> Ledger:
    """Return `ingest_offsets`."""
    found: dict[Log, dict[int, OffsetRow]] = defaultdict(dict)
    rows = conn.execute(
        "SELECT topic, log_id, partition, next_offset, stored, rejected, ignored, gaps, lost"
        " FROM ingest_offsets"
    )
    for topic, log_id, partition, *numbers in rows.fetchall():
        found[topic, log_id][partition] = OffsetRow(*numbers)
    return dict(found)


def may_lack_profiles(conn: Connection, logs: Iterable[Log]) -> bool:
    """Return whether the topics may lack events of customers or products that are in the tables.

    False is certain unless the tables were emptied: each stored event filled one row, so equal
    numbers of stored messages and rows mean that every row came from these logs.

    Args:
        conn: connection to the shop's database.
        logs: the topics as they are now.
    """
    known = read_ledger(conn)
    stored = {log[0]: sum(e.stored for e in known.get(log, {}).values()) for log in logs}
    row = conn.execute(
        "SELECT (SELECT count(created_at) FROM users), (SELECT count(created_at) FROM products)"
    ).fetchone()
    users, products = row or (0, 0)
    return bool(users > stored.get("users", 0) or products > stored.get("products", 0))


@dataclass(frozen=True)
class AccountingEvidence:
    """Counts of the tables' own rows, as a check of the counts of messages."""

    rows: Mapping[str, int]
    """Number of rows by table, without stubs."""
    revisions: Mapping[str, int]
    """By table, for how many messages its rows are at most: the sum of their revisions."""


def read_evidence(conn: Connection) -> AccountingEvidence:
    """Count the rows; reads every row once."""
    row = conn.execute(
        "SELECT (SELECT count(created_at) FROM users), (SELECT count(created_at) FROM products),"
        " count(*), coalesce(sum(rev), 0) FROM orders"
    ).fetchone()
    users, products, orders, revisions = row or (0, 0, 0, 0)
    rows = {"users": users, "products": products, "orders": orders}
    counted = {"orders": int(revisions)}
    for name, topic in OPTIONAL.items():
        most = "coalesce(sum(rev), 0)" if topic.revised else "count(*)"
        row = conn.execute(f"SELECT count(*), {most} FROM {name}".encode()).fetchone()  # noqa: S608  (names of our tables)
        rows[name], counted[name] = map(int, row or (0, 0))
    return AccountingEvidence(rows, counted)


def cross_check(
    before: AccountingEvidence, after: AccountingEvidence, stored: Mapping[str, int]
) -> list[str]:
    """Compare the counts with the tables; return what does not match, a line each.

    Every new row took at least one stored message; every stored message of an order or of an
    optional topic inserted its row or raised its revision.

    >>> none = AccountingEvidence({"users": 0, "products": 0, "orders": 0}, {"orders": 0})
    >>> some = AccountingEvidence({"users": 0, "products": 0, "orders": 5}, {"orders": 5})
    >>> cross_check(none, some, {"users": 0, "products": 0, "orders": 4})
    ['orders: 5 new rows, but 4 messages stored']
    """
    found = []
    for topic, count in stored.items():
        new = after.rows[topic] - before.rows[topic]
        if new > count:
            found.append(f"{topic}: {new} new rows, but {count} messages stored")
        raised = after.revisions.get(topic, count) - before.revisions.get(topic, 0)
        if count > raised:
            found.append(f"{topic}: {count} messages stored, but rows for {raised} at most")
    return found
