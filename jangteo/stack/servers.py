"""The servers of `jangteo up`: embedded ones, or those that the environment names."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import psutil
from confluent_kafka import KafkaException

from jangteo.stack.embedded import Broker, EmbeddedPostgres, EmbeddedRedis
from jangteo.stack.ports import CONVENTIONAL, Ports
from jangteo.stack.server import Server
from jangteo.stack.supervisor import backoff, rotate
from shop import boot_clock, private_files
from shop import settings as shop_settings
from shop.clock import KST, utc_now
from shop.errors import JangteoError, UsageError
from shop.log import redact
from shop.process_status import ProcessState, ProcessStatus, read_snapshot
from shop.settings import Settings, embedded_ports, stack_file

Say = Callable[[str], None]

# The stack starts a server where this variable is not set.
EMBEDDED: Final[Mapping[str, type[Server]]] = {
    "POSTGRES_HOST": EmbeddedPostgres,
    "REDIS_URL": EmbeddedRedis,
    "KAFKA_BOOTSTRAP_SERVERS": Broker,
}
# PostgreSQL may write a last checkpoint. The others may wait for something that does not come back,
# such as a broker that died with the stack; what Kafka acknowledged is on disk.
_LEFTOVER_GRACE_S: Final = 2.0


@contextmanager
def held(data_dir: Path) -> Iterator[None]:
    """Lock a data directory: one `jangteo up` at a time.

    Raises:
        UsageError: if it is locked or cannot be used; the message names the holder or the reason.
    """
    try:
        private_files.make_folder(data_dir)
        private_files.check_folder(data_dir)
        file = os.fdopen(
            private_files.open_own(data_dir / "lock", os.O_RDWR), "r+", encoding="utf-8"
        )
    except OSError as e:
        reason = e if isinstance(e, private_files.UntrustedFileError) else e.strerror
        raise UsageError(f"cannot use {data_dir} as data directory: {reason}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UsageError(_holder(data_dir, file.read())) from None
        file.seek(0)
        file.truncate()
        text = json.dumps({"pid": os.getpid(), "since": utc_now().isoformat()})
        with contextlib.suppress(OSError):  # only names who holds it
            os.write(file.fileno(), text.encode())
        yield


def _holder(data_dir: Path, text: str) -> str:
    try:
        record = json.loads(text)
        since = datetime.fromisoformat(record["since"]).astimezone(KST)
        who = f"by process {record['pid']} since {since:%Y-%m-%d %H:%M:%S} KST"
        how = f"stop it (Ctrl-C there, or kill {record['pid']})"
    except (ValueError, KeyError, TypeError):  # it has the lock but has not yet written who it is
        who, how = "by another `jangteo up` that just started", "stop it"
    return f"{data_dir} is held {who}; {how}, or use another --data-dir"


def end_leftovers(data_dir: Path) -> list[str]:
    """End what a crashed `up` left running in this directory; return the names.

    The caller must hold the lock of the directory.
    """
    left: dict[int, str] = {}
    processes = []
    for status in read_snapshot(data_dir):
        pid, started = status.pid, status.pid_started
        if pid and started and boot_clock.same_process(pid, started):
            with contextlib.suppress(psutil.Error):
                processes.append(psutil.Process(pid))
                # SIGINT is PostgreSQL's fast shutdown; the others treat it as Ctrl-C.
                processes[-1].send_signal(signal.SIGINT)
                left[pid] = status.name
    _, stubborn = psutil.wait_procs(processes, timeout=_LEFTOVER_GRACE_S)
    databases = [p for p in stubborn if left.get(p.pid) == EmbeddedPostgres.name]
    psutil.wait_procs(databases, timeout=EmbeddedPostgres.grace)
    for process in stubborn:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(stubborn, timeout=5)
    return list(left.values())


@dataclass
class _Watch:
    """How often an embedded server ended unexpectedly, and when it may be started again."""

    failures: int = 0
    restarts: int = 0
    due: float = 0.0
    up_since: datetime | None = None
    died: bool = False
    pid_started: str | None = None


class Stack:
    """The three servers: embedded, or named by the environment.

    Args:
        data_dir: data directory of the stack.
        environ: variables; a server that they name is used, the others are started.
        say: takes a line for people.
        broker: class of the broker to start if no Kafka is given.
        unwanted: returns whether the user has asked to stop; no server is waited for then.
    """

    def __init__(
        self,
        data_dir: Path,
        environ: Mapping[str, str],
        say: Say,
        *,
        broker: type[Server] = Broker,
        unwanted: Callable[[], bool] = lambda: False,
    ) -> None:
        self.data_dir = data_dir
        self._unwanted = unwanted
        self._environ = environ
        self._say = say
        self._stopped = False
        ports = Ports(data_dir, asked=embedded_ports(environ), first=CONVENTIONAL, say=say)
        self.servers = [
            made(data_dir, ports=ports)
            for variable, made in {**EMBEDDED, "KAFKA_BOOTSTRAP_SERVERS": broker}.items()
            if not environ.get(variable)
        ]
        self._watches = {server.name: _Watch() for server in self.servers}

    @property
    def env(self) -> dict[str, str]:
        """The environment of every process of the stack."""
        merged = dict(self._environ)
        for server in self.servers:
            prefix = next(iter(server.env)).split("_")[0] + "_"
            for name in [n for n in merged if n.startswith(prefix) and n != "KAFKA_PARTITIONS"]:
                del merged[name]  # a password file or a certificate meant for another server
            merged.update(server.env)
        return {**merged, "JANGTEO_DATA_DIR": str(self.data_dir)}

    @property
    def embeds_postgres(self) -> bool:
        """Whether PostgreSQL is embedded: nothing but this stack writes to it."""
        return any(isinstance(server, EmbeddedPostgres) for server in self.servers)

    @property
    def settings(self) -> Settings:
        """The settings of every process of the stack."""
        return shop_settings.load(self.env, use_stack=False)

    def start(self) -> None:
        """Start the embedded servers at the same time; Kafka, which takes longest, first.

        Raises:
            UsageError, StartError: see `Server.start`.
        """
        began = {}
        for server in reversed(self.servers):
            if self._unwanted():
                return
            rotate(server.log)
            began[server.name] = time.monotonic()
            server.launch()
            self._note_start(server)
        for server in self.servers:
            if not server.await_ready(stopped=self._unwanted):
                return
            self._note_start(server)
            took = time.monotonic() - began[server.name]
            self._say(f"{server.title} {server.version} ready on {server.where} ({took:.1f} s)")

    def publish(self) -> None:
        """Let other commands find the stack."""
        env = {k: v for k, v in self.env.items() if k.startswith(stack_file.PUBLISHED)}
        pid = os.getpid()
        stack_file.publish(
            stack_file.RunningStack(
                data_dir=self.data_dir,
                pid=pid,
                pid_started=boot_clock.process_started(pid) or "",
                started_at=utc_now().isoformat(),
                env=env,
            )
        )

    def poll(self) -> None:
        """Restart servers that ended, on their former ports, with growing waits; report it."""
        now = time.monotonic()
        for server in self.servers:
            watch = self._watches[server.name]
            if server.alive:
                continue
            if not watch.died:
                watch.died, watch.failures, watch.due = True, 0, now
                self._say(f"{server.title} died: starting it again on {server.where}")
            if now >= watch.due:
                self._revive(server, watch)

    def _revive(self, server: Server, watch: _Watch) -> None:
        try:
            server.launch(move=False)
            self._note_start(server)
            if not server.await_ready(move=False, stopped=self._unwanted):
                return
            if lost := server.replace_lost(self.settings):
                self._say(lost)
        except (JangteoError, KafkaException, OSError) as e:  # OSError: disk or descriptors
            server.kill()  # a broker without topics would look alive
            watch.failures += 1
            wait = backoff(watch.failures)
            watch.due = time.monotonic() + wait
            self._say(f"{e}; next attempt in {wait:.1f} s")
            return
        watch.died = False
        watch.restarts += 1
        self._say(f"{server.title} is back on {server.where}")

    def _note_start(self, server: Server) -> None:
        watch = self._watches[server.name]
        watch.up_since = utc_now()
        watch.pid_started = boot_clock.process_started(server.pid) if server.pid else None

    def stop(self) -> None:
        """End the embedded servers and remove stack.json; clients should be gone."""
        self._stopped = True
        stack_file.withdraw(self.data_dir)
        for server in reversed(self.servers):
            server.stop()

    def statuses(self) -> list[ProcessStatus]:
        """Return the state of each embedded server."""
        found = []
        at_rest = ProcessState.STOPPED if self._stopped else ProcessState.BACKOFF
        for server in self.servers:
            watch = self._watches[server.name]
            found.append(
                ProcessStatus(
                    name=server.name,
                    pid=server.pid,
                    pid_started=watch.pid_started if server.pid else None,
                    state=(ProcessState.RUNNING if server.alive else at_rest).value,
                    restarts=watch.restarts,
                    up_since=watch.up_since if server.pid else None,
                    last_exit=None,
                )
            )
        return found

    def describe(self) -> list[str]:
        """Return a line on each of the three servers, embedded or not."""
        embedded = {server.name: server for server in self.servers}
        lines = []
        for variable, kind in EMBEDDED.items():
            server = embedded.get(kind.name)
            if server:
                lines.append(f"{server.title} on {server.where}")
            else:
                name = "Kafka" if kind is Broker else kind.title
                lines.append(f"{name} from {variable}: {redact(self._environ[variable])}")
        return lines
