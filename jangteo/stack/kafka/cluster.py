"""Apache Kafka on this machine, without containers: one or three brokers with data on disk.

    python -m jangteo.stack.kafka.cluster up --brokers 3 [--detach]
    python -m jangteo.stack.kafka.cluster down
    python -m jangteo.stack.kafka.cluster tool kafka-topics --list

Each broker is its own controller too (KRaft). Ports are free loopback ports, kept for the next
start; the data is in `kafka-cluster/` of the data directory. See deploy/kafka/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import psutil
from confluent_kafka.admin import AdminClient
from rich.console import Console

from jangteo.cli import servers
from jangteo.stack.kafka import jars, java
from jangteo.stack.kafka.broker import QUIET, Broker, Layout, new_cluster_id
from jangteo.stack.kafka.jars import TOOLS
from jangteo.stack.ports import free_port, is_free
from jangteo.stack.server import StartError
from jangteo.stack.servers import held
from jangteo.stack.spawn import end, tail
from shop import boot_clock, command, kafka
from shop import settings as shop_settings
from shop.errors import ExitCode, JangteoError, UsageError
from shop.log import get_logger
from shop.output import say
from shop.private_files import open_own, write_private
from shop.retry import Outage
from shop.settings import Settings

FOLDER: Final = "kafka-cluster"


class Cluster:
    """One or three brokers of Apache Kafka.

    Args:
        directory: directory of all of its data.
        brokers: number of brokers at the first start; None: as before, else 3.
        properties: further settings of Kafka, for every broker.
        options: further options of the JVMs, after `HEAP`.
    """

    def __init__(
        self,
        directory: Path,
        brokers: int | None = None,
        *,
        properties: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.directory = directory.absolute()
        self._path = self.directory / "cluster.json"
        self.layout = self._read(brokers)
        self.brokers = [
            Broker(
                self.directory,
                layout=self.layout,
                node=node,
                properties=properties,
                options=options,
            )
            for node in range(1, len(self.layout.ports) + 1)
        ]

    @property
    def env(self) -> dict[str, str]:
        """KAFKA_BOOTSTRAP_SERVERS."""
        return {"KAFKA_BOOTSTRAP_SERVERS": self.layout.bootstrap}

    def start(self) -> None:
        """Start all brokers and wait until all of them serve.

        Raises:
            StartError: if one does not start; the message has the tail of its log.
        """
        self.record(running=False)
        try:
            for broker in self.brokers:
                broker.launch()
            for broker in self.brokers:
                broker.await_ready()
            self._await_all()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End all brokers; those that can hand their partitions over first."""
        for broker in self.brokers:
            if broker.pid:
                os.kill(broker.pid, signal.SIGTERM)
        for broker in self.brokers:
            broker.stop()

    def kill(self) -> None:
        """End all brokers as a crash would."""
        for broker in self.brokers:
            broker.kill()

    def record(self, *, running: bool) -> None:
        """Save the layout and, while the cluster runs, the process that runs it."""
        self.layout.pid = os.getpid() if running else None
        self.layout.pid_started = boot_clock.process_started(os.getpid()) if running else None
        write_private(self._path, json.dumps(vars(self.layout), indent=1) + "\n")

    def _read(self, brokers: int | None) -> Layout:
        layout = read_layout(self.directory)
        if layout is None:
            ports: list[int] = []
            while len(ports) < 2 * (brokers or 3):
                ports.append(free_port(ports))
            pairs = list(zip(ports[::2], ports[1::2], strict=True))
            return Layout(new_cluster_id(), pairs)
        if brokers not in (None, len(layout.ports)):
            raise UsageError(
                f"{self.directory} holds a cluster of {len(layout.ports)} brokers: "
                "use another --data-dir, or remove it"
            )
        # The quorum's addresses are in the configuration, written again at each start: a port
        # that was taken meanwhile can change.
        taken = {port for pair in layout.ports for port in pair}

        def now(port: int) -> int:
            if is_free(port):
                return port
            taken.add(new := free_port(taken))
            return new

        layout.ports = [(now(b), now(c)) for b, c in layout.ports]
        return layout

    def _await_all(self) -> None:
        """Wait until each broker knows all others: topics created earlier would miss replicas."""
        wanted = set(range(1, len(self.brokers) + 1))
        config = kafka.client_config(shop_settings.load(self.env, use_stack=False).kafka, "start")
        client = AdminClient(config)
        deadline = time.monotonic() + 60
        while set(client.list_topics(timeout=10).brokers) != wanted:
            if time.monotonic() > deadline:
                raise StartError("Apache Kafka: not all brokers joined within 60 s")
            time.sleep(0.1)


def read_layout(directory: Path) -> Layout | None:
    """Return the layout of a cluster that was started here before, None if there is none.

    Raises:
        UsageError: if its file cannot be read.
    """
    path = directory / "cluster.json"
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        record["ports"] = [(int(b), int(c)) for b, c in record["ports"]]
        return Layout(**record)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as e:
        raise UsageError(f"{path} cannot be read ({e}): remove {directory}") from None


