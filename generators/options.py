"""The options that all generators have, and what follows from them."""

from __future__ import annotations

import argparse
from pathlib import Path

from generators.faults import DEFAULT_RATE, FAULT_NODE
from shop import command
from shop.settings import Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options that all generators have."""
    parser.add_argument(
        "--speed", type=command.positive, help="multiply all rates (default: SHOP_SPEED, 1)"
    )
    parser.add_argument(
        "--rate", type=command.positive, help="events per second, instead of the shop's own law"
    )
    parser.add_argument("--seed", type=command.count, help="default: SHOP_SEED, 1")
    parser.add_argument(
        "--arrivals",
        choices=("seed", "poisson"),
        help="even gaps, or a Poisson process with the hours of a shop (default: SHOP_ARRIVALS)",
    )
    parser.add_argument(
        "--faults",
        type=share,
        metavar="RATE",
        help=f"faulty messages beside good ones, per good one, e.g. {DEFAULT_RATE}",
    )
    parser.add_argument(
        "--ledger", type=Path, help="where faults are entered (default: in DATA_DIR/faults)"
    )
    parser.add_argument("--limit", type=command.count, help="stop after so many events")
    parser.add_argument(
        "--for", dest="seconds", type=command.positive, metavar="SECONDS", help="stop after that"
    )
    invented(parser)
    parser.add_argument(
        "--node",
        type=int,
        choices=range(FAULT_NODE),
        default=0,
        metavar=f"0..{FAULT_NODE - 1}",
        help="for a second generator of the same kind: its own number (default: 0)",
    )


def invented(parser: argparse.ArgumentParser) -> None:
    """Add the option without which nothing is made up in production."""
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


def process_name(topic: str, node: int) -> str:
    """Return the name of a generator's heartbeat and streams.

    >>> process_name("orders", 0), process_name("orders", 2)
    ('orders', 'orders-2')
    """
    return f"{topic}-{node}" if node else topic


def arrivals_of(args: argparse.Namespace, settings: Settings) -> str:
    """Return the law of arrivals that the command line or the settings give."""
    return str(args.arrivals or settings.arrivals)
