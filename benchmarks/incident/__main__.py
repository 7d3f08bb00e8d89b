"""Record an incident: a sale, a broker killed, a burst, an ingest and a database killed.

    python -m benchmarks.incident docs/recordings/incident.rec [--history 30d] [--data-dir DIR]

It takes about eight minutes, and the start of a shop of its own, if none that runs is named.
docs/console.md walks through what it records.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.common import open_shop
from benchmarks.console.terminal import environment
from benchmarks.incident.thinning import thin
from console import poller
from console.actions.operations import Operator, parse
from console.poller import Poller
from console.recording.recorder import Recorder
from console.snapshot.model import Snapshot, Topic
from console.sources import CurrentSettings
from shop import settings
from shop.settings import Settings

SPEED = 4
"""Times the ordinary rates: an order a second, so that a burst of 150 times is one."""
SETTLED_S = 15.0
"""A start is over when nothing waits for this long."""
LONGEST_S = 90.0
"""A server that was killed is awaited for this long."""
EVERY_S = 3.0
"""Between two snapshots that are kept."""


def _topics(snapshot: Snapshot) -> tuple[Topic, ...]:
    """Return the topics, if they were read lately."""
    found = snapshot.kafka
    return found.value.topics if found.value and found.current else ()


def _caught_up(snapshot: Snapshot) -> bool:
    """Tell whether every server answers and next to nothing waits to be stored."""
    lags = [t.lag or 0 for t in _topics(snapshot)]
    return bool(lags) and snapshot.postgres.current and sum(lags) < 50


def _started(snapshot: Snapshot) -> bool:
    """Tell whether all that a start publishes is stored: a message for each customer it has."""
    users = next((t for t in _topics(snapshot) if t.name == "users"), None)
    grades = snapshot.grades.value
    if users is None or grades is None or not _caught_up(snapshot):
        return False
    return sum(p.end or 0 for p in users.partitions) >= grades.customers


class Incident:
    """Does things to a shop, at their time.

    Args:
        source: reads the shop.
        load: returns the settings of the shop.
    """

    def __init__(self, source: Poller, load: Callable[[], Settings]) -> None:
        self._source = source
        self._operator = Operator(load, who="operator@shop")

    def act(self, *words: str) -> None:
        """Run an action, as `jangteo do` does."""
        result = self._operator.perform(parse(words))
        print(f"{' '.join(words)}: {result.outcome}", flush=True)

    def kill(self, name: str) -> None:
        """Kill a process with SIGKILL, and wait until its successor works and the lag is gone."""
        view = self._source.latest().processes.value
        pid = next((p.pid for p in (view.processes if view else ()) if p.name == name), None)
        if pid is None:
            sys.exit(f"{name} has no process")
        print(f"kill -9 {name} ({pid})", flush=True)
        os.kill(pid, signal.SIGKILL)
        time.sleep(8)
        self.wait(_caught_up)

    def settle(self, most: float = 600.0) -> None:
        """Wait until nothing has waited to be stored for a while; not for ever."""
        deadline = since = time.monotonic()
        deadline += most
        while time.monotonic() < min(deadline, since + SETTLED_S):
            if not _started(self._source.latest()):
                since = time.monotonic()
            time.sleep(0.5)

    def wait(self, done: Callable[[Snapshot], bool], most: float = LONGEST_S) -> None:
        """Wait until something is seen; not for ever."""
        deadline = time.monotonic() + most
        while not done(self._source.latest()) and time.monotonic() < deadline:
            time.sleep(0.5)


def happen(shop: Incident) -> None:
    """Let it happen."""
    time.sleep(20)
    shop.act("scenario.start", "flash_sale")
    time.sleep(20)
    shop.kill("kafka")
    time.sleep(20)
    shop.act("generator.rate", "orders", "150")
    time.sleep(15)
    shop.kill("ingest")
    time.sleep(15)
    shop.act("generator.rate", "orders", "1")
    time.sleep(25)
    shop.kill("postgres")
    time.sleep(20)
    shop.act("grading.run")
    time.sleep(15)
    shop.act("scenario.stop", "flash_sale")
    shop.act("cache.refresh")
    time.sleep(20)


def record(data_dir: Path, raw: Path) -> None:
    """Record the incident in a running shop."""

    def load() -> Settings:
        return settings.load(data_dir=data_dir)

    source = poller.make(CurrentSettings(load(), data_dir))
    recorder = Recorder(raw)
    source.start()
    shop = Incident(source, load)
    shop.settle()
    source.listen(recorder.write)
    happen(shop)
    source.stop()
    recorder.close()


@contextlib.contextmanager
def running(folder: Path, history: str) -> Iterator[Path]:
    """Run a shop; yield its data directory."""
    words = ("--speed", str(SPEED), "--history", history)
    with open_shop(environment(folder), folder, *words):
        yield folder / "data"


def main() -> None:
    """Record it, in a shop of its own or in one that runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--history", default="30d", help="history that the shop begins with")
    parser.add_argument("--data-dir", type=Path, help="of a running shop, in place of its own")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="jangteo-incident-") as name:
        raw = Path(name) / "whole.rec"
        if args.data_dir:
            record(args.data_dir, raw)
        else:
            with running(Path(name), args.history) as data_dir:
                record(data_dir, raw)
        args.recording.parent.mkdir(parents=True, exist_ok=True)
        thin(raw, args.recording, EVERY_S)
    print(f"{args.recording}: {args.recording.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
