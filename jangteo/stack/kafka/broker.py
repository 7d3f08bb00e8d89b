"""One broker of Apache Kafka: a Java process that is its own controller too (KRaft).

The same class is the embedded broker, the broker of the tests, and a node of the native cluster.
"""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from jangteo.stack.directory_lock import DirectoryLock
from jangteo.stack.kafka import jars as kafka_jars
from jangteo.stack.kafka import java
from jangteo.stack.ports import HOST, Ports, PortTakenError, is_free
from jangteo.stack.server import Server, StartError, environment
from jangteo.stack.spawn import shim, spawn
from shop import kafka
from shop import settings as shop_settings
from shop.private_files import write_private

# 150 MB resident. The first compiler alone: the second one doubles the CPU seconds of a start and
# gains nothing at a shop's load.
JVM: Final = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
STOP_GRACE_S: Final = 10.0
"""A graceful stop takes 0.5 s. After two of three brokers ended there is no quorum left to
deregister from, and the last one would wait for minutes. The data on disk is whole either way."""
RETENTION_BYTES: Final = 128 << 20
"""Retention per partition; a topic of 12 partitions, with the active segments, keeps 1.9 GiB."""
SEGMENT_BYTES: Final = 32 << 20
RETENTION_HOURS: Final = 168
RETENTION_CHECK_MS: Final = 30_000
"""Interval of the retention checks. In Kafka's default of 5 minutes a load test writes more than
all partitions together may hold."""

_OWN_SEGMENT_BYTES: Final = 8 << 20  # the least that the metadata may have
# An entry of 12 bytes for every 4 KiB of log (index.interval.bytes).
_INDEX_BYTES: Final = SEGMENT_BYTES // 4_096 * 12

_PROPERTIES: Final = """
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=BROKER://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=BROKER://{host}:{port}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
# Below the working directory: Java reads this file as Latin-1, and the path may be Korean.
log.dirs={directory}
num.partitions=12
auto.create.topics.enable=false
default.replication.factor={replication}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replication}
offsets.topic.num.partitions={internal}
transaction.state.log.replication.factor={replication}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions={internal}
share.coordinator.state.topic.replication.factor={replication}
share.coordinator.state.topic.min.isr={in_sync}
share.coordinator.state.topic.num.partitions={internal}
# Kafka's own topics: 100 MB a segment by default, 1 GB of metadata, all of it read at a start.
offsets.topic.segment.bytes={own_segment_bytes}
transaction.state.log.segment.bytes={own_segment_bytes}
share.coordinator.state.topic.segment.bytes={own_segment_bytes}
metadata.log.segment.bytes={own_segment_bytes}
metadata.max.retention.bytes={metadata_bytes}
# A shop left running does not fill the disk: the bound of a topic is its partitions times this
# and a segment. Unread messages count too (docs/kafka.md).
log.retention.bytes={retention_bytes}
log.retention.hours={retention_hours}
log.segment.bytes={segment_bytes}
log.retention.check.interval.ms={retention_check_ms}
# Enough for such a segment. Kafka reserves the whole size for two indexes of each partition:
# 720 MB (the default is 10 MB each), as copies and backups of the directory see it.
log.index.size.max.bytes={index_bytes}
# A deleted topic leaves the disk after 1 s instead of 60.
file.delete.delay.ms=1000
# A group of one to three members need not wait three seconds for more.
group.initial.rebalance.delay.ms=0
# The least that our consumers use; the newer protocol takes these from the broker.
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=1000
group.consumer.heartbeat.interval.ms=1000
# A broker that was killed is taken back when its former registration has expired (default 9 s).
# Alone it waits 2 s: 1 s is too short on a busy machine, where heartbeats come late. Of three, one
# whose heartbeats are late would lose its partitions to the others: 5 s.
broker.session.timeout.ms={session_ms}
broker.heartbeat.interval.ms={heartbeat_ms}
# An idle controller writes a record that says so every 500 ms by default, and syncs it to the disk:
# with three consumers a quarter of the CPU of an idle broker.
metadata.max.idle.interval.ms=5000
# Sized for a shop, not for a machine of its own: of the default, 128 MB alone are the buffer of
# the cleaner of compacted topics.
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.threads=1
num.network.threads=2
num.io.threads=2
background.threads=2
num.recovery.threads.per.data.dir=1
"""
# Kafka wants ports to format a storage, which does not depend on them. No server gets these.
_FORMAT_PORTS: Final = [(1, 2)]
_MAIN: Final = "kafka.Kafka"
# The libraries of LZ4, Snappy and Zstandard are unpacked there. A broker that is killed leaves them
# (236 kB of LZ4 alone), and nobody empties the system's own directory; some do not let it run code.
_TEMPORARY: Final = "tmp"
QUIET: Final = "-Dlog4j2.level=ERROR"
_LOGGING: Final = """
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.target = SYSTEM_ERR
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
"""


