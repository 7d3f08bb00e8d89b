"""Empty the shop of a data directory: the next `jangteo up` begins with a new one.

The data of the embedded PostgreSQL, Redis and Apache Kafka, the logs, the fault ledgers and the
console's record are deleted. Ports and passwords stay, so connections that other tools have saved
keep working. Servers that the environment names are not touched: there, `jangteo seed --truncate`
empties the tables.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Final

from jangteo.cli.uninstall import holds_shop, human, size
from jangteo.stack import options
from jangteo.stack.servers import end_leftovers, held
from shop.errors import ExitCode, JangteoError, UsageError
from shop.output import say
from shop.settings import Settings

KEPT: Final = frozenset({"ports.json", "lock", "password"})
"""Names of files that stay: the addresses of the servers, and the lock that this command holds."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `jangteo reset`."""
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def run(args: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001  (every command has both)
    """Delete the shop's data after a confirmation."""
    data_dir = options.data_dir(args)
    if not holds_shop(data_dir):
        raise UsageError(f"{data_dir} holds no shop; --data-dir names another data directory")
    with held(data_dir):
        if not args.yes and not confirmed(f"delete the shop in {data_dir} for good", "reset"):
            say("jangteo reset: nothing was deleted", to=sys.stderr)
            return ExitCode.FAILED
        end_leftovers(data_dir)
        before = size(data_dir)
        try:
            empty(data_dir)
        except OSError as e:
            raise JangteoError(
                f"cannot delete {e.filename}: {e.strerror}; run the same command again"
            ) from None
        freed = before - size(data_dir)
    say(f"deleted {human(freed)} in {data_dir}; `jangteo up` begins with a new shop")
    return ExitCode.OK


def confirmed(what: str, word: str) -> bool:
    """Ask a person to type a word before something is deleted; return whether it was typed.

    Raises:
        UsageError: if there is no terminal to ask at.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"would {what}: add --yes to confirm, as there is no terminal to ask at")
    say(f"This will {what}. Type {word} to do it:", to=sys.stderr)
    return sys.stdin.readline().strip() == word


def empty(folder: Path) -> None:
    """Delete everything in a folder but the files in `KEPT`, and folders that hold none of them.

    Raises:
        OSError: if something cannot be deleted.
    """
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            if any((path / name).exists() for name in KEPT - {"lock"}):
                empty(path)
            else:
                shutil.rmtree(path)
        elif path.name not in KEPT:
            path.unlink()
