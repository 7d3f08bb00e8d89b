"""The progress of a backfill: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from generators.history.plan import Day
from shop.log import get_logger

EVERY_S: Final = 10.0


def progress(
    days: Iterable[Day],
    total: int,
    *,
    skip: int,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[Day]:
    """Yield the days, and show the progress on stderr.

    Args:
        days: from the first one on.
        total: how many there will be.
        skip: how many of them are skipped, as they are written already.
        monotonic: seconds of a clock that never steps.
    """
    began, orders = monotonic(), 0
    logged_at = began
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} days"),
        TextColumn("{task.fields[rate]:,.0f} orders/s"),
        TimeRemainingColumn(),
        console=console,
        disable=not sys.stderr.isatty(),
    ) as bar:
        task = bar.add_task("history", total=total, rate=0.0)
        for day in days:
            yield day
            orders += len(day.orders)
            now = monotonic()
            rate = orders / max(now - began, 1e-9)
            done = day.number + 1
            bar.update(
                task, completed=done, rate=rate,
                description="history" if done > skip else "catching up",
            )  # fmt: skip
            if bar.disable and now - logged_at >= EVERY_S:
                logged_at = now
                left = (now - began) / done * (total - done)
                get_logger().info(
                    "catching up" if done <= skip else "writing",
                    day=done, of=total, orders_per_second=round(rate), left_s=round(left),
                )  # fmt: skip
