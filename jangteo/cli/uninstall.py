"""Show what Jangteo has stored on this machine, and remove it.

Without --yes nothing is removed: each place is listed with its size and what it is for.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from jangteo.stack import options
from jangteo.stack.kafka import jars
from jangteo.stack.servers import end_leftovers, held
from shop.errors import ExitCode, JangteoError, UsageError
from shop.output import say
from shop.settings import Settings
from shop.settings.stack_file import state_dir


class Place(NamedTuple):
    """Something that is stored on this machine.

    Attributes:
        path: file or folder.
        what: what it holds.
        removes: what removes it, where this command does not; empty where it does.
    """

    path: Path
    what: str
    removes: str = ""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `jangteo uninstall`."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--what", action="store_true", help="list what is where (the default)")
    group.add_argument("--yes", action="store_true", help="remove what the list says")


def run(args: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001  (every command has both)
    """List the places, or remove them."""
    data_dir = options.data_dir(args)
    if data_dir.exists() and not holds_shop(data_dir):
        raise UsageError(f"{data_dir} holds no shop; --data-dir names another data directory")
    found = [place for place in places(data_dir) if place.path.exists()]
    if not args.yes:
        for place in found:
            removed = place.removes or "jangteo uninstall --yes"
            say(
                f"{human(size(place.path)):>8}  {place.path}  ({place.what}; removed by: {removed})"
            )
        return ExitCode.OK
    for place in found:
        if place.removes:
            say(f"left {place.path}: {place.removes} removes it", to=sys.stderr)
            continue
        if place.path == data_dir:
            with held(data_dir):
                end_leftovers(data_dir)
                _remove(place.path)
        else:
            _remove(place.path)
        say(f"removed {place.path}")
    return ExitCode.OK


def holds_shop(data_dir: Path) -> bool:
    """Return whether `jangteo up` has used this folder: no other one may be deleted."""
    return (data_dir / "processes.json").is_file()


def places(data_dir: Path) -> list[Place]:
    """Return the places where something may be stored, whether it is there or not."""
    return [
        Place(data_dir, "the shop: databases, topics, logs"),
        Place(state_dir(), "where the running shop is"),
        Place(jars.cache_root(), "Apache Kafka's jars and what makes it start quickly"),
        Place(Path(sys.prefix), "Python packages, this program among them", _environment()),
    ]


def _environment() -> str:
    """Return the command that removes this program's packages."""
    alone = sys.prefix != sys.base_prefix
    return f"rm -r {sys.prefix}" if alone else "pip uninstall jangteo"


def _remove(path: Path) -> None:
    try:
        shutil.rmtree(path)
    except OSError as e:
        raise JangteoError(
            f"cannot remove {e.filename}: {e.strerror}; run the same command again"
        ) from None


def size(path: Path) -> int:
    """Return the bytes that a file or folder takes on the disk; what vanishes meanwhile is 0."""
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(Path(folder) / name).st_blocks * 512
            except OSError:
                continue
    return total


def human(number: int) -> str:
    """Write a number of bytes.

    >>> human(532), human(1_288_490_188)
    ('532 B', '1.3 GB')
    """
    amount = float(number)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
