"""Write a history of the shop: the same behaviour as live, on a virtual clock, a year in minutes.

The first week's buyers are a seeded random pool, then 600 purchasers and 400 others by propensity;
scenarios, holidays and curves apply, orders are cancelled and returned, grades follow every seven
days. Killed at any moment, it resumes with the same command.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Final, Protocol

import polars as pl
import psycopg
import redis

from generators import profiles
from generators.behaviour.customer_model import ORDERS_PER_DAY
from generators.history import request
from generators.history.fingerprint import fingerprint
from generators.history.forecast import forecast
from generators.history.history import Ending
from generators.history.plan import Day
from generators.history.prefetch import ahead
from generators.history.process import SimulatedDays
from generators.history.progress import progress
from generators.history.request import Begun, HistoryRequest
from generators.history.targets.kafka import KafkaTarget
from generators.history.targets.parquet import ParquetTarget
from generators.history.targets.postgres import PostgresTarget
from generators.options import invented
from generators.publishing.order_lifecycle import PENDING, remember
from generators.publishing.pending_products import PENDING_PRODUCTS
from generators.topics.history import TopicHistories
from shop import client_errors, command, kafka, node_lease, postgres
from shop.clock import Clock, utc_now
from shop.errors import ExitCode, JangteoError, UnreachableError, UsageError
from shop.ids import EPOCH_MS, IDS_PER_MS, NODES, SEQUENCE_BITS
from shop.log import get_logger
from shop.node_lease import NodeLease
from shop.optional.option import add_with
from shop.postgres.sqlstate import Verdict, explain, judge
from shop.redis import cache
from shop.retry import first_line
from shop.settings import Settings, announce

STATE: Final = "backfill-kafka.json"
USES: Final[dict[str, tuple[announce.Name, ...]]] = {
    "postgres": ("postgres", "redis"),
    "kafka": ("kafka",),
}
"""The servers that a history goes to."""


class Target(Protocol):
    """Where a history is written."""

    everything: bool
    """Whether it wants the days that it has, too."""
    live: bool
    """Whether the shop continues from its end."""
    profiles: bool
    """Whether it wants names and addresses of customers with the day of their sign-up."""
    keeps_state: bool
    """Whether it takes the state from which `jangteo generate continue` resumes."""

    def begin(self, request: HistoryRequest, end: datetime) -> Begun:
        """Prepare the target; return where to resume."""
        ...

    def prepare(self, day: Day) -> Callable[[], None]:
        """Prepare a day while others are being written; return the function that writes it."""
        ...

    def finish(self, ending: Ending) -> None:
        """Write the sums of all days."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


def day(text: str) -> date:
    """Read a date, for argparse."""
    return date.fromisoformat(text)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `jangteo backfill`."""
    add = parser.add_argument
    add(
        "--days",
        type=command.count,
        default=request.DAYS,
        metavar="N",
        help=f"write N business days (default: {request.DAYS})",
    )
    add("--end", type=day, metavar="DATE", help="end with DATE (default: today, up to now)")
    add(
        "--orders-per-day", type=command.count, default=ORDERS_PER_DAY, metavar="N",
        help=f"mean orders per day (default: {ORDERS_PER_DAY}, one every 4 s); customers and"
        " products follow from it",
    )  # fmt: skip
    add(
        "--scale", type=command.positive, metavar="F",
        help="multiply orders per day, and with them customers and products, by F",
    )  # fmt: skip
    add("--seed", type=command.count, metavar="N",
        help="seed of all random numbers (default: SHOP_SEED, 1)")  # fmt: skip
    add("--no-scenarios", action="store_true", help="leave out sales, holidays and other scenarios")
    add(
        "--to", nargs="+", default=["postgres"], metavar=("WHERE", "DIR"),
        help="write to postgres (the default), parquet DIR, or kafka",
    )  # fmt: skip
    add(
        "--speed",
        type=command.positive,
        metavar="X",
        help="publish X seconds of the history per second (with --to kafka)",
    )
    add(
        "--publish", action="store_true",
        help="publish its customers and products to the topics afterwards (with --to postgres)",
    )  # fmt: skip
    add_with(parser, "also write optional topics")
    add("--truncate", action="store_true", help="empty the shop or the folder first")
    add("--discard", action="store_true", help="delete an unfinished history, then exit")
    invented(parser)


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Write a history."""
    settings.require("generator")
    settings.refuse_invented("write a made-up history", allowed=args.yes_production)
    if args.truncate or args.discard:
        settings.refuse_in_production(
            "empty the shop", "--yes-production", allowed=args.yes_production
        )
    asked = HistoryRequest(
        days=args.days, end=args.end,
        orders_per_day=round(args.orders_per_day * (args.scale or 1)),
        seed=settings.seed if args.seed is None else args.seed,
        scenarios=not args.no_scenarios, window_s=settings.spend_window,
        policy=settings.grade_policy.as_json(), topics=args.topics,
    )  # fmt: skip
    asked.check()
    stop = command.stop_on_signals()
    try:
        with contextlib.closing(target_of(args, settings, stop)) as target:
            announce.servers(settings, *USES.get(args.to[0], ()))
            if args.discard:
                return discard(target)
            if isinstance(target, ParquetTarget):  # its ids are those of a data set of its own
                done = fill(target, asked, settings, stop)
            else:
                # It waits for no server: what refuses a lease refuses the history too.
                node = node_lease.leased(node_lease.server(settings), "backfill", exact=asked.node)
                with node as held:
                    done = fill(target, asked, settings, stop, held) if held else ExitCode.FAILED
    except psycopg.Error as e:
        refused = judge(e) is Verdict.HOLD
        why = f"{explain(e)}, then run" if refused else f"{first_line(e)}; run"
        raise client_errors.kind(e)(
            f"{settings.postgres.where}: {why} the same command again to resume"
        ) from None
    if done == ExitCode.OK and args.publish:
        return profiles.report(settings, stop)
    return done


