"""Show the length of the spend windows, or rebuild all of them with another length.

All rows of `user_spend_windows` have one length, which the database stores. SPEND_WINDOW must be
the same: an ingest with another setting does not start, and one that runs while the windows are
rebuilt stops before it writes.
"""

from __future__ import annotations

import argparse
import sys

import psycopg

from shop import client_errors, command, postgres
from shop.errors import ExitCode
from shop.output import say
from shop.postgres import window_length
from shop.retry import first_line
from shop.settings import Settings, announce


def configure(parser: command.Parser) -> None:
    """Add the options of `jangteo windows`."""
    parser.add_action("show", "show the length of the stored windows and that of SPEND_WINDOW")
    parser.add_action("rebuild", "rebuild all windows from the orders, with SPEND_WINDOW's length")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run the action."""
    wanted = settings.spend_window
    try:
        with postgres.connection(settings.postgres, "windows") as conn:
            if args.action == "rebuild":
                announce.servers_in_production(settings, "postgres")
                say(window_length.describe(window_length.rebuild(conn, wanted)))
                return ExitCode.OK
            held = window_length.length(conn)
    except psycopg.Error as e:
        raise client_errors.kind(e)(f"{settings.postgres.where}: {first_line(e)}") from None
    there = f"windows of {held} s" if held else "no windows yet"
    say(f"{there}; SPEND_WINDOW is {wanted} s")
    return ExitCode.OK if held in (None, wanted) else ExitCode.FAILED


if __name__ == "__main__":
    sys.exit(
        command.main(configure, run, prog="python -m jangteo.cli.windows", description=__doc__)
    )
