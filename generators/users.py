"""Publish sign-ups to Kafka: 10 in 10 seconds at first, ever fewer as the shop fills."""

from __future__ import annotations

import argparse
import sys

from generators import options, publish
from generators.behaviour import arrivals
from shop import command
from shop.settings import Settings

configure = options.configure


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Publish until stopped."""
    return publish.registrations(args, settings, "users", arrivals.SIGN_UPS)


if __name__ == "__main__":
    sys.exit(command.main(configure, run, prog="python -m generators.users", description=__doc__))
