"""Compare the fault ledger with the rejected messages: every fault, and nothing else."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import psycopg
from confluent_kafka import KafkaException

from generators.faults import ledger
from generators.faults.kinds import IGNORED, STORED
from generators.faults.ledger import LedgerEntry
from shop import client_errors, command, kafka, postgres
from shop.errors import ExitCode, JangteoError, UnreachableError
from shop.output import say
from shop.postgres import Connection
from shop.retry import first_line
from shop.settings import Settings

SHOWN: Final = 20
"""Differences that are printed one by one."""
SLACK_MS: Final = 60_000
"""By how much the clocks of a generator and of Kafka may differ."""
Place: TypeAlias = tuple[str, int, int]


@dataclass(frozen=True)
class Reconciliation:
    """How the ledger compares with the shop.

    Attributes:
        entries: of the ledger.
        expected: of those, how many were to be rejected.
        found: of those, how many were, for the right reason.
        rejected: messages that the shop has rejected.
        differences: one line each.
    """

    entries: int
    expected: int
    found: int
    rejected: int
    differences: tuple[str, ...]

    @property
    def recall(self) -> float:
        """Share of the expected rejections that were found."""
        return self.found / self.expected if self.expected else 1.0


def compare(
    entries: Sequence[LedgerEntry], rejected: dict[Place, str], stored_orders: frozenset[int]
) -> Reconciliation:
    """Compare the ledger with the rejected messages and the stored orders.

    Args:
        entries: the ledger.
        rejected: (topic, partition, offset) -> reason.
        stored_orders: ids of the ledger's orders that are in the shop.
    """
    differences: list[str] = []
    found = expected = 0
    known = {(e.topic, e.partition, e.offset): e for e in entries}
    for place, e in known.items():
        reason = rejected.get(place)
        where = f"{e.topic}[{e.partition}]@{e.offset} {e.kind}"
        if e.route in (STORED, IGNORED):
            if reason is not None:
                differences.append(f"{where}: expected {e.route}, rejected as {reason}")
            elif e.topic == "orders" and e.id not in stored_orders:
                differences.append(f"{where}: order {e.id} is not in the shop")
            continue
        expected += 1
        found += reason == e.route
        if reason != e.route:
            differences.append(f"{where}: expected {e.route}, {reason or 'not rejected'}")
    differences += [
        f"{topic}[{partition}]@{offset}: rejected as {reason}, but not in the fault ledger"
        for (topic, partition, offset), reason in sorted(rejected.items())
        if (topic, partition, offset) not in known
    ]
    return Reconciliation(len(entries), expected, found, len(rejected), tuple(differences))


def place(
    settings: Settings, entries: Sequence[LedgerEntry], logs: dict[str, str]
) -> list[LedgerEntry]:
    """Return the faults that are in the topics as these are now, with their coordinates.

    Those that were announced and not acknowledged are looked for by their digests; those of topics
    that have been recreated since are left out.

    Args:
        settings: where Kafka is.
        entries: the ledger.
        logs: topic -> the identity of its log.

    Raises:
        KafkaException: if Kafka does not answer.
    """
    held = [e for e in entries if e.log_id is not None and e.log_id == logs.get(e.topic)]
    unknown = [e for e in entries if e.log_id is None]
    for topic in {e.topic for e in unknown} & set(logs):
        wanted = {e.digest: e for e in unknown if e.topic == topic}
        since = min(e.at_ms for e in wanted.values()) - SLACK_MS
        for digest, (partition, offset) in search(settings, topic, set(wanted), since).items():
            changes = {"partition": partition, "offset": offset, "log_id": logs[topic]}
            held.append(msgspec.structs.replace(wanted[digest], **changes))
    return held


def search(
    settings: Settings, topic: str, digests: set[str], since_ms: int
) -> dict[str, tuple[int, int]]:
    """Return where in a topic the last message of each digest is; absent if there is none.

    Args:
        settings: where Kafka is.
        topic: read to its end.
        digests: see `ledger.digest`.
        since_ms: milliseconds since the Unix epoch; what was written earlier is not read.
    """
    found: dict[str, tuple[int, int]] = {}
    for message in kafka.read(settings.kafka, topic, since_ms=since_ms):
        digest = ledger.digest(message.key(), message.value() or b"")
        if digest in digests:
            found[digest] = (int(message.partition() or 0), int(message.offset() or 0))
    return found


def copies(
    conn: Connection, places: Iterable[Place], logs: dict[str, str], digests: set[str]
) -> set[Place]:
    """Return those of the rejected messages whose bytes are a fault's.

    A message whose acknowledgement was lost with its broker is sent again, and the log may then
    hold it twice.
    """
    found = set()
    for topic, partition, offset in places:
        row = conn.execute(
            'SELECT key, payload FROM rejected_messages WHERE (topic, partition, "offset", log_id)'
            " = (%s, %s, %s, %s)",
            (topic, partition, offset, logs[topic]),
        ).fetchone()
        if row and ledger.digest(row[0], row[1] or b"") in digests:
            found.add((topic, partition, offset))
    return found


def configure(parser: command.Parser) -> None:
    """Add the options of `jangteo faults`."""
    reconcile = parser.add_action(
        "reconcile",
        "compare the faults that the generators published with those that the ingest rejected",
    )
    reconcile.add_argument(
        "--ledger", type=Path, metavar="PATH",
        help="read the fault ledger from this file or folder (default: DATA_DIR/faults)",
    )  # fmt: skip
    reconcile.add_argument(
        "--wait", type=command.positive, default=20.0, metavar="SECONDS",
        help="give up after SECONDS if the ingest has not read all faults (default: 20)",
    )  # fmt: skip


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Compare and print; return 0 if there are no differences, else 1."""
    entries = list(ledger.read(args.ledger or settings.data_dir / ledger.FOLDER))
    try:
        described = kafka.describe_topics(kafka.admin(settings.kafka))
        logs = {name: info.log_id for name, info in described.items()}
        held = place(settings, entries, logs)
    except KafkaException as e:
        raise UnreachableError(f"cannot reach {settings.kafka.where}: {e.args[0].str()}") from None
    known = {(e.topic, e.partition, e.offset) for e in held}
    try:
        with postgres.connection(settings.postgres, "faults", autocommit=True) as conn:
            _await_ingest(conn, held, logs, args.wait)
            rejected = _rejected(conn, logs)
            again = copies(conn, set(rejected) - known, logs, {e.digest for e in entries})
            rejected = {where: reason for where, reason in rejected.items() if where not in again}
            result = compare(held, rejected, _stored(conn, held))
    except psycopg.Error as e:
        raise client_errors.kind(e)(f"cannot read the shop: {first_line(e)}") from None
    for line in result.differences[:SHOWN]:
        say(line)
    if len(result.differences) > SHOWN:
        say(f"... and {len(result.differences) - SHOWN} more")
    kinds = {e.kind for e in held}
    say(
        f"{result.entries} faulty messages of {len(kinds)} kinds; {result.found} of "
        f"{result.expected} rejected as expected (recall {result.recall:.3f}); "
        f"{result.rejected} rejected in all; {len(result.differences)} differences"
    )
    if again:
        say(f"{len(again)} copies of faults, sent twice because an acknowledgement was lost")
    if left := len(entries) - len(held):
        say(f"{left} entries left out: never published, or of topics recreated since")
    return ExitCode.FAILED if result.differences else ExitCode.OK


