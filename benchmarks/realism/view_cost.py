"""What page views cost the ingest at the seed's pace, in shares of a core.

    python -m benchmarks.realism.view_cost [--seconds 120] [--json FILE]

One ingest of all topics, with servers of its own. An order every 4 s is published throughout; page
views, 7.5 a second in two groups, as the shop publishes them, in every other stretch of time. CPU
is the kernel's account of the whole process, so that what else the machine does matters little.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl

from benchmarks import common
from benchmarks.common import Result
from generators.history.plan import Plan
from generators.history.simulation import Simulation
from generators.publishing.encoding import Message, encode_frame
from generators.topics.page_views import PageViewHistory
from shop import kafka, postgres
from shop.clock import KST
from shop.events import TOPICS

GOAL: Final = 10
"""Per cent of a core, of the ingest."""
VIEWS_A_SECOND: Final = 7.5
ORDER_EVERY_S: Final = 4.0
GROUPS: Final = 2
"""Batches of views a second: the shop gathers those of a second, and an order's come by
themselves."""
ROUNDS: Final = 2
WARM_UP_S: Final = 20.0
"""After the first page view is stored."""
VIEWS: Final = "page_views"


def events() -> tuple[list[Message], list[Message]]:
    """Return some days' orders and page views, in the order of their times."""
    plan, history = Plan(datetime(2026, 3, 2, tzinfo=KST), 3, 500), PageViewHistory(1)
    blocks = [day.block() for day in Simulation(plan, profiles=False).days()]
    views = pl.concat([history.events(block) for block in blocks])
    orders = pl.concat([block.orders for block in blocks])
    return encode_frame("orders", orders), encode_frame(VIEWS, views.sort("viewed_at"))


class ViewPublisher:
    """Publishes orders, and page views where they are wanted.

    Args:
        rig: whose broker is up.
        env: of its servers.
    """

    def __init__(self, rig: common.Rig, env: dict[str, str]) -> None:
        self._producer = kafka.producer(rig.settings(env).kafka, "bench")
        orders, views = events()
        self._orders, self._views = iter(orders), iter(views)

    def run(self, seconds: float, *, views: bool) -> None:
        """Publish for some time."""
        began, groups, orders, sent = time.monotonic(), 0, 0, 0
        while (now := time.monotonic() - began) < seconds:
            if now >= orders * ORDER_EVERY_S:
                self._publish("orders", self._orders, 1)
                orders += 1
            due = round(VIEWS_A_SECOND * now) - sent
            if views:
                self._publish(VIEWS, self._views, due)
                sent += due
            self._producer.poll(0)
            groups += 1
            time.sleep(max(0.0, groups / GROUPS - (time.monotonic() - began)))

    def _publish(self, topic: str, messages: Iterator[Message], number: int) -> None:
        for _ in range(number):
            key, value = next(messages)
            self._producer.produce(topic, value, key=key)


def stored(env: dict[str, str]) -> int:
    """Return how many page views are stored."""
    with postgres.connect(common.Rig.settings(env).postgres, "bench") as conn:
        return int((conn.execute(f"SELECT count(*) FROM {VIEWS}").fetchone() or (0,))[0])


def measure(seconds: float) -> list[Result]:
    """Return the shares of a core with and without page views.

    Args:
        seconds: length of each of the four stretches.
    """
    spent: dict[bool, list[tuple[float, float, float]]] = {False: [], True: []}
    with common.rig() as rig:
        env = rig.database()
        kafka.create_topics(rig.settings(env).kafka, (*TOPICS, VIEWS))
        ingest = subprocess.Popen(
            [sys.executable, "-m", "bytewax.run", "flows.ingest"],
            env={**os.environ, **env, "INGEST_TOPICS": ",".join([*TOPICS, VIEWS]),
                 "JANGTEO_DATA_DIR": str(rig.directory)},
            stdout=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip

        def used() -> tuple[float, float, float]:
            database, _ = rig.server_cpu_s()
            return common.cpu_s(ingest.pid), database, time.monotonic()

        try:
            shop = ViewPublisher(rig, env)
            shop.run(1.0, views=True)
            while not stored(env):
                shop.run(1.0, views=False)
            shop.run(WARM_UP_S, views=True)
            for views in (False, True) * ROUNDS:
                before = used()
                shop.run(seconds, views=views)
                a, b, c = (end - begin for begin, end in zip(before, used(), strict=True))
                spent[views].append((a, b, c))
            views_there = stored(env)
        finally:
            common.end(ingest)
    wanted = VIEWS_A_SECOND * (seconds * ROUNDS + WARM_UP_S)
    if views_there < 0.95 * wanted:
        raise RuntimeError(f"{views_there} of {wanted:.0f} page views are stored")
    share = {}
    for views, parts in spent.items():
        ingest_s, database_s, took = (sum(column) for column in zip(*parts, strict=True))
        share[views] = 100 * ingest_s / took, 100 * database_s / took
    (off, database_off), (on, database_on) = share[False], share[True]
    unit = "% of a core"
    return [
        Result("ingest, orders alone", off, unit),
        Result("ingest, orders and page views", on, unit),
        Result("ingest, for page views", on - off, unit, goal=f"<= {GOAL}"),
        Result("PostgreSQL, for page views", database_on - database_off, unit),
    ]


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.realism.view_cost")
    parser.description, parser.formatter_class = __doc__, argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=120.0, help="length of each stretch")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    print(common.machine())
    found = measure(args.seconds)
    for r in found:
        goal = "" if r.met is None else f"  {r.goal}: {'met' if r.met else 'MISSED'}"
        print(f"{r.name}: {r.value:.2f} {r.unit}{goal}")
    if args.json:
        common.save(args.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
