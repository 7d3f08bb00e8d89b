"""Record an incident: a sale, a broker killed, a burst, an ingest and a database killed.

    python -m benchmarks.incident docs/recordings/incident.rec [--history 3d]

Of a shop of its own; it takes about eight minutes. docs/console.md walks through what it records.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.console import environment
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


def main() -> None:
    """Run the shop, and record it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--history", default="3d", help="history that the shop begins with")
    args = parser.parse_args()
    folder = Path(tempfile.gettempdir()) / "jangteo-incident"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    env = environment(folder)
    log = (folder / "up.log").open("wb")
    words = ["--plain", "--speed", str(SPEED), "--history", args.history]
    up = subprocess.Popen(
        [sys.executable, "-m", "jangteo", "up", *words],
        env={**env, "JANGTEO_KAFKA_PORT": "0", "JANGTEO_POSTGRES_PORT": "0",
             "JANGTEO_REDIS_PORT": "0"},
        stdout=log, stderr=log,
    )  # fmt: skip
    try:
        while b"the shop is open" not in (folder / "up.log").read_bytes():
            if up.poll() is not None:
                sys.exit((folder / "up.log").read_text())
            time.sleep(0.2)
        time.sleep(SETTLED_S)

        def load() -> Settings:
            return settings.load(data_dir=folder / "data")

        source = poller.make(CurrentSettings(load(), folder / "data"))
        raw = folder / "whole.rec"
        recorder = Recorder(raw)
        source.start()
        shop = Incident(source, load)
        shop.wait(_caught_up, 300)
        source.listen(recorder.write)
        happen(shop)
        source.stop()
        recorder.close()
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)
    args.recording.parent.mkdir(parents=True, exist_ok=True)
    thin(raw, args.recording, EVERY_S)
    print(f"{args.recording}: {args.recording.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
