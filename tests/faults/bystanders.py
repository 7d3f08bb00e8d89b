"""Processes that work next to the ingest during a campaign: each must survive every fault."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
from confluent_kafka import Consumer, TopicPartition

from shop import kafka
from shop.redis import cache
from shop.settings import Settings
from tests.faults.clocks import WallClock
from tests.support import python_process
from tests.support.ingest_processes import ROOT
from tests.support.waiting import wait_until

COMMANDS: Final = {
    "grader": ["grading.updater"],
    "cache": ["generators.cache_worker"],
    "generator": ["generators.users", "--rate", "5"],
}
"""By kind. The generator publishes sign-ups, since the load knows every message of orders."""
QUICK: Final = {"GRADE_INTERVAL": "2", "CACHE_REFRESH_INTERVAL": "3"}


class Bystander:
    """One process with a wall clock of its own.

    Args:
        kind: a key of `COMMANDS`.
        env: of the process.
        directory: for its log and its clock.
    """

    def __init__(self, kind: str, env: dict[str, str], directory: Path) -> None:
        self.kind = kind
        self.clock = WallClock(directory, kind)
        self._log = directory / f"{kind}.log"
        with self._log.open("ab") as out:
            self._process = python_process.Popen(
                [sys.executable, "-m", *COMMANDS[kind]],
                cwd=ROOT,
                env={**env, **QUICK, **self.clock.env},
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    def ended(self) -> str:
        """Return how it ended by itself; empty while it runs."""
        if (code := self._process.poll()) is None:
            return ""
        return f"the {self.kind} ended with {code}: {self._tail()}"

    def stop(self) -> str:
        """SIGTERM; return what is wrong with its end, empty if nothing is."""
        if found := self.ended():
            return found
        began = time.monotonic()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(60)
        took = time.monotonic() - began
        if self._process.poll() == 0:
            return ""
        return f"the {self.kind}: {self._process.poll()} {took:.1f} s after SIGTERM: {self._tail()}"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _tail(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


class Bystanders:
    """One process of each kind.

    Args:
        env: of the processes.
        settings: where the servers are.
        directory: for logs and clocks.
    """

    def __init__(self, env: dict[str, str], settings: Settings, directory: Path) -> None:
        self._settings = settings
        self.all = [Bystander(kind, env, directory) for kind in COMMANDS]

    def __enter__(self) -> Bystanders:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self.all:
            each.kill()

    def violations(self) -> list[str]:
        """Set the clocks right, require work of each, stop them; return what is not as promised."""
        found = [text for each in self.all if (text := each.ended())]
        if found:
            return found
        for each in self.all:
            each.clock.set(0)
        found += self._cache()
        found += [text for each in self.all if (text := each.stop())]
        repeated = [i for i, times in Counter(_ids(self._settings)).items() if times > 1]
        return found + [f"user ids made twice: {repeated[:5]}"] * bool(repeated)

    def _cache(self) -> list[str]:
        with cache.client(self._settings.redis_url) as client:
            version = cache.read_meta(client).version
            try:
                wait_until(lambda: cache.read_meta(client).version > version, "", 90)
            except AssertionError:
                return [f"the cache is still of version {version} after 90 s"]
        return []


def _ids(settings: Settings) -> Iterator[int]:
    """Yield the id of each sign-up in the log."""
    consumer = Consumer(
        {**kafka.client_config(settings.kafka, "verdict"), "group.id": "verdict",
         "enable.auto.commit": False, "enable.partition.eof": True}
    )  # fmt: skip
    ends = {p: end for p, end in kafka.end_offsets(settings.kafka, "users").items() if end}
    seen: dict[int, int] = {}
    try:
        consumer.assign([TopicPartition("users", p, 0) for p in ends])
        while any(seen.get(p, 0) < end for p, end in ends.items()):
            message = consumer.poll(1)
            if message is None or message.error():
                continue
            seen[message.partition()] = message.offset() + 1
            yield msgspec.json.decode(message.value())["user_id"]
    finally:
        consumer.close()


class SmallDisk:
    """A file system that can be filled up.

    Args:
        folder: where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def full(self) -> Iterator[None]:
        """Leave no room on it."""
        ballast = self.folder / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        with ballast.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(512))
        try:
            yield
        finally:
            ballast.unlink()


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk | None]:
    """Mount a file system of this size; None where that is not possible."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
