"""The options that all generators have, and the settings that follow from them."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from generators.faults.kinds import DEFAULT_RATE
from generators.publishing import loop
from shop import command, node_lease
from shop.node_lease import LIVE_NODES, NodeLease
from shop.redis import cache
from shop.settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options that all generators have."""
    parser.add_argument(
        "--speed",
        type=command.positive,
        metavar="X",
        help="multiply all rates by X (default: SHOP_SPEED, 1)",
    )
    parser.add_argument(
        "--rate",
        type=command.positive,
        metavar="N",
        help="publish N events per second instead of the shop's own rate",
    )
    parser.add_argument(
        "--seed",
        type=command.count,
        metavar="N",
        help="seed of all random numbers (default: SHOP_SEED, 1)",
    )
    parser.add_argument(
        "--arrivals",
        choices=("seed", "poisson"),
        help="space events evenly, or draw them from a Poisson process that follows the time of "
        "day (default: SHOP_ARRIVALS)",
    )
    parser.add_argument(
        "--faults",
        type=share,
        metavar="RATE",
        help=f"publish RATE faulty messages per good one, such as {DEFAULT_RATE}",
    )
    parser.add_argument(
        "--ledger",
        type=Path,
        metavar="FILE",
        help="record the faults in FILE (default: in DATA_DIR/faults)",
    )
    parser.add_argument("--limit", type=command.count, metavar="N", help="stop after N events")
    parser.add_argument(
        "--for", dest="seconds", type=command.positive, metavar="SECONDS", help="stop after SECONDS"
    )
    invented(parser)
    parser.add_argument(
        "--node",
        type=int,
        choices=LIVE_NODES,
        metavar=f"0..{LIVE_NODES[-1]}",
        help="put this node number into the ids, and exit if it is taken (default: a free one)",
    )


def invented(parser: argparse.ArgumentParser) -> None:
    """Add the option that production requires for made-up data."""
    parser.add_argument(
        "--yes-production",
        action="store_true",
        help="allow made-up data with DB_TYPE=production (as ALLOW_INVENTED_DATA=yes)",
    )


def share(text: str) -> float:
    """Read a number from 0 to 1, for argparse."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 0 to 1")
    return value


def seed_of(args: argparse.Namespace, settings: Settings) -> int:
    """Return the seed that the command line or the settings give."""
    return settings.seed if args.seed is None else int(args.seed)


def patience(args: argparse.Namespace) -> float | None:
    """Return the seconds to wait for a server before the first event; None without an end.

    That is the time of `--for`. A run that only `--limit` ends waits for `SILENT_S`, as it does for
    Kafka later: a shell that asks for N events must learn that none come.
    """
    if args.seconds is None and args.limit is not None:
        return loop.SILENT_S
    return None if args.seconds is None else float(args.seconds)


@contextmanager
def leased(
    args: argparse.Namespace, settings: Settings, topic: str, stop: threading.Event
) -> Iterator[NodeLease | None]:
    """Hold the node number of a generator's ids; None if stopped before it was granted.

    PostgreSQL is waited for as long as `patience` says.

    Its `name`, that of the heartbeat and the streams, is the topic; of a second generator of the
    same kind, or of one with a `--node`, the number follows: ``orders-2``.
    """
    if r := cache.optional_client(settings):
        with r:
            cache.check(r, topic)
    with node_lease.leased(
        node_lease.server(settings),
        topic,
        stop,
        patience=patience(args),
        exact=args.node,
        named=True,
    ) as held:
        yield held


def arrivals_of(args: argparse.Namespace, settings: Settings) -> str:
    """Return the law of arrivals that the command line or the settings give."""
    return str(args.arrivals or settings.arrivals)