def target_of(args: argparse.Namespace, settings: Settings, stop: threading.Event) -> Target:
    """Return where the history goes.

    Raises:
        UsageError: if that is not understood.
    """
    where, *rest = args.to
    if args.publish and (where != "postgres" or args.discard):
        raise UsageError("--publish is for a history in PostgreSQL: it goes with --to postgres")
    if args.publish:
        kafka.wait_until_up(settings.kafka)  # before anything is written
    if args.speed and where != "kafka":
        raise UsageError("--speed paces events: it goes with --to kafka")
    window_s = settings.spend_window
    if where == "postgres" and not rest:
        return PostgresTarget(
            settings.postgres, window_s=window_s, policy=settings.grade_policy,
            truncate=args.truncate,
        )  # fmt: skip
    if where == "parquet" and len(rest) == 1:
        return ParquetTarget(Path(rest[0]), window_s=window_s, truncate=args.truncate)
    if where == "kafka" and not rest:
        return KafkaTarget(
            settings.kafka, settings.data_dir / STATE, speed=args.speed, truncate=args.truncate,
            stop=stop, topics=args.topics,
        )  # fmt: skip
    raise UsageError(f"--to {' '.join(args.to)}: it is postgres, parquet DIR, or kafka")


def discard(target: Target) -> int:
    """Give up the unfinished history."""
    if not isinstance(target, PostgresTarget):
        raise UsageError("--discard is for PostgreSQL; otherwise remove the folder or the file")
    get_logger().info("discarded" if target.discard() else "no history is unfinished")
    return ExitCode.OK


def fill(
    target: Target,
    asked: HistoryRequest,
    settings: Settings,
    stop: threading.Event,
    held: NodeLease | None = None,
    *,
    clock: Clock = utc_now,
) -> int:
    """Write all days that are not there yet, until `stop`; while the lease is in doubt, wait."""
    wanted_end = asked.ends_at(held.clock() if held else clock())
    if isinstance(target, KafkaTarget) and target.starts(asked, wanted_end):
        refuse_overlap(settings, asked, wanted_end)
    begun = target.begin(asked, wanted_end)
    end, first = begun.end, begun.next_day
    log = get_logger()
    if begun.whole:
        log.info("this history has been written already: nothing to do")
        return ExitCode.OK
    if first:
        log.info("resuming", day=first, of=asked.days)
    elif target.keeps_state:
        forget_life(settings)
    announce_size(asked)
    began = time.monotonic()
    policy = settings.grade_policy
    topics = TopicHistories(asked.topics, asked.seed, end)
    source = SimulatedDays(
        asked.plan(end, policy), policy, end, keep_state=target.keeps_state,
        profiles=target.profiles or topics.profiles,
    )  # fmt: skip
    orders = 0
    with (
        contextlib.closing(source.days()) as days,
        contextlib.closing(_written(target, _until(days, stop, held), begun, topics)) as written,
    ):
        for one in progress(written, asked.days, skip=first):
            orders += len(one.orders) if one.number >= first else 0
    if source.ending is None or stop.is_set():
        log.warning("stopped; run the same command again to resume")
        return ExitCode.FAILED
    if target.live:
        wait_for_life(source.ending.pending, settings)
    target.finish(source.ending)
    seconds = time.monotonic() - began
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    log.info(
        "backfilled", orders=orders, users=len(source.ending.users),
        products=len(source.ending.products), until=end.isoformat(), seconds=round(seconds, 1),
        orders_per_second=round(orders / seconds),
        peak_mb={"simulation": source.peak_bytes >> 20, "writer": own >> 20},
    )  # fmt: skip
    return ExitCode.OK