@dataclass
class Layout:
    """Which brokers a cluster has and where; kept on disk between runs."""

    cluster_id: str
    ports: list[tuple[int, int]]
    """Ports (broker, controller) of node 1, 2, ..."""
    pid: int | None = None
    """Pid of the process that runs the cluster."""
    pid_started: str | None = None

    @property
    def bootstrap(self) -> str:
        """Value of KAFKA_BOOTSTRAP_SERVERS."""
        return ",".join(f"{HOST}:{port}" for port, _ in self.ports)


class Broker(Server):
    """One Apache Kafka broker with its log on disk, its own controller too.

    Args:
        data_dir: data directory of the stack, or of the cluster.
        ports: chooses its two ports; by default any free ones, kept in the data directory.
        layout: layout of the cluster that it belongs to; None for a single broker.
        node: its number in the cluster, from 1.
        properties: further settings of Kafka.
        options: further options of the JVM, after `JVM`.
    """

    name = "kafka"
    title = "Apache Kafka"
    grace = STOP_GRACE_S
    start_timeout = 120.0  # three JVMs that start at once on two busy cores
    _not_yet = (KafkaException,)

    def __init__(
        self,
        data_dir: Path,
        *,
        ports: Ports | None = None,
        layout: Layout | None = None,
        node: int = 1,
        properties: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        super().__init__(data_dir, ports=ports)
        self.node = node
        self._extra = dict(properties or {})
        self._options = tuple(options)
        self._alone = layout is None
        self._layout = layout or Layout("", [])  # no ports until they are chosen
        self.home = self.data_dir / ("kafka" if self._alone else f"node-{node}")
        self._guard = DirectoryLock(self.home, title=self.title, mark=_MAIN, grace=self.grace)
        if layout:
            self.log = self.data_dir / "logs" / f"kafka-{node}.log"
            self.port = layout.ports[node - 1][0]

    @property
    def version(self) -> str:
        """Version of Kafka."""
        return kafka_jars.installed_version()

    @property
    def env(self) -> dict[str, str]:
        """KAFKA_BOOTSTRAP_SERVERS, of the whole cluster."""
        where = self.where if self._alone else self._layout.bootstrap
        return {"KAFKA_BOOTSTRAP_SERVERS": where}

    def _choose_port(self, *, move: bool) -> int:
        if self._alone:
            port = super()._choose_port(move=move)
            former = self._layout.ports[0][1] if self._layout.ports else None
            controller = self.ports.choose(
                "kafka-controller", f"{self.title} (controller)", former=former, move=move
            )
            self._layout.ports = [(port, controller)]
        else:
            port = self._layout.ports[self.node - 1][0]
        for taken in self._layout.ports[self.node - 1]:
            if not is_free(taken):  # Kafka itself notices only after its whole start
                raise PortTakenError(f"{self.title}: another program took its port {taken}")
        self._configure("server.properties", "data", self._layout.ports)
        return port

    def _ports_are_free(self) -> bool:
        return all(is_free(port) for port in self._layout.ports[self.node - 1])

    # -- on disk -------------------------------------------------------------------------------

    def _prepare(self) -> None:
        java.program()
        kafka_jars.jars()
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.home.chmod(0o700)
        if not self._layout.cluster_id:
            self._layout.cluster_id = self._kept_cluster_id()
        (self.home / "log4j2.properties").write_text(_LOGGING, encoding="ascii")
        with self._guard.held():
            shutil.rmtree(self.home / _TEMPORARY, ignore_errors=True)
            (self.home / _TEMPORARY).mkdir(mode=0o700)
            if not (self.home / "data" / "meta.properties").is_file():
                self._format()

    def _kept_cluster_id(self) -> str:
        path = self.home / "cluster-id"
        if not path.is_file():
            write_private(path, new_cluster_id())
        return path.read_text(encoding="ascii").strip()

    def _configure(self, name: str, directory: str, ports: Sequence[tuple[int, int]]) -> None:
        count = len(ports)
        replication = min(3, count)
        port, controller_port = ports[self.node - 1]
        voters = ",".join(f"{i}@{HOST}:{c}" for i, (_, c) in enumerate(ports, 1))
        text = _PROPERTIES.format(
            node=self.node, voters=voters, host=HOST, port=port, controller_port=controller_port,
            directory=directory, replication=replication, in_sync=max(1, replication - 1),
            internal=1 if count == 1 else 6,
            session_ms=2_000 if count == 1 else 5_000, heartbeat_ms=500 if count == 1 else 1_000,
            retention_bytes=RETENTION_BYTES,
            retention_hours=RETENTION_HOURS, segment_bytes=SEGMENT_BYTES,
            retention_check_ms=RETENTION_CHECK_MS, index_bytes=_INDEX_BYTES,
            own_segment_bytes=_OWN_SEGMENT_BYTES, metadata_bytes=4 * _OWN_SEGMENT_BYTES,
        )  # fmt: skip
        text += "".join(f"{name}={value}\n" for name, value in self._extra.items())
        (self.home / name).write_text(text, encoding="ascii", errors="backslashreplace")

    def _format(self) -> None:
        """Format the storage under a temporary name: a half-made one would be useless.

        Raises:
            StartError: if Kafka refuses; the message has its reason.
        """
        building = self.home / "data.new"
        shutil.rmtree(building, ignore_errors=True)
        ports = self._layout.ports or _FORMAT_PORTS
        self._configure("format.properties", building.name, ports)
        argv = self._java(
            "kafka.tools.StorageTool",
            *("format", "--cluster-id", self._layout.cluster_id, "--config", "format.properties"),
            cache=java.cache_options(),
        )
        done = subprocess.run(
            shim(argv, death_signal=signal.SIGKILL),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            cwd=self.home, env=self._environment(), check=False,
        )  # fmt: skip
        (self.home / "format.properties").unlink(missing_ok=True)
        if done.returncode or not (building / "meta.properties").is_file():
            raise StartError(
                f"cannot format the storage of {self.title} in {self.home}: "
                f"{_reason(done.stderr + done.stdout)}"
            )
        building.replace(self.home / "data")

    # -- the process ---------------------------------------------------------------------------

    def _java(self, main: str, *arguments: str, cache: Sequence[str]) -> list[str]:
        own = [f"-Djava.io.tmpdir={_TEMPORARY}", "-Dlog4j2.configurationFile=log4j2.properties"]
        options = [*jvm(), *self._options, *cache, *own]
        return java.command_line(main, *arguments, options=options)

    def _argv(self, port: int) -> list[str]:  # noqa: ARG002  (the configuration has it)
        return self._main(java.cache_options())

    def _main(self, cache: Sequence[str]) -> list[str]:
        return self._java(_MAIN, "server.properties", cache=cache)

    def _environment(self) -> dict[str, str]:
        # Java takes the encoding of file names from the locale: with C none but ASCII.
        return {**environment(), "LC_ALL": "C.UTF-8"}

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        with self._guard.held() as lock:
            process = spawn(
                self._argv(port),
                log=self.log,
                env=self._environment(),
                death_signal=self.death_signal,
                identity=self.identity,
                cwd=self.home,
                descriptors=(lock,),
            )
            self._guard.record(lock, process.pid)
        return process

    def _probe(self) -> None:
        env = {"KAFKA_BOOTSTRAP_SERVERS": self.where}
        config = kafka.client_config(shop_settings.load(env, use_stack=False).kafka, "start")
        client = AdminClient(config)
        if str(client.list_topics(timeout=2.0).cluster_id) != self._layout.cluster_id:
            # Another Kafka was faster to take the port.
            raise ConnectionError(f"another Kafka answers on {self.where}")


def jvm() -> list[str]:
    """Return the options of every broker's JVM, except for the cache's."""
    return [*JVM, *java.options()]


def new_cluster_id() -> str:
    """Return a random id as Kafka writes it: 16 bytes in URL-safe base 64, not starting with -."""
    while True:
        text = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        if not text.startswith("-"):
            return text


def _reason(output: str) -> str:
    """Return the error of a failed Java command, without its stack trace."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    reported = [line for line in lines if not line.startswith(("at ", "..."))]
    text = " / ".join(reported[:3]) or "no reason given"
    return text.replace('Exception in thread "main" ', "")[:400]
