"""One broker of Apache Kafka: a process of Java that is its own controller too (KRaft)."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import confluent_kafka
from confluent_kafka.admin import AdminClient

from shop import kafka, kafka_jars
from shop import settings as shop_settings
from shop.server import HOST, Server, environment
from shop.spawn import spawn

HEAP: Final = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC")
"""Three fit beside PostgreSQL on a small machine: about 300 MB resident each at rest."""
STOP_GRACE_S: Final = 10.0
"""After two of three brokers ended there is no quorum left to take leave of: the last one would
wait for minutes. What is on disk is whole either way."""

_PROPERTIES: Final = """
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=BROKER://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=BROKER://{host}:{port}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
log.dirs={directory}
num.partitions=12
auto.create.topics.enable=false
default.replication.factor={replication}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={replication}
offsets.topic.num.partitions=6
transaction.state.log.replication.factor={replication}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=6
share.coordinator.state.topic.replication.factor={replication}
share.coordinator.state.topic.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=3
# A group of one to three members need not wait three seconds for more.
group.initial.rebalance.delay.ms=0
# A broker that died is replaced as leader after 5 s (default 9).
broker.session.timeout.ms=5000
broker.heartbeat.interval.ms=1000
"""
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
    """(broker, controller) of node 1, 2, ..."""
    pid: int | None = None
    """Of the process that runs it."""
    pid_started: float | None = None

    @property
    def bootstrap(self) -> str:
        """What clients are given."""
        return ",".join(f"{HOST}:{port}" for port, _ in self.ports)


class Broker(Server):
    """One broker of a cluster, which is one controller too.

    Args:
        directory: of the cluster.
        node: its number, from 1.
        layout: of the cluster; shared by its brokers.
        properties: more of Kafka's settings.
        options: of the JVM.
    """

    name = "kafka"
    title = "Apache Kafka"
    grace = STOP_GRACE_S
    start_timeout = 120.0  # three JVMs that start at once on two busy cores
    _not_yet = (confluent_kafka.KafkaException,)

    def __init__(
        self,
        directory: Path,
        node: int,
        layout: Layout,
        *,
        properties: Mapping[str, str],
        options: Sequence[str],
    ) -> None:
        super().__init__(directory)
        self.node = node
        self.log = self.data_dir / "logs" / f"kafka-{node}.log"
        self._layout = layout
        self._extra = dict(properties)
        self._options = tuple(options)
        self._home = self.data_dir / f"node-{node}"
        self.port = layout.ports[node - 1][0]

    @property
    def version(self) -> str:
        """Version of Kafka."""
        return kafka_jars.version()

    @property
    def env(self) -> dict[str, str]:
        """KAFKA_BOOTSTRAP_SERVERS, of the whole cluster."""
        return {"KAFKA_BOOTSTRAP_SERVERS": self._layout.bootstrap}

    def launch(self) -> None:
        """Start without waiting: alone a broker of three cannot get ready."""
        if self.alive:
            return
        self._prepare()
        self._process = spawn(
            self._argv(self.port or 0), log=self.log, env=environment(), death_signal=signal.SIGTERM
        )

    def await_ready(self) -> None:
        """Wait until it answers.

        Raises:
            StartError: if it does not come up; has the tail of its log.
        """
        try:
            self._await_ready(self.port or 0)
        except BaseException:
            self.kill()
            raise

    def start(self, *, move: bool = True) -> None:  # noqa: ARG002  (the base class's; a broker here keeps its port)
        """Start it again, among its running fellows, on its own port."""
        self.launch()
        self.await_ready()

    def _prepare(self) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        port, controller_port = self._layout.ports[self.node - 1]
        replication = min(3, len(self._layout.ports))
        voters = ",".join(f"{i}@{HOST}:{c}" for i, (_, c) in enumerate(self._layout.ports, 1))
        text = _PROPERTIES.format(
            node=self.node, voters=voters, host=HOST, port=port, controller_port=controller_port,
            directory=self._home / "data", replication=replication, in_sync=max(1, replication - 1),
        )  # fmt: skip
        text += "".join(f"{name}={value}\n" for name, value in self._extra.items())
        self._config.write_text(text, encoding="utf-8")
        (self._home / "log4j2.properties").write_text(_LOGGING, encoding="utf-8")

    @property
    def _config(self) -> Path:
        return self._home / "server.properties"

    def formatting(self) -> subprocess.Popen[str] | None:
        """Begin to format its storage; None if that was done before."""
        if (self._home / "data" / "meta.properties").is_file():
            return None
        self._prepare()
        return subprocess.Popen(
            self._java(
                "kafka.tools.StorageTool", "format", "--cluster-id", self._layout.cluster_id,
                "--config", str(self._config),
            ),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=environment(),
        )  # fmt: skip

    def _java(self, main: str, *arguments: str) -> list[str]:
        logging = f"-Dlog4j2.configurationFile={self._home / 'log4j2.properties'}"
        return kafka_jars.command_line(main, *arguments, options=[*HEAP, *self._options, logging])

    def _argv(self, port: int) -> list[str]:  # noqa: ARG002  (the base class's; a broker here keeps its port)
        return self._java("kafka.Kafka", str(self._config))

    def _probe(self) -> None:
        env = {"KAFKA_BOOTSTRAP_SERVERS": self.where}
        config = kafka.client_config(shop_settings.load(env, use_stack=False).kafka, "start")
        AdminClient(config).list_topics(timeout=2.0)
