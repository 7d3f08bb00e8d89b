"""Whatever keeps the ingest from storing: everything that a person looks at says so, and why."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TypeAlias

import pytest
from confluent_kafka import Consumer

from jangteo.cli import doctor_probes
from jangteo.cli.topics import command as topics
from jangteo.stack import screen
from jangteo.stack.accounting import OffsetAccounting
from jangteo.stack.observer import Observer
from jangteo.stack.screen import StatusView
from shop import kafka
from shop.clock import utc_now
from shop.events import GROUPS
from shop.settings import Settings
from tests.faults.test_liveness import health
from tests.support import python_process
from tests.support.fault_stage import Stage
from tests.support.ingest_processes import ROOT, Ingest
from tests.support.waiting import wait_until

pytestmark = pytest.mark.fault

BOUND_S = 2.0

Cause: TypeAlias = Callable[[Stage], AbstractContextManager[object]]


def made(sql: str, undone: str) -> Cause:
    """What one statement causes and another one undoes; sessions of the ingest begin again."""

    @contextmanager
    def lasts(stage: Stage) -> Iterator[None]:
        name = stage.settings.postgres.db
        ended = (
            ";SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'jangteo-ingest-orders'"
        )
        with stage.reading() as conn:
            conn.execute((sql + ended).format(db=name).encode())
            yield
            conn.execute("SET default_transaction_read_only = off")
            conn.execute(undone.format(db=name).encode())

    return lasts


@contextmanager
def locked(stage: Stage) -> Iterator[None]:
    with stage.reading() as conn, conn.transaction():
        conn.execute("SET LOCAL application_name = 'a_client'; LOCK orders")
        yield


@contextmanager
def visited(stage: Stage) -> Iterator[None]:
    consumer = Consumer(
        {**kafka.client_config(stage.settings.kafka, "visitor"), "group.id": GROUPS["orders"],
         "client.id": "a-visitor", "auto.offset.reset": "earliest"}
    )  # fmt: skip
    try:
        consumer.subscribe(["orders"])
        wait_until(lambda: not consumer.poll(0.2) and bool(consumer.assignment()), "it joined")
        yield
    finally:
        consumer.close()


CAUSES: dict[str, tuple[Cause, str]] = {
    "a constraint": (
        made("ALTER TABLE orders ADD CONSTRAINT foreign_check CHECK (quantity < 0) NOT VALID",
             "ALTER TABLE orders DROP CONSTRAINT foreign_check"), "foreign_check",
    ),
    "a column that is gone": (
        made("ALTER TABLE ingest_offsets RENAME gaps TO holes",
             "ALTER TABLE ingest_offsets RENAME holes TO gaps"), "gaps",
    ),
    "a read-only database": (
        made("ALTER DATABASE {db} SET default_transaction_read_only = on",
             "ALTER DATABASE {db} RESET default_transaction_read_only"), "read-only",
    ),
    "a lock": (locked, "a_client"),
    "a stranger in the group": (visited, "a-visitor"),
}  # fmt: skip


def reported(
    settings: Settings, env: dict[str, str], member: Ingest
) -> dict[str, tuple[bool, str]]:
    """Return, for each place that reports it, whether it reports a fault, and its text."""
    status, troubles = health(member)
    found = [f for f in doctor_probes.kafka_cluster(settings) if f.level == "wrong"]
    look = topics.describe(settings, ["orders"])
    described = topics.format_topic(look.topics["orders"], look)
    argv = [sys.executable, "-m", "jangteo", "console", "--once", "--json"]
    once = python_process.run(argv, cwd=ROOT, env=env, capture_output=True, text=True)
    group = json.loads(once.stdout or "{}").get("kafka", {})
    return {
        "/healthz": (status == 503, " ".join(troubles)),
        "doctor": (bool(found), " ".join(f.text for f in found)),
        "topics describe": ("!!" in described, described),
        "console": (once.returncode == 1, json.dumps(group)),
    }


@pytest.mark.parametrize("name", CAUSES)
def test_everything_says_why_the_ingest_waits(stage: Stage, name: str) -> None:
    cause, word = CAUSES[name]
    stage.env["INGEST_STALL_AFTER"] = str(BOUND_S)
    settings = replace(stage.settings, env={**stage.settings.env, **stage.env})
    member = stage.ingest()
    stage.load(seed=91, rate=100)
    stage.wait_taken(100)
    wait_until(lambda: health(member)[0] == 200, "healthy")
    books = OffsetAccounting(settings.kafka)
    with stage.reading() as conn:
        books.open(conn)
    observer = Observer(settings, books)
    observer.start()
    observer.hasten()
    try:
        with cause(stage):
            wait_until(lambda: health(member)[0] == 503, "/healthz is red")

            def all_of_them() -> bool:
                seen = reported(settings, stage.env, member)
                print({k: (wrong, word in text) for k, (wrong, text) in seen.items()})
                return all(wrong and word in text for wrong, text in seen.values())

            wait_until(all_of_them, "all of them say why")
            wait_until(lambda: any(word in s for s in observer.latest.stalls), "so does `up`")
            line = screen.plain_line(
                StatusView(data_dir=settings.data_dir, since=utc_now() - timedelta(1), speed=1.0,
                     ends_in=None, servers=[], statuses=[], sample=observer.latest, lang="en")
            )  # fmt: skip
            assert word in line
            assert "stalled: orders" in line
        wait_until(lambda: health(member)[0] == 200, "/healthz is green again")
    finally:
        observer.stop()
    stage.settle()
    assert topics.describe(settings, ["orders"]).troubles() == {}


def test_a_roles_statement_timeout_does_not_hinder_the_ingest(stage: Stage) -> None:
    role = stage.settings.postgres.user
    stage.load(seed=92, limit=300)
    with stage.reading() as conn:
        conn.execute(f"ALTER ROLE {role} SET statement_timeout = '1ms'".encode())
        try:
            member = stage.ingest()
            wait_until(lambda: "batch stored" in member.log(), "stored in spite of it")
        finally:
            conn.execute(f"ALTER ROLE {role} RESET statement_timeout".encode())
    stage.settle()
    assert member.alive()