def runner(directory: Path) -> tuple[Layout, int] | None:
    """Return the layout of the running cluster and the pid of its process, None if none runs."""
    layout = read_layout(directory)
    if layout is None or layout.pid is None or layout.pid_started is None:
        return None
    return (layout, layout.pid) if boot_clock.same_process(layout.pid, layout.pid_started) else None


# -- the command -----------------------------------------------------------------------------


def configure(parser: command.Parser) -> None:
    """Add the options."""
    up = parser.add_action("up", "start the brokers; Ctrl-C stops them")
    up.add_argument(
        "--brokers", type=int, choices=(1, 3),
        help="run this number of brokers (default: that of the last start, or 3)",
    )  # fmt: skip
    up.add_argument("--detach", action="store_true", help="return as soon as the brokers run")
    parser.add_action("down", "stop the brokers that `up --detach` started")
    tool = parser.add_action("tool", f"run a tool of Kafka: {', '.join(TOOLS)}")
    tool.add_foreign("the named tool")


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Run the action."""
    directory = settings.data_dir / FOLDER
    if args.action == "tool":
        return _tool(directory, settings, args.arguments)
    if args.action == "down":
        return _down(directory)
    servers.prepare(lambda text: say(text, to=sys.stderr), terminal=Console(stderr=True))
    return _detach(directory, args) if args.detach else _up(directory, args.brokers)


def _say(text: str) -> None:
    say(text)


def _up(directory: Path, brokers: int | None) -> int:
    """Run the brokers until a signal comes; restart those that die."""
    stop = command.stop_on_signals()
    with held(directory):
        cluster = Cluster(directory, brokers)
        cluster.start()
        cluster.record(running=True)
        _say(f"export KAFKA_BOOTSTRAP_SERVERS={cluster.layout.bootstrap}")
        get_logger().info(
            "Kafka is up", version=jars.installed_version(), brokers=len(cluster.brokers)
        )
        outages = [Outage(f"Kafka broker {b.node} at {b.where}") for b in cluster.brokers]
        try:
            while not stop.wait(0.5):
                for broker, outage in zip(cluster.brokers, outages, strict=True):
                    _revive(broker, outage)
        finally:
            cluster.stop()
            cluster.record(running=False)
    return ExitCode.OK


def _revive(broker: Broker, outage: Outage) -> None:
    if broker.alive:
        outage.over()
        return
    pause = outage.failed(StartError("it ended"))
    time.sleep(min(pause, 2.0))
    try:
        broker.launch()
    except JangteoError as e:
        outage.failed(e)


def _detach(directory: Path, args: argparse.Namespace) -> int:
    if found := runner(directory):
        raise UsageError(f"{directory} runs already, by process {found[1]}; stop it with `down`")
    words = ["up", "--data-dir", str(directory.parent)]
    words += ["--brokers", str(args.brokers)] if args.brokers else []
    log = directory / "logs" / "cluster.log"
    with os.fdopen(open_own(log, os.O_WRONLY | os.O_APPEND), "ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "jangteo.stack.kafka.cluster", *words],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    while child.poll() is None:
        found = runner(directory)
        if found and found[1] == child.pid:
            _say(f"export KAFKA_BOOTSTRAP_SERVERS={found[0].bootstrap}")
            return ExitCode.OK
        time.sleep(0.1)
    raise JangteoError(f"Apache Kafka did not start: {tail(log)}")


def _down(directory: Path) -> int:
    found = runner(directory)
    if found is None:
        get_logger().info("no Kafka runs here", directory=str(directory))
        return ExitCode.OK
    try:
        process = psutil.Process(found[1])
        process.terminate()
        process.wait(60)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        raise JangteoError(f"process {found[1]} did not end within 60 s") from None
    return ExitCode.OK


def _tool(directory: Path, settings: Settings, words: Sequence[str]) -> int:
    """Run one of Kafka's commands on our cluster, or else on the one that the settings name."""
    name, *arguments = words or [""]
    name = name if name.startswith("kafka-") else f"kafka-{name}"
    if name not in TOOLS:
        raise UsageError(f"no tool {name!r}; there are {', '.join(TOOLS)}")
    if "--bootstrap-server" not in arguments:
        found = runner(directory)
        where = found[0].bootstrap if found else settings.kafka.bootstrap_servers
        arguments = ["--bootstrap-server", where, *arguments]
    jars.fetch()
    argv = java.command_line(TOOLS[name], *arguments, options=["-Xmx256m", QUIET])
    process = subprocess.Popen(argv, env=_locale(os.environ))
    try:
        return process.wait()
    except KeyboardInterrupt:
        return end(process, signal.SIGINT, 5.0)


def _locale(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which Java takes Korean arguments and paths.

    >>> _locale({"LANG": "C", "A": "b"}) == {"LANG": "C", "A": "b", "LC_ALL": "C.UTF-8"}
    True
    """
    given = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or ""
    unicode = given.lower().replace("-", "").endswith("utf8")
    return {**environ, **({} if unicode else {"LC_ALL": "C.UTF-8"})}


if __name__ == "__main__":
    sys.exit(
        command.main(
            configure,
            run,
            prog="python -m jangteo.stack.kafka.cluster",
            description=__doc__,
        )
    )
