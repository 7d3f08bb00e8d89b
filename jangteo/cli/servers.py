"""Prepare what the embedded servers need: fetch Apache Kafka once, and make its starts quick.

Apache Kafka's jars (46 MB) are fetched and verified; then a broker is trained once, so that every
later start takes a third of the time. Both are kept in ~/.cache/jangteo. `jangteo up` and `make`
call this themselves.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from confluent_kafka import Consumer, KafkaException
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from jangteo.stack.kafka import jars, java
from jangteo.stack.kafka.broker import Broker, jvm
from jangteo.stack.server import StartError
from jangteo.stack.spawn import end, tail
from shop import command, kafka
from shop import settings as shop_settings
from shop.errors import ExitCode, JangteoError
from shop.settings import KAFKA_HOME, KafkaSettings, Settings

Say = Callable[[str], None]

_TRAINING: Final = ".training-"
_LINES_EVERY_S: Final = 3.0
_GRACE_S: Final = 300.0  # a busy machine takes more than a minute to write the cache
_UNUSED_S: Final = 30 * 86_400
_MESSAGES: Final = 2_000


def prepare(say: Say, *, terminal: Console | None = None, verify: bool = False) -> None:
    """Fetch and train what is missing; quick where nothing is.

    Args:
        say: takes a line for people.
        terminal: where to draw a progress bar; None: lines through `say`.
        verify: compare the checksums of what is there already too.

    Raises:
        UsageError: if a package is missing or a variable names a wrong directory.
        FetchError: if Apache Kafka cannot be fetched.
    """
    java.program()
    with _shown(say, terminal, verify=verify) as advance:
        jars.fetch(advance, verify=verify)
    if not java.can_cache() or java.cache().is_file():
        return
    began = time.monotonic()
    say("Apache Kafka: preparing quick starts (once, about 10 s)")
    try:
        train()
    except (JangteoError, KafkaException, OSError) as e:
        say(f"Apache Kafka: quick starts cannot be prepared, so each start takes longer: {e}")
    else:
        say(f"Apache Kafka: quick starts are prepared ({time.monotonic() - began:.1f} s)")


@contextmanager
def _shown(say: Say, terminal: Console | None, *, verify: bool) -> Iterator[Callable[[int], None]]:
    absent = [] if os.environ.get(KAFKA_HOME) else jars.absent(verify=verify)
    total = sum(jar.size for jar in absent)
    if not total:
        yield lambda _: None
        return
    title = f"Apache Kafka {jars.version()}"
    began = time.monotonic()
    if terminal and terminal.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        with Progress(*columns, TimeElapsedColumn(), console=terminal) as bar:
            task = bar.add_task(f"{title}: fetching (once)", total=total)
            yield lambda size: bar.advance(task, size)
        return
    say(f"{title}: fetching {total / 1e6:.0f} MB (once) into {jars.home()}")
    count = _Counter(say, title, total)
    yield count.advance
    say(f"{title}: fetched ({time.monotonic() - began:.1f} s)")


class _Counter:
    """Progress as plain lines, one every few seconds."""

    def __init__(self, say: Say, title: str, total: int) -> None:
        self._say, self._title, self._total = say, title, total
        self._done = 0
        self._due = time.monotonic() + _LINES_EVERY_S

    def advance(self, size: int) -> None:
        """Count received bytes; called from several threads, where a lost count does no harm."""
        self._done += size
        if (now := time.monotonic()) >= self._due:
            self._due = now + _LINES_EVERY_S
            self._say(f"{self._title}: {self._done / 1e6:.0f} of {self._total / 1e6:.0f} MB")


class _Trainee(Broker):
    """A broker whose JVM writes the cache when it ends.

    Args:
        directory: working directory that only this run uses.
        target: path of the cache file.
    """

    grace = _GRACE_S
    death_signal = signal.SIGKILL  # nobody wants the cache any more, which takes 10 s to write

    def __init__(self, directory: Path, target: Path) -> None:
        super().__init__(directory)
        self._target = target

    def _argv(self, port: int) -> list[str]:  # noqa: ARG002  (the configuration has it)
        return self._main([f"-XX:AOTCacheOutput={self._target}"])

    def abandon(self) -> None:
        """Kill the JVM, and the one that it starts to write the cache: both are in its group."""
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            end(self._process, signal.SIGKILL, 5.0)
        self._process = None


def train() -> None:
    """Make the cache: run a broker through a shop's day, and let its JVM save what it loaded.

    Raises:
        StartError: if the broker does not start, or writes no cache that Java can use.
        OSError: if the cache cannot be stored.
    """
    with jars.locked(jars.cache_root()):
        target = java.cache()
        if target.is_file():  # another process was faster
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        _tidy(target.parent)
        with tempfile.TemporaryDirectory(dir=jars.cache_root(), prefix=_TRAINING) as name:
            made = Path(name) / target.name
            trainee = _Trainee(Path(name), made)
            try:
                trainee.start()
                _work(shop_settings.load(trainee.env, use_stack=False).kafka)
                trainee.stop()
            finally:
                trainee.abandon()
            if not made.is_file():
                raise StartError(f"Java wrote no cache: {tail(trainee.log)}")
            made.replace(target)
    if reason := java.why_unused(jvm()):
        target.unlink(missing_ok=True)
        raise StartError(f"Java does not use the cache that it wrote: {reason}")


def _tidy(directory: Path) -> None:
    """Remove what an interrupted training left, and caches unused for a month."""
    for left in jars.cache_root().glob(f"{_TRAINING}*"):
        shutil.rmtree(left, ignore_errors=True)
    for cache in directory.glob("*.aot"):
        if time.time() - cache.stat().st_mtime > _UNUSED_S:
            cache.unlink(missing_ok=True)


def _work(settings: KafkaSettings) -> None:
    """Do once what a shop's broker does all day: topics, messages, a consumer group, commits."""
    kafka.create_topics(settings)
    producer = kafka.producer(settings, "training")
    for n in range(_MESSAGES):
        producer.produce("orders", key=str(n), value=b"{}" * 100)
    producer.flush(60)
    consumer = Consumer(
        {
            **kafka.consumer_config(settings, "training", "training"),
            "auto.offset.reset": "earliest",
        }
    )
    try:
        consumer.subscribe(["orders"])
        deadline = time.monotonic() + 60
        left = _MESSAGES
        while left > 0 and time.monotonic() < deadline:
            left -= len(consumer.consume(_MESSAGES, 1.0))
        consumer.commit(asynchronous=False)
    finally:
        consumer.close()
    client = kafka.admin(settings, "training")
    kafka.describe_topics(client)
    for future in client.delete_topics(["orders"]).values():
        future.result(30)


# -- the command -----------------------------------------------------------------------------


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `jangteo servers`."""
    parser.add_argument(
        "action", nargs="?", choices=("prepare",), default="prepare",
        help="fetch, verify and train what is missing (default)",
    )  # fmt: skip


def run(args: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001  (every command has both)
    """Prepare what is missing, or report that everything is there."""
    console = Console(stderr=True)
    prepare(
        lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True),
        terminal=console,
        verify=True,
    )
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(
        command.main(configure, run, prog="python -m jangteo.cli.servers", description=__doc__)
    )
