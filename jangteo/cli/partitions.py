"""List the months of a database that is partitioned by month; detach, attach or drop them.

Users, products and rollups keep what a detached or dropped month counted. Months that grades
still rest on are refused.
"""

from __future__ import annotations

import argparse
import sys
from datetime import date

import psycopg

from shop import client_errors, command, postgres
from shop.clock import KST, utc_now
from shop.errors import ExitCode, UsageError
from shop.output import say
from shop.postgres import Connection, months, partitions
from shop.retry import first_line
from shop.settings import Settings, announce


def configure(parser: command.Parser) -> None:
    """Add the options of `jangteo partitions`."""
    parser.add_action("list", "list the months, with PostgreSQL's estimate of their orders")
    detach = parser.add_action("detach", "make a month a table of its own: orders_2025_01")
    attach = parser.add_action("attach", "put a detached month back")
    drop = parser.add_action(
        "drop", "remove the orders of old months for good",
        example="jangteo partitions drop --older-than 2025-01 --dry-run",
    )  # fmt: skip
    for one in (detach, attach):
        one.add_argument("month", metavar="MONTH", help="such as 2025-01, in Seoul")
    drop.add_argument(
        "--older-than", metavar="MONTH", required=True,
        help="drop every month before this one, such as 2025-01; detached ones, too",
    )  # fmt: skip
    drop.add_argument("--dry-run", action="store_true", help="show the months, drop none")
    drop.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    for one in (detach, drop):
        one.add_argument(
            "--yes-production", action="store_true", help="allow it with DB_TYPE=production"
        )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run the action."""
    if args.action in ("detach", "drop") and not getattr(args, "dry_run", False):
        settings.refuse_in_production(
            f"{args.action} months", "--yes-production", allowed=args.yes_production
        )
    if args.action != "list":
        announce.servers_in_production(settings, "postgres")
    try:
        with postgres.connection(settings.postgres, "partitions", autocommit=True) as conn:
            if args.action == "list":
                return _list(conn)
            if args.action == "drop":
                return _drop(conn, args, settings)
            month = months.parse(args.month)
            if args.action == "attach":
                say(f"{args.month}: {months.attach(conn, month):,} orders attached")
                return ExitCode.OK
            _refuse_graded(month, settings)
            orders = months.detach(conn, month)
            say(f"{args.month}: {orders:,} orders detached, now in table orders_{month:%Y_%m}")
            return ExitCode.OK
    except psycopg.Error as e:
        raise client_errors.kind(e)(f"{settings.postgres.where}: {first_line(e)}") from None


def _list(conn: Connection) -> int:
    if not partitions.partitioned(conn):
        say("the tables are not partitioned: `jangteo init --partitioned` makes them so")
    for month in months.months(conn):
        say(_line(month))
    return ExitCode.OK


def _line(month: months.Month) -> str:
    return (
        f"{month.month}  {month.state:8}  {month.orders:>13,} orders  {month.size / 1e6:>9,.1f} MB"
    )


def _refuse_graded(month: date, settings: Settings) -> None:
    """Refuse to take a month on which grades rest.

    Raises:
        UsageError: names the first month that grades count.
    """
    first = settings.grade_policy.window(utc_now())[0].astimezone(KST).date().replace(day=1)
    if month >= first:
        raise UsageError(
            f"{month:%Y-%m} still counts for grades, as all months from {first:%Y-%m} on"
        )


def _drop(conn: Connection, args: argparse.Namespace, settings: Settings) -> int:
    before = months.parse(args.older_than)
    old = [
        m for m in months.months(conn)
        if m.state != "dropped" and m.month < f"{before:%Y-%m}"
    ]  # fmt: skip
    for month in old:
        _refuse_graded(months.parse(month.month), settings)
    if not old:
        say("no month is older")
        return ExitCode.OK
    for month in old:
        say(_line(month))
    if args.dry_run:
        say(f"would drop {len(old)} months")
        return ExitCode.OK
    if not args.yes:
        say(f"the orders of {len(old)} months would be removed for good; type {len(old)} to do it:")
        if sys.stdin.readline().strip() != str(len(old)):
            say("nothing was dropped")
            return ExitCode.FAILED
    for month in old:  # a transaction each: killed half-way, the same command drops the rest
        orders = months.detach(conn, months.parse(month.month), drop=True)
        say(f"{month.month}: {orders:,} orders dropped")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(
        command.main(configure, run, prog="python -m jangteo.cli.partitions", description=__doc__)
    )
