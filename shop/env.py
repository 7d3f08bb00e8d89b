"""Print `export NAME=value` lines with which other tools reach the running shop's servers."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping

from shop import command
from shop.errors import ExitCode, UsageError
from shop.say import say
from shop.settings import SERVER_PREFIXES, Settings


def configure(parser: argparse.ArgumentParser) -> None:
    """`jangteo env` has no options of its own."""


def run(args: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001  (every command has both)
    """Print them."""
    found = lines(settings.env)
    if not found:
        raise UsageError(
            f"no server is known: no running stack was found at {settings.data_dir} or above and "
            "no variable is set; start one with `jangteo up`"
        )
    sys.stdout.write("\n".join(found) + "\n")
    sys.stdout.flush()
    say("jangteo env: these lines hold passwords", to=sys.stderr)
    return ExitCode.OK


def lines(env: Mapping[str, str]) -> list[str]:
    """Return the lines, for any POSIX shell.

    >>> lines({"POSTGRES_DB": "my shop", "HOME": "/root"})
    ["export POSTGRES_DB='my shop'"]
    """
    return [
        f"export {name}={shlex.quote(value)}"
        for name, value in sorted(env.items())
        if name.startswith(SERVER_PREFIXES) and value
    ]


if __name__ == "__main__":
    sys.exit(command.main(configure, run, prog="python -m shop.env", description=__doc__))