def _await_ingest(
    conn: Connection, entries: Sequence[LedgerEntry], logs: dict[str, str], wait: float
) -> None:
    """Wait until the ingest has come past the ledger.

    Raises:
        JangteoError: if it has not in time.
    """
    needed: dict[tuple[str, int], int] = {}
    for e in entries:
        needed[e.topic, e.partition] = max(e.offset, needed.get((e.topic, e.partition), 0))
    deadline = time.monotonic() + wait
    while True:
        rows = conn.execute(
            "SELECT topic, partition, next_offset FROM ingest_offsets WHERE log_id = ANY(%s)",
            (list(logs.values()),),
        ).fetchall()
        applied = {(t, p): n for t, p, n in rows}
        behind = [w for w, offset in needed.items() if applied.get(w, 0) <= offset]
        if not behind:
            return
        if time.monotonic() > deadline:
            topic, partition = min(behind)
            raise JangteoError(
                f"the ingest has not taken {topic}[{partition}] up to offset "
                f"{needed[topic, partition]} within {wait:g} s: is it running, and is the ledger "
                "of these topics?"
            )
        time.sleep(0.2)


def _rejected(conn: Connection, logs: dict[str, str]) -> dict[Place, str]:
    rows = conn.execute(
        'SELECT topic, partition, "offset", reason FROM rejected_messages WHERE log_id = ANY(%s)',
        (list(logs.values()),),
    ).fetchall()
    return {(t, p, o): reason for t, p, o, reason in rows}


def _stored(conn: Connection, entries: Sequence[LedgerEntry]) -> frozenset[int]:
    ids = [e.id for e in entries if e.topic == "orders" and e.route in (STORED, IGNORED)]
    rows = conn.execute("SELECT order_id FROM orders WHERE order_id = ANY(%s)", (ids,)).fetchall()
    return frozenset(order_id for (order_id,) in rows)


if __name__ == "__main__":
    sys.exit(
        command.main(
            configure, run, prog="python -m generators.faults.command", description=__doc__
        )
    )
