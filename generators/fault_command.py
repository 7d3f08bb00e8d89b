"""Compare the ledger of faults with what the ingest did: every fault found, nothing else."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from confluent_kafka import KafkaException

from generators import ledger
from generators.faults import IGNORED, STORED
from generators.ledger import Entry
from shop import command, kafka, postgres
from shop.errors import ExitCode, JangteoError, UnreachableError
from shop.outage import first_line
from shop.postgres import Connection
from shop.settings import Settings

SHOWN: Final = 20
"""Differences that are printed one by one."""
Place = tuple[str, int, int]


@dataclass(frozen=True)
class Result:
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
    entries: Sequence[Entry], rejected: dict[Place, str], stored_orders: frozenset[int]
) -> Result:
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
        f"{topic}[{partition}]@{offset}: rejected as {reason}, and no fault of the ledger"
        for (topic, partition, offset), reason in sorted(rejected.items())
        if (topic, partition, offset) not in known
    ]
    return Result(len(entries), expected, found, len(rejected), tuple(differences))


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("action", choices=("reconcile",))
    parser.add_argument("--ledger", type=Path, help="a file or folder (default: DATA_DIR/faults)")
    parser.add_argument(
        "--wait", type=command.positive, default=20.0, metavar="SECONDS",
        help="for the ingest to come so far (default: 20)",
    )  # fmt: skip


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Compare, print, and say with the exit code whether all is as it should be."""
    entries = list(ledger.read(args.ledger or settings.data_dir / ledger.FOLDER))
    try:
        described = kafka.describe_topics(kafka.admin(settings.kafka))
    except KafkaException as e:
        raise UnreachableError(f"cannot reach {settings.kafka.where}: {e.args[0].str()}") from None
    logs = {name: info.log_id for name, info in described.items()}
    try:
        with postgres.connection(settings.postgres, "faults", autocommit=True) as conn:
            _await_ingest(conn, entries, logs, args.wait)
            result = compare(entries, _rejected(conn, logs), _stored(conn, entries))
    except psycopg.Error as e:
        raise JangteoError(f"cannot read the shop: {first_line(e)}") from None
    for line in result.differences[:SHOWN]:
        print(line)  # noqa: T201
    if len(result.differences) > SHOWN:
        print(f"... and {len(result.differences) - SHOWN} more")  # noqa: T201
    kinds = Counter(e.kind for e in entries)
    print(  # noqa: T201
        f"{result.entries} faulty messages of {len(kinds)} kinds; {result.found} of "
        f"{result.expected} rejected as expected (recall {result.recall:.3f}); "
        f"{result.rejected} rejected in all; {len(result.differences)} differences"
    )
    return ExitCode.FAILED if result.differences else ExitCode.OK


def _await_ingest(
    conn: Connection, entries: Sequence[Entry], logs: dict[str, str], wait: float
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


def _stored(conn: Connection, entries: Sequence[Entry]) -> frozenset[int]:
    ids = [e.id for e in entries if e.topic == "orders" and e.route in (STORED, IGNORED)]
    rows = conn.execute("SELECT order_id FROM orders WHERE order_id = ANY(%s)", (ids,)).fetchall()
    return frozenset(order_id for (order_id,) in rows)


if __name__ == "__main__":
    sys.exit(
        command.main(configure, run, prog="python -m generators.fault_command", description=__doc__)
    )
