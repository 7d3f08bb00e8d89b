"""Faults at random moments from a seed, on servers of its own; anyone can run it for longer.

    python -m tests.faults.campaign --kills 50 --seed 1 [--brokers 3] [--members 3]
    python -m tests.faults.campaign --faults 100 --brokers 3   # each kind as often as any other

Ingest processes work under load while they are killed, paused, stopped and joined, PostgreSQL is
restarted, killed and locked, the way to it cut, stalled and slowed down, hosts vanish in the midst
of transactions, disks are full, wall clocks step, and brokers are killed, one or all of them, and
Redis, too. A grader, a cache worker and a generator of sign-ups work all the time and must survive
it; an ingest of products is killed every few seconds, and one of the optional topics that `--with`
names. At the end every message that Kafka
acknowledged must be accounted for. Exit code 1 if anything is not as promised.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from psycopg import sql
from rich.console import Console
from rich.table import Table

from jangteo.stack import embedded
from jangteo.stack.kafka.cluster import Cluster
from shop import kafka, log, postgres
from shop import settings as shop_settings
from shop.errors import ExitCode, JangteoError, UsageError
from shop.optional.option import add_with
from shop.settings import Settings
from tests.faults.bystanders import Bystanders, SmallDisk, small_disk
from tests.faults.clocks import can_be_moved
from tests.faults.kinds import Campaign
from tests.faults.revision_load import Catalogue, OptionalLoad
from tests.support.fault_stage import Stage
from tests.support.network_proxy import Proxy
from tests.support.waiting import wait_until

DISK_MB = 512
"""For the table of orders of a campaign, several times what it needs."""
RATE = 600
"""Messages a second: a batch of 200 every third of a second, so that kills hit transactions."""


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    made = argparse.ArgumentParser(prog="python -m tests.faults.campaign", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--kills", type=int, default=20, help="members killed in all (default 20)")
    made.add_argument(
        "--faults", type=int, default=0, help="faults of every kind, in place of kills"
    )
    made.add_argument("--seed", type=int, default=1, help="of faults and load (default 1)")
    made.add_argument("--brokers", type=int, choices=(1, 3), default=1, help="of Kafka (default 1)")
    made.add_argument("--members", type=int, default=3, help="ingest processes (default 3)")
    add_with(made, "also publish optional topics, and kill their ingest")
    made.add_argument("--partitioned", action="store_true", help="in the layout by month")
    made.add_argument(
        "--directory", type=Path, help="keep data and logs there (default: removed at the end)"
    )
    made.add_argument("--rate", type=float, default=RATE, help=f"messages a second ({RATE})")
    return made


@contextmanager
def _directory(chosen: Path | None) -> Iterator[Path]:
    """Yield where data and logs go."""
    if chosen:
        chosen.mkdir(parents=True)
        yield chosen.absolute()
    else:
        with tempfile.TemporaryDirectory(prefix="jangteo-faults-") as name:
            yield Path(name)


def _put_orders_on(
    disk: SmallDisk, database: embedded.EmbeddedPostgres, settings: Settings
) -> None:
    """Move the table of orders to a disk of its own."""
    space = disk.folder / "space"
    space.mkdir(mode=0o700)
    if ":" in database.identity:
        uid, gid = map(int, database.identity.split(":"))
        os.chown(space, uid, gid)
    with postgres.connect(settings.postgres, "campaign", autocommit=True) as conn:
        path = sql.Literal(str(space))
        conn.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(path))
        # None, if it is one table.
        leaves = "SELECT relid::text FROM pg_partition_tree('orders') WHERE isleaf"
        for (table,) in conn.execute(f"{leaves} UNION SELECT 'orders'").fetchall():
            conn.execute(sql.SQL("ALTER TABLE {} SET TABLESPACE small").format(sql.SQL(table)))


def main() -> int:
    """Run a campaign; return 1 if anything is not as promised."""
    args = parser().parse_args()
    log.configure("campaign", level="warning")
    began = time.monotonic()
    with _directory(args.directory) as directory, ExitStack() as held:
        database = embedded.EmbeddedPostgres(directory)  # fsync on, as in earnest
        cache = embedded.EmbeddedRedis(directory)
        cluster = Cluster(directory / "kafka", 3) if args.brokers == 3 else None
        broker = cluster or embedded.Broker(directory)
        for server in (database, cache, broker):
            held.callback(server.kill)
        try:
            for server in (database, cache, broker):
                server.start()
            env = {**os.environ, **database.env, **cache.env, **broker.env,
                   "JANGTEO_DATA_DIR": str(directory)}  # fmt: skip
            settings = shop_settings.load(env, use_stack=False)
            kafka.create_topics(settings.kafka)
            with postgres.connect(settings.postgres, "campaign") as conn:
                postgres.migrate(conn, partitioned=args.partitioned)
            if disk := held.enter_context(small_disk(directory / "small", DISK_MB)):
                _put_orders_on(disk, database, settings)
            proxy, side = (held.enter_context(Proxy(settings.postgres.port)) for _ in range(2))
            stage = held.enter_context(Stage(env, settings, directory))
            bystanders = None
            if args.faults and can_be_moved():
                by = {**env, "POSTGRES_PORT": str(side.port)}
                bystanders = held.enter_context(Bystanders(by, settings, directory))
            load = stage.load(args.seed, rate=args.rate)
            side_env = {**env, "POSTGRES_PORT": str(side.port)}
            optional = None
            if args.topics:
                optional = held.enter_context(
                    OptionalLoad(side_env, settings, directory, topics=args.topics, seed=args.seed)
                )
            # Only now: prices are kept from when changes are switched on.
            catalogue = held.enter_context(Catalogue(side_env, settings, directory, seed=args.seed))
            campaign = Campaign(
                stage,
                database,
                list(cluster.brokers) if cluster else [broker],
                seed=args.seed,
                fleet=args.members,
                say=lambda line: print(line, flush=True),
                proxy=proxy,
                side=side,
                cache=cache,
                disk=disk,
                bystanders=bystanders,
                directory=directory,
            )
            if args.faults:
                campaign.run_all(args.faults)
            else:
                campaign.run(args.kills)
            load.stop()
            wait_until(stage.caught_up, "everything applied", 180)
            found = bystanders.violations() if bystanders else []
            found += catalogue.violations()
            found += optional.violations() if optional else []
            found += stage.violations()
        except (AssertionError, JangteoError) as e:
            print(f"campaign: {e}", file=sys.stderr)
            return ExitCode.USAGE if isinstance(e, UsageError) else ExitCode.FAILED
    messages = len(load.acknowledged) + catalogue.messages
    messages += optional.messages if optional else 0
    _show(args, campaign, messages, found, time.monotonic() - began)
    return ExitCode.FAILED if found else ExitCode.OK


def _show(
    args: argparse.Namespace, campaign: Campaign, messages: int, found: list[str], seconds: float
) -> None:
    table = Table(
        "what", "figure", title=f"Fault campaign, seed {args.seed}, {args.brokers} brokers"
    )
    for fault, times in sorted(campaign.done.items()):
        table.add_row(fault.replace("_", " "), str(times))
    if campaign.drains:
        table.add_row("longest drain, s", f"{max(campaign.drains):.2f}")
    if campaign.longest:
        fault, longest = max(campaign.longest.items(), key=lambda each: each[1])
        table.add_row("longest take-over, s", f"{longest:.1f} ({fault.replace('_', ' ')})")
    table.add_row("messages acknowledged", f"{messages:,}")
    table.add_row("minutes", f"{seconds / 60:.1f}")
    table.add_row("violations", str(len(found)))
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    for line in found:
        print(line)
    print("verdict: " + ("VIOLATED" if found else "every message stored or rejected exactly once"))


if __name__ == "__main__":
    sys.exit(main())
