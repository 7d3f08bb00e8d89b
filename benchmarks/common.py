"""What the benchmarks share: private servers, the machine's line, memory, output."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from jangteo.stack import embedded
from jangteo.stack.kafka import jars
from shop import kafka, postgres
from shop import settings as shop_settings
from shop.events import TOPICS
from shop.settings import EMBEDDED_PORTS, Settings


def machine() -> str:
    """Return one line about this machine: cores, memory, system, Python."""
    memory = psutil.virtual_memory().total / 2**30
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.processor() or "unknown processor",
    )
    return (
        f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} "
        f"{platform.release()}, Python {platform.python_version()}"
    )


class Rig:
    """Private servers in a temporary directory, as `jangteo up` starts them; fsync is on."""

    def __init__(self, directory: Path) -> None:
        self.postgres = embedded.EmbeddedPostgres(directory)
        self.broker = embedded.Broker(directory)
        self.directory = directory
        self._databases: list[str] = []
        self._numbers = itertools.count(1)

    def empty_topics(self) -> None:
        """Recreate the topics."""
        settings = self.settings({**self.postgres.env, **self.broker.env}).kafka
        client = kafka.admin(settings)
        if old := list(kafka.describe_topics(client)):
            for future in client.delete_topics(old).values():
                future.result()
        deadline = time.monotonic() + 60
        while len(kafka.describe_topics(client)) < len(TOPICS):
            if time.monotonic() > deadline:
                raise RuntimeError("the topics were not recreated")
            time.sleep(0.5)
            kafka.create_topics(settings)

    def drop_databases(self) -> None:
        """Drop what earlier contestants filled.

        Kept, autovacuum would tidy it up while the next one runs: that took 0.4 of a core.
        """
        with self._server() as conn:
            while self._databases:
                conn.execute(f"DROP DATABASE {self._databases.pop()} WITH (FORCE)")

    def _server(self) -> postgres.Connection:
        return postgres.connect(self.settings(self.postgres.env).postgres, "bench", autocommit=True)

    def database(self) -> dict[str, str]:
        """Return the environment of a fresh, migrated database."""
        self._databases.append(name := f"bench_{next(self._numbers)}")
        with self._server() as conn:
            conn.execute(f"CREATE DATABASE {name}")
        env = {**self.postgres.env, "POSTGRES_DB": name, **self.broker.env}
        with postgres.connect(self.settings(env).postgres, "bench") as conn:
            postgres.migrate(conn)
        return env

    def checkpoint(self) -> None:
        """Write out what earlier runs left, so that no contestant pays for another's pages."""
        with self._server() as conn:
            conn.execute("CHECKPOINT")

    def server_cpu_s(self) -> tuple[float, float]:
        """Return the CPU seconds of PostgreSQL and of the broker so far."""
        database, broker = self.postgres.pid, self.broker.pid
        return family_cpu_s(database) if database else 0.0, family_cpu_s(broker) if broker else 0.0

    @staticmethod
    def settings(env: dict[str, str]) -> Settings:
        """Return settings of these variables alone."""
        return shop_settings.load(env, use_stack=False)


@contextmanager
def rig() -> Iterator[Rig]:
    """Start the servers, and end them."""
    with tempfile.TemporaryDirectory(prefix="jangteo-bench-") as name:
        made = Rig(Path(name))
        try:
            made.postgres.start()
            jars.fetch()
            made.broker.start()
            yield made
        finally:
            made.broker.kill()
            made.postgres.kill()


def peak_memory_mb(pid: int) -> float:
    """Return the largest resident size that a live process has had, in MB (10**6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"no VmHWM for {pid}")


def children(pid: int) -> list[int]:
    """Return the pids of everything a process started."""
    return [p.pid for p in psutil.Process(pid).children(recursive=True)]


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process and what it started."""
    family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()


def family_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process, of its living descendants, and of those it buried."""
    total = 0.0
    mine = psutil.Process(pid)
    for process in [mine, *mine.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def cpu_s(pid: int) -> float:
    """Return the CPU seconds, user and system, of a live process."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def threads_cpu_s(pids: Iterable[int]) -> list[tuple[str, float]]:
    """Return the CPU seconds of live processes' threads, the busiest name first.

    Threads of one name are added up; the first one of a process is `main`.
    """
    seconds: dict[str, float] = defaultdict(float)
    tick = os.sysconf("SC_CLK_TCK")
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            _, _, rest = (task / "stat").read_text(encoding="utf-8").rpartition(")")
            fields = rest.split()  # from the third on: utime is the 14th
            name = (task / "comm").read_text(encoding="utf-8").strip().rstrip("0123456789-")
            used = (int(fields[11]) + int(fields[12])) / tick
            seconds["main" if task.name == str(pid) else name] += used
    return sorted(seconds.items(), key=lambda named: -named[1])


@dataclass(frozen=True)
class Result:
    """One figure of a benchmark, as the report shows it.

    Attributes:
        name: what was measured; the same in every run, so that two reports can be compared.
        value: the figure.
        unit: of the value, such as orders/s, s, ms, MB or %.
        ratio: the value as a multiple of another figure of the same run, where there is one.
        of: which figure that is.
        goal: what is aimed at, such as ">= 0.85" or "<= 100": of the ratio if there is one, else
            of the value.
        chart: title of the chart that shows it with others of the same title; empty: of none.
        note: what a reader needs to know in addition.
    """

    name: str
    value: float
    unit: str
    ratio: float | None = None
    of: str = ""
    goal: str = ""
    chart: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None if there is no goal.

        >>> Result("start", 90, "ms", goal="<= 100").met
        True
        >>> Result("ingest", 70_000, "orders/s", ratio=0.6, of="COPY", goal=">= 0.65").met
        False
        """
        if not self.goal:
            return None
        sign, bound = self.goal.split()
        figure = self.value if self.ratio is None else self.ratio
        return figure >= float(bound) if sign == ">=" else figure <= float(bound)


def save(path: Path, results: Sequence[Result], **more: Any) -> None:
    """Write results as JSON, with the machine and the time.

    Args:
        path: the file.
        results: what the report shows.
        more: further fields, for those who look closer.
    """
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    found = {"machine": machine(), "at": at, "results": [asdict(r) for r in results], **more}
    path.write_text(json.dumps(found, indent=1, default=_plain) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Return a scalar of numpy as Python's own; a benchmark must not end without its figures."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON: {value!r}")


@contextmanager
def open_shop(
    env: Mapping[str, str], folder: Path, *options: str, name: str = "up"
) -> Iterator[None]:
    """Run `jangteo up` on any free ports, from the moment when the shop is open.

    Args:
        env: of the process; names its data directory.
        folder: for its output.
        options: of `jangteo up`.
        name: of the output's file.
    """
    path = folder / f"{name}.log"
    ports = dict.fromkeys(EMBEDDED_PORTS.values(), "0")
    with path.open("wb") as log:
        up = subprocess.Popen(
            [sys.executable, "-m", "jangteo.stack.up", "--plain", *options],
            env={**env, **ports}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        while b"the shop is open" not in path.read_bytes():
            if up.poll() is not None:
                sys.exit(path.read_text(encoding="utf-8"))
            time.sleep(0.2)
        yield
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)
