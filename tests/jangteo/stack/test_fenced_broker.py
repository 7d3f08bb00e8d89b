"""A cluster whose only broker is fenced off for a moment answers, and names no broker."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

METADATA, API_VERSIONS = 3, 18
UNSUPPORTED_VERSION = 35
ASK = """
import sys
from confluent_kafka import KafkaException
from shop import kafka, settings
where = settings.load({"KAFKA_BOOTSTRAP_SERVERS": sys.argv[1]}, use_stack=False).kafka
client = kafka.admin(where)
for ask in (kafka.cluster_id, kafka.describe_topics):
    for _ in range(2):
        try:
            ask(client, timeout=1.0)
        except KafkaException as e:
            print(e.args[0].name())
"""


class Fenced:
    """Speaks as much of Kafka's protocol as a client needs to hear this; names itself once."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._named = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        requests = connection.makefile("rb")
        while head := requests.read(4):
            body = requests.read(struct.unpack(">i", head)[0])
            key, version, number = struct.unpack(">hhi", body[:8])
            answer = self._metadata() if key == METADATA else self._versions(version)
            connection.sendall(struct.pack(">ii", len(answer) + 4, number) + answer)

    @staticmethod
    def _versions(version: int) -> bytes:
        known = [(METADATA, 0, 2), (API_VERSIONS, 0, 0)]
        error = UNSUPPORTED_VERSION if version else 0
        return struct.pack(">hi", error, len(known)) + b"".join(
            struct.pack(">hhh", *k) for k in known
        )

    def _metadata(self) -> bytes:
        host, cluster = b"127.0.0.1", b"cluster"
        us = struct.pack(f">ih{len(host)}sih", 1, len(host), host, self.port, -1)
        brokers = struct.pack(">i", 0) if self._named else struct.pack(">i", 1) + us
        self._named = True
        rest = struct.pack(f">h{len(cluster)}sii", len(cluster), cluster, 1, 0)
        return brokers + rest


def test_a_cluster_without_brokers_is_an_error_and_not_the_end_of_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK, f"127.0.0.1:{Fenced().port}"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr  # it was -6: an assertion of librdkafka
    assert len(done.stdout.splitlines()) == 4, done.stdout
