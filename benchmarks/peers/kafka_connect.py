"""Kafka Connect (standalone, two tasks) with Debezium's JDBC sink, upserting by `order_id`.

Needs Java 17 and Maven; the jars are fetched once. The messages are the same plain JSON as for
everybody: the converter is given their schema (`schema.content`, Kafka 4.2 and later). Driver and
sink have their batch options on; times reach PostgreSQL as text, which it parses.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from benchmarks.peers.common import BOOTSTRAP, COLUMNS, POSTGRES, Progress
from jangteo.stack.kafka import jars, java

BATCH = 5_000
TASKS = 2
_TEXT = frozenset({"payment_method", "status", "scenario", "ordered_at", "updated_at"})


def fetch() -> Path:
    """Return the directory of Connect's jars, fetched by Maven the first time."""
    target = jars.home().with_name("connect-4.3.1")
    maven = shutil.which("mvn")
    if not target.is_dir():
        if not maven:
            raise SystemExit("Kafka Connect is fetched by Maven: there is no `mvn`")
        pom = Path(__file__).parent / "connect" / "pom.xml"
        with tempfile.TemporaryDirectory(dir=target.parent) as name:
            argv = [maven, "--quiet", "--batch-mode", "--file", str(pom)]
            argv += ["dependency:copy-dependencies", "-DincludeScope=runtime"]
            argv.append(f"-DoutputDirectory={name}/libs")
            subprocess.run(argv, check=True, stdout=sys.stderr)  # ours goes to the harness
            Path(name, "libs").rename(target)
    return target


def schema() -> str:
    """Return the schema of an order, as Connect's JSON converter wants it."""
    fields = [
        {"field": c, "type": "string" if c in _TEXT else "int64", "optional": c == "scenario"}
        for c in COLUMNS
    ]
    return json.dumps({"type": "struct", "fields": fields})


def properties(directory: Path) -> list[str]:
    """Write the configuration of the worker and of the sink; return the files' paths."""
    url = f"jdbc:postgresql://{POSTGRES['host']}:{POSTGRES['port']}/{POSTGRES['dbname']}"
    files = {
        "worker": {
            "bootstrap.servers": BOOTSTRAP,
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter.schemas.enable": "true",
            "value.converter.schema.content": schema(),
            "offset.storage.file.filename": str(directory / "offsets"),
            "listeners": "http://127.0.0.1:0",
            "plugin.discovery": "service_load",
            "consumer.max.poll.records": str(BATCH),
            "consumer.auto.offset.reset": "earliest",
        },
        "sink": {
            "name": f"peer-connect-{POSTGRES['dbname']}",
            "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
            "tasks.max": str(TASKS),
            "topics": "orders",
            "connection.url": f"{url}?stringtype=unspecified&reWriteBatchedInserts=true",
            "connection.username": POSTGRES["user"],
            "connection.password": POSTGRES["password"],
            "insert.mode": "upsert",
            "primary.key.mode": "record_value",
            "primary.key.fields": "order_id",
            "schema.evolution": "none",
            "collection.name.format": "orders",
            "batch.size": str(BATCH),
        },
    }
    paths = []
    for name, values in files.items():
        path = directory / f"{name}.properties"
        lines = [f"{k}={v}" for k, v in values.items()]
        path.write_text("\n".join(lines).replace("\\", "\\\\") + "\n", encoding="utf-8")
        path.chmod(0o600)
        paths.append(str(path))
    return paths


def main() -> None:
    """Run until the given number of orders is stored."""
    total = int(sys.argv[1])
    progress = Progress(total)
    main_class = "org.apache.kafka.connect.cli.ConnectStandalone"
    with tempfile.TemporaryDirectory() as name, psycopg.connect(**POSTGRES, autocommit=True) as pg:
        argv = [str(java.program()), "-Xmx1g", "-cp", f"{fetch()}/*", main_class]
        log = Path(name, "connect.log")
        with log.open("wb") as out:
            worker = subprocess.Popen([*argv, *properties(Path(name))], stdout=out, stderr=out)
        try:
            stored = 0
            while stored < total:
                time.sleep(0.1)
                (seen,) = pg.execute("SELECT count(*) FROM orders").fetchone() or (0,)
                if seen:
                    progress.start()
                progress.committed(seen - stored)
                stored = seen
                if worker.poll() is not None:
                    raise SystemExit(f"Connect ended:\n{log.read_text()[-3000:]}")
            sys.stdin.read()  # until the harness has looked at memory and CPU
        finally:
            worker.kill()


if __name__ == "__main__":
    main()
