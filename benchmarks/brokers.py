"""What the embedded broker costs, next to the one in memory, in the same run.

    python -m benchmarks.brokers [--runs 3]

Ready: from the start of the process to its first answer. Back: from kill -9 to the first answer of
its successor. CPU and memory: of the process when it is ready. Of the seconds the table has the
shortest of all runs, which other work on the machine delays least; of the memory the largest.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.common import Result, machine, save
from jangteo.cli import servers
from jangteo.stack.kafka.broker import Broker
from jangteo.stack.kafka.fallback import InMemoryBroker
from jangteo.stack.server import Server
from shop import kafka
from shop import settings as shop_settings


class WithoutCache(Broker):
    """As `Broker`, but each start loads its classes from the jars."""

    def _argv(self, port: int) -> list[str]:  # noqa: ARG002  (the configuration has it)
        return self._main([])


@dataclass(frozen=True)
class Cost:
    """Of one start. Seconds and MB."""

    first: float
    ready: float
    back: float
    cpu: float
    memory: float


def measure(make: Callable[[Path], Server]) -> Cost:
    """Start in a new directory, again after a proper stop, and again after kill -9."""
    directory = Path(tempfile.mkdtemp(prefix="jangteo-broker-"))
    server = make(directory)
    try:
        first = timed(server.start)
        kafka.create_topics(shop_settings.load(server.env, use_stack=False).kafka)
        server.stop()
        ready = timed(server.start)
        process = psutil.Process(server.pid)
        times, memory = process.cpu_times(), process.memory_info().rss
        began = time.monotonic()
        server.kill()
        server.start(move=False)
        back = time.monotonic() - began
        return Cost(first, ready, back, times.user + times.system, memory / 1e6)
    finally:
        server.kill()
        shutil.rmtree(directory, ignore_errors=True)


def timed(act: Callable[[], None]) -> float:
    """Return how long it took, seconds."""
    began = time.monotonic()
    act()
    return time.monotonic() - began


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="the best of N (3)")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args()
    runs = args.runs
    servers.prepare(print)
    kinds: dict[str, Callable[[Path], Server]] = {
        "in memory (Tansu)": InMemoryBroker,
        "Apache Kafka": Broker,
        "the same without its cache": WithoutCache,
    }
    costs: dict[str, list[Cost]] = {name: [] for name in kinds}
    for _ in range(runs):
        for name, make in kinds.items():
            costs[name].append(measure(make))
    print(f"{machine()}; load {os.getloadavg()[0]:.1f}")
    print("| broker | first start s | ready s | back after kill -9 s | CPU s of a start | MB |")
    print("|---|---|---|---|---|---|")
    results = []
    for name, found in costs.items():
        seconds = [
            min(getattr(cost, field) for cost in found)
            for field in ("first", "ready", "back", "cpu")
        ]
        memory = max(cost.memory for cost in found)
        print(f"| {name} | " + " | ".join(f"{s:.2f}" for s in seconds) + f" | {memory:.0f} |")
        chart = "A broker is ready, seconds"
        results.append(Result(f"{name}: ready", seconds[1], "s", chart=chart))
        results.append(Result(f"{name}: ready after kill -9", seconds[2], "s"))
        results.append(Result(f"{name}: memory", memory, "MB"))
    if args.json:
        save(args.json, results)


if __name__ == "__main__":
    main()