def announce_size(asked: HistoryRequest) -> None:
    """Log how large the history will be, and what a history of this size cannot show."""
    size = forecast(asked.days, asked.orders_per_day)
    log = get_logger()
    log.info(
        "expecting", orders=size.orders, users=size.customers, products=size.products,
        gigabytes=round(size.gigabytes, 2), minutes=round(size.minutes, 1),
    )  # fmt: skip
    for reason in asked.limits():
        log.warning(reason)


def _written(
    target: Target, days: Iterator[Day], begun: Begun, topics: TopicHistories
) -> Generator[Day, None, None]:
    """Write the days that are wanted; return each when it is there.

    To take a day from the simulation's process and to make its rows costs a third of what the
    server needs to store them, so the next ones are made meanwhile.
    """
    passed = 0

    def prepare(day: Day) -> Callable[[], None] | None:
        nonlocal passed
        if topics:
            day = replace(day, topics=topics.of(day.block()))
        if day.number >= begun.next_day:
            return target.prepare(day)
        passed ^= fingerprint(day)
        if day.number + 1 == begun.next_day and begun.fingerprint not in (None, passed):
            raise JangteoError(
                f"day 0 to {day.number}, simulated again, are not those that are written: "
                "another version of the program or of NumPy wrote them; resume with that one, or "
                "start again with --discard"
            )
        return target.prepare(day) if target.everything else None

    with contextlib.closing(ahead(days, prepare)) as ready:
        for day, write in ready:
            if write is not None:
                write()
            yield day


def _until(days: Iterator[Day], stop: threading.Event, held: NodeLease | None) -> Iterator[Day]:
    for one in days:
        while held is not None and held.trouble and not stop.wait(0.5):
            pass
        if stop.is_set():
            return
        yield one


def refuse_overlap(settings: Settings, asked: HistoryRequest, end: datetime) -> None:
    """Refuse to publish a history where there is one of the same time: they would share ids.

    Raises:
        UsageError: if the shop has customers, products or orders with ids of that time and node.
    """
    plan = asked.plan(end, settings.grade_policy)
    first = int(plan.start.timestamp() * 1_000) - EPOCH_MS
    last = int(end.timestamp() * 1_000) - EPOCH_MS
    with postgres.connection(settings.postgres, "backfill", autocommit=True) as conn:
        row = conn.execute(
            "SELECT EXISTS (SELECT FROM orders WHERE order_id BETWEEN %s AND %s"
            " AND order_id >> %s & %s = %s)",
            (first * IDS_PER_MS, last * IDS_PER_MS, SEQUENCE_BITS, NODES - 1, asked.node),
        ).fetchone()
    if row and row[0]:
        raise UsageError(
            "the shop has a history of that time, and another one would share its ids: empty the "
            "shop first (`jangteo seed --truncate`), or choose another --end"
        )


def forget_life(settings: Settings) -> None:
    """Forget what waits for orders of a shop that is emptied: it would bring them back."""
    if client := cache.optional_client(settings, timeout=3.0):
        with contextlib.closing(client) as r:
            try:
                r.delete(PENDING, PENDING_PRODUCTS)
            except redis.RedisError as e:
                raise UnreachableError(
                    f"cannot delete the planned cancellations: {first_line(e)}; run the same "
                    "command again to resume"
                ) from None


def wait_for_life(pending: pl.DataFrame, settings: Settings) -> None:
    """Hand cancellations and refunds that are still to come to the generator of orders."""
    r = cache.optional_client(settings, timeout=3.0)
    if r is None:
        get_logger().warning("no REDIS_URL: orders stay paid", orders=len(pending))
        return
    try:
        remember(r, pending, pending["updated_at"].dt.timestamp("ms").to_numpy() / 1_000)
    except redis.RedisError as e:
        raise UnreachableError(
            f"cannot store the planned cancellations: {first_line(e)}; run the same "
            "command again to resume"
        ) from None
    finally:
        r.close()


if __name__ == "__main__":
    sys.exit(
        command.main(configure, run, prog="python -m generators.backfill", description=__doc__)
    )
