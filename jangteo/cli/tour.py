"""Show the running shop in five minutes: look at it, kill a process, repair a message, hold a sale.

Every step prints the command that it runs, so that it can be typed again. The tour kills the
ingest once, publishes one faulty order and repairs it, and starts a sale of two minutes; all of
that is what the shop is there for. Start a shop first: `jangteo up`, in another terminal.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from jangteo.stack import consistency
from shop import postgres
from shop.boot_clock import same_process
from shop.errors import DeadlineError, ExitCode, JangteoError, UnreachableError, UsageError
from shop.ingest_progress import ProgressReader
from shop.output import say
from shop.postgres import Connection
from shop.process_status import ProcessState, ProcessStatus, read_snapshot
from shop.settings import Settings

WAIT_S: Final = 180.0
"""Longest wait for an effect; each comes within seconds, on a busy machine later."""
SALE: Final = "flash_sale"
SALE_LASTS: Final = "2m"
WATCHED_S: Final = 20.0
"""Seconds of orders that are counted before and during the sale: about five at the shop's pace."""
_LAST_OF_MILLISECOND: Final = 0xFF
"""The sequence number of an id that a generator reaches only with 256 orders in a millisecond."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `jangteo tour`."""
    parser.add_argument(
        "--yes", action="store_true", help="do not wait for Enter between the steps"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run the steps one after the other."""
    _ = settings.postgres, settings.kafka, settings.redis_url  # names what is missing, once
    settings.refuse_invented("kill processes and publish faulty orders", allowed=False)
    waits = not args.yes and sys.stdin.isatty()
    tour = Tour(settings)
    steps = [tour.look, tour.kill, tour.repair, tour.sale]
    for number, step in enumerate(steps, 1):
        say(f"\n== {number} of {len(steps)}: {step.__doc__}\n")
        step()
        if waits and number < len(steps):
            say("\nEnter continues, Ctrl-C ends the tour", end=" ")
            sys.stdin.readline()
    say(
        "\nThat was the tour. Next: `jangteo console` watches and steers all of this on one screen;"
        "\n`jangteo --help` lists the commands."
    )
    return ExitCode.OK


class Tour:
    """The steps.

    Args:
        settings: the running shop.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def look(self) -> None:
        """Look at the shop."""
        say("The last three orders, as they are on Kafka, and the customers by grade:")
        self._jangteo("topics", "tail", "orders", "--from", "-3", "--no-follow")
        self._jangteo("psql", "-c", "SELECT grade, count(*) FROM users GROUP BY grade ORDER BY 2")

    def kill(self) -> None:
        """Kill the ingest, and see that nothing is lost."""
        victim = self._process("ingest")
        if victim is None or victim.pid is None:
            say("The ingest does not run under `jangteo up` on this machine: this step is left out")
            return
        say("The ingest moves messages from Kafka to PostgreSQL. It is killed, without a warning:")
        say(f"$ kill -9 {victim.pid}")
        if victim.pid_started and same_process(victim.pid, victim.pid_started):
            os.kill(victim.pid, signal.SIGKILL)
        began = time.monotonic()
        self._wait("the restart of the ingest", lambda: self._restarted(victim))
        reader = ProgressReader(self._settings, "tour", commits=False)
        try:
            ends = {key: end for key, (end, _) in _offsets(reader).items()}
            self._wait(
                "the ingest to catch up",
                lambda: all(
                    applied is not None and applied >= ends.get(key, 0)
                    for key, (_, applied) in _offsets(reader).items()
                ),
            )
        finally:
            reader.close()
        took = time.monotonic() - began
        say(f"`jangteo up` restarted it, and {took:.0f} s after the kill nothing was left to read.")
        with postgres.connection(self._settings.postgres, "tour", autocommit=True) as conn:
            orders = _one(conn, "SELECT count(*) FROM orders")
            differences = consistency.check(conn)
        if differences:
            raise JangteoError(f"the counts do not match: {'; '.join(differences)}")
        say(
            f"All {orders:,} orders match the spend windows, the customers' totals, the counters "
            "and the rollups: nothing is lost, nothing is counted twice."
        )

    def repair(self) -> None:
        """Send a faulty order, find it among the dead letters, and repair it."""
        order = self._newest_order()
        order |= {"order_id": order["order_id"] | _LAST_OF_MILLISECOND, "payment_method": "GOLD"}
        line = json.dumps(order, ensure_ascii=False, separators=(",", ":"))
        say("An order with a payment method that does not exist, sent although it is refused:")
        self._jangteo("topics", "produce", "orders", "--anyway", stdin=line)
        place: list[str] = []

        def rejected() -> bool:
            with postgres.connection(self._settings.postgres, "tour", autocommit=True) as conn:
                row = conn.execute(
                    'SELECT topic, partition, "offset" FROM rejected_messages'
                    " WHERE topic = 'orders' AND replayed_at IS NULL AND payload = %s"
                    " ORDER BY rejected_at DESC LIMIT 1",
                    (line.encode(),),
                ).fetchone()
            place[:] = [f"{row[0]}[{row[1]}]@{row[2]}"] if row else []
            return bool(place)

        self._wait("the dead letter", rejected)
        say("It was not stored and not lost: it is a dead letter, with the fault marked.")
        self._jangteo("dlq", "show", *place)
        say("Now it is published again, with a payment method that exists:")
        self._jangteo("dlq", "replay", *place, "--set", 'payment_method="CARD"')
        which = int(order["order_id"])
        stored = f"SELECT payment_method, amount FROM orders WHERE order_id = {which}"  # noqa: S608  (a number)

        def there() -> bool:
            with postgres.connection(self._settings.postgres, "tour", autocommit=True) as conn:
                return bool(conn.execute(stored.encode()).fetchone())

        self._wait("the repaired order", there)
        self._jangteo("psql", "-c", stored)

    def sale(self) -> None:
        """Start a sale, and see it in the orders."""
        if self._process("continuation"):
            say(
                "This shop resumes a history, whose scenarios are drawn already: this step is left "
                "out. `jangteo up --no-continue` runs generators that take new ones."
            )
            return
        say(f"Orders are counted for {WATCHED_S:.0f} s, then a sale of {SALE_LASTS} is started:")
        before = self._orders_in(WATCHED_S)
        self._jangteo("scenario", "start", SALE, "--duration", SALE_LASTS)
        during = self._orders_in(WATCHED_S)
        say(f"Orders in {WATCHED_S:.0f} s: {before} before, {during} during the sale.")
        self._jangteo(
            "psql",
            "-c",
            "SELECT scenario, count(*) AS orders,"
            " round(100.0 * sum(discount) / sum(amount + discount)) AS percent_off"
            " FROM orders WHERE ordered_at > now() - interval '1 minute' GROUP BY scenario",
        )
        self._jangteo("scenario", "stop", SALE)

    # -- what the steps have in common -------------------------------------------------------

    def _jangteo(self, *words: str, stdin: str | None = None) -> None:
        """Print a command and run it."""
        piped = f"echo {shlex.quote(stdin)} | " if stdin else ""
        say(f"$ {piped}jangteo {shlex.join(words)}")
        done = subprocess.run(
            [sys.executable, "-m", "jangteo", *words],
            env={**os.environ, **self._settings.env},
            input=stdin,
            text=True,
            check=False,
        )
        if done.returncode:
            unreachable = done.returncode == ExitCode.UNREACHABLE
            kind = UnreachableError if unreachable else JangteoError
            raise kind(f"`jangteo {words[0]}` failed with exit code {done.returncode}")
        say()

    def _process(self, name: str) -> ProcessStatus | None:
        statuses = read_snapshot(self._settings.data_dir)
        return next((status for status in statuses if status.name == name), None)

    def _restarted(self, victim: ProcessStatus) -> bool:
        now = self._process(victim.name)
        return bool(now and now.state == ProcessState.RUNNING.value and now.pid != victim.pid)

    def _newest_order(self) -> dict[str, Any]:
        """Return the payload of the newest order on Kafka."""
        done = subprocess.run(
            [sys.executable, "-m", "jangteo", "topics", "tail", "orders",
             "--from", "-1", "--no-follow", "--json"],
            env={**os.environ, **self._settings.env},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )  # fmt: skip
        payload = json.loads(done.stdout)["payload"] if done.stdout.strip() else None
        if not isinstance(payload, dict) or not isinstance(payload.get("order_id"), int):
            raise UsageError("there is no order yet: run the tour again when the first has come")
        return payload

    def _orders_in(self, seconds: float) -> int:
        with postgres.connection(self._settings.postgres, "tour", autocommit=True) as conn:
            before = _one(conn, "SELECT count(*) FROM orders")
            time.sleep(seconds)
            return _one(conn, "SELECT count(*) FROM orders") - before

    def _wait(self, what: str, seen: Callable[[], bool]) -> None:
        gives_up = time.monotonic() + WAIT_S
        while not seen():
            if time.monotonic() > gives_up:
                raise DeadlineError(f"{what}: not seen within {WAIT_S:.0f} s; see `jangteo doctor`")
            time.sleep(0.5)


def _offsets(reader: ProgressReader) -> dict[tuple[str, int], tuple[int, int | None]]:
    """Return the end of each partition's log, and the offset that PostgreSQL has applied."""
    return {
        (topic.name, p.partition): (p.end, p.applied)
        for topic in reader.look().topics.values()
        for p in topic.partitions
    }


def _one(conn: Connection, query: str) -> int:
    row = conn.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0
