"""Other people's clients on the embedded broker: docs/kafka.md has the table of what is seen here.

Each publishes an order that meets the contract and one that does not, and reads both back as a
member of a group of its own. Clients that are Python packages live in a virtual environment each,
made once in the cache: none of them is a dependency of the shop.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest

from jangteo.stack.kafka import jars, java
from shop import settings as shop_settings
from shop.events import encode
from shop.postgres import Connection, connect
from shop.settings import Settings
from tests.support import python_process
from tests.support.event_samples import order
from tests.support.ingest_processes import ROOT, Ingest, wait_caught_up

pytestmark = pytest.mark.usefixtures("topics")

CLIENTS = Path(__file__).parent / "clients"
OLD = "2.0.2" if sys.version_info < (3, 12) else "2.3.0"
"""The oldest confluent-kafka of 2.x whose wheel there is for this Python."""
GOOD, BAD = order(1), order(2, amount=1)
LINES = b"".join(b"%d\t%s\n" % (o.user_id, encode(o)) for o in (GOOD, BAD))
GUIDE = ROOT / "docs" / "kafka.md"


def python_with(requirement: str) -> str:
    """Return an interpreter that has a package; skips where it cannot be installed."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "jangteo/clients"
    where = home / f"{requirement.replace('==', '-')}-py{sys.version_info[0]}.{sys.version_info[1]}"
    program, whole = where / "bin" / "python", where / "whole"
    if not whole.exists():
        shutil.rmtree(where, ignore_errors=True)
        venv.create(where, with_pip=True, symlinks=True)
        argv = [program, "-m", "pip", "install", "--quiet", "--only-binary=:all:", requirement]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"{requirement} cannot be installed: {done.stderr.strip()[-300:]}")
        whole.touch()
    return str(program)


@dataclass(frozen=True)
class Client:
    """How a client is called.

    Attributes:
        title: as in the guide's table.
        produce: command that publishes `KEY<tab>PAYLOAD` lines of its stdin.
        consume: command that prints the payloads of a number of messages, and ends.
    """

    title: str
    produce: Sequence[str]
    consume: Sequence[str]


def script(name: str, interpreter: str, title: str, where: str, group: str) -> Client:
    run = [interpreter, str(CLIENTS / name)]
    return Client(
        title,
        [*run, "produce", where, "orders"],
        [*run, "consume", where, "orders", group, "2"],
    )


def newest(where: str, group: str) -> Client:
    title = f"confluent-kafka {confluent_kafka.__version__}"
    return script("confluent.py", sys.executable, title, where, group)


def old(where: str, group: str) -> Client:
    program = python_with(f"confluent-kafka=={OLD}")
    # The guide has the version of Python 3.10 and 3.11.
    return script("confluent.py", program, "confluent-kafka 2.0.2", where, group)


def kafka_python(where: str, group: str) -> Client:
    program = python_with("kafka-python==3.0.12")
    return script("kafka_python.py", program, "kafka-python 3.0.12", where, group)


def aio(where: str, group: str) -> Client:
    program = python_with("aiokafka==0.14.0")
    return script("aio.py", program, "aiokafka 0.14.0", where, group)


def kcat(where: str, group: str) -> Client:
    program = shutil.which("kcat")
    if program is None:
        pytest.skip("there is no kcat (Debian: apt-get install kcat)")
    run = [program, "-b", where, "-q"]
    return Client(
        "kcat 1.7.1",
        [*run, "-P", "-t", "orders", "-K", "\t"],
        [*run, "-c", "2", "-X", "auto.offset.reset=earliest", "-f", "%s\\n", "-G", group, "orders"],
    )


def java_tools(where: str, group: str) -> Client:
    def tool(name: str, *words: str) -> list[str]:
        options = ["-Xmx128m", *java.options()]
        server = ("--bootstrap-server", where, "--topic", "orders")
        return java.command_line(jars.TOOLS[name], *server, *words, options=options)

    return Client(
        f"Kafka's console tools {jars.version()}",
        tool("kafka-console-producer", "--reader-property", "parse.key=true"),
        tool("kafka-console-consumer", "--group", group, "--from-beginning", "--max-messages", "2"),
    )


def heard(consume: Sequence[str]) -> list[bytes]:
    done = subprocess.run(consume, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return sorted(line for line in done.stdout.splitlines() if line.startswith(b"{"))


def in_the_guide(title: str) -> bool:
    return f"| {title} |" in GUIDE.read_text(encoding="utf-8")


@pytest.mark.parametrize("client", [newest, old, kafka_python, aio, kcat, java_tools])
def test_orders_of_another_client_are_stored_or_rejected_and_it_reads_them(
    client: Any, env: dict[str, str], settings: Settings, pg: Connection, tmp_path: Path
) -> None:
    made: Client = client(settings.kafka.bootstrap_servers, f"{client.__name__}-group")
    sent = subprocess.run(made.produce, input=LINES, capture_output=True, timeout=120, check=False)
    assert sent.returncode == 0, sent.stderr.decode()[-3000:]
    with Ingest({**env, "INGEST_TOPICS": "orders"}, tmp_path / "ingest.log"):
        assert heard(made.consume) == sorted([encode(GOOD), encode(BAD)])
        wait_caught_up(settings, pg)
    stored = pg.execute("SELECT order_id, amount FROM orders").fetchall()
    assert stored == [(GOOD.order_id, GOOD.amount)]
    rejected = pg.execute("SELECT key, payload, reason FROM rejected_messages").fetchall()
    assert rejected == [(b"7", encode(BAD), "wrong_amount")]
    assert in_the_guide(made.title), made.title


def test_kafka_connect_reads_them(
    env: dict[str, str], settings: Settings, servers: Any, tmp_path: Path
) -> None:
    """Debezium's JDBC sink of two tasks, into a database of its own; it knows no contract."""
    if not shutil.which("mvn"):
        pytest.skip("Kafka Connect's jars are fetched by Maven: there is no `mvn`")
    producer = newest(settings.kafka.bootstrap_servers, "")
    subprocess.run(producer.produce, input=LINES, check=True, timeout=60)
    name = servers.create_database()
    own = {**env, "POSTGRES_DB": name}
    where = shop_settings.load(own, use_stack=False).postgres
    with connect(where, "test", autocommit=True) as conn:
        # An order with a wrong amount is refused by the table as well; the sink would try for ever.
        conn.execute(
            "DO $$ DECLARE c name; BEGIN FOR c IN SELECT conname FROM pg_constraint"
            " WHERE conrelid = 'orders'::regclass AND contype = 'c'"
            " LOOP EXECUTE format('ALTER TABLE orders DROP CONSTRAINT %I', c); END LOOP; END $$"
        )
    log = tmp_path / "connect.log"
    try:
        with log.open("wb") as out:
            done = python_process.run(
                [sys.executable, "-m", "benchmarks.peers.kafka_connect", "2"],
                cwd=ROOT, env=own, stdin=subprocess.DEVNULL, stdout=out, stderr=out, timeout=240
            )  # fmt: skip
        assert done.returncode == 0, log.read_text()[-3000:]
        with connect(where, "test", autocommit=True) as conn:
            rows = conn.execute("SELECT order_id, amount FROM orders ORDER BY 1").fetchall()
        assert rows == [(o.order_id, o.amount) for o in (GOOD, BAD)]
    finally:
        servers.drop_database(name)
    assert in_the_guide("Kafka Connect 4.3.1, Debezium JDBC sink 3.4.0")
