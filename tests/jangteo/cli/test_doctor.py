"""`jangteo doctor`: with everything, with nothing, and with each thing wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import namedtuple
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from jangteo.cli import doctor, doctor_probes
from jangteo.cli import main as cli_main
from jangteo.cli.doctor_probes import Finding
from shop import boot_clock, kafka
from shop import settings as shop_settings
from shop.clock import UTC
from shop.errors import ExitCode
from shop.postgres import Connection
from shop.redis import cache
from shop.settings import Settings, stack_file
from shop.settings.stack_file import RunningStack
from tests.support.layouts import by_month_in_the_long_suite
from tests.support.waiting import wait_until

NOTHING = ("POSTGRES_HOST", "KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL", "JANGTEO_DATA_DIR")


def by_subject(findings: list[Finding]) -> dict[str, Finding]:
    return {f.subject.strip(): f for f in findings}


@pytest.fixture
def filled_cache(redis_client: redis.Redis) -> None:
    cache.swap(
        redis_client,
        [],
        [],
        lambda version, replaced: cache.CacheMeta(
            version=version, replaced=replaced, refreshed_at=datetime.now(UTC)
        ),
    )


def apply_all(settings: Settings, pg: Connection) -> None:
    """As if an ingest had taken all that is in the topics."""
    for name, info in kafka.describe_topics(kafka.admin(settings.kafka)).items():
        for partition, end in kafka.end_offsets(settings.kafka, name).items():
            pg.execute(
                "INSERT INTO ingest_offsets (topic, partition, log_id, next_offset)"
                " VALUES (%s, %s, %s, %s)",
                (name, partition, info.log_id, end),
            )


@pytest.mark.usefixtures("filled_cache")
@pytest.mark.usefixtures("topics")
def test_messages_that_no_ingest_takes_are_wrong(settings: Settings) -> None:
    producer = kafka.producer(settings.kafka, "test")
    producer.produce("users", key="1", value=b"{}")
    producer.flush()

    def found() -> bool:
        found = [f for f in doctor_probes.kafka_cluster(settings) if f.level == "wrong"]
        return any("no ingest has partitions" in f.text for f in found)

    wait_until(found, "the finding; the group's coordinator may be about to load")


@by_month_in_the_long_suite
@pytest.mark.usefixtures("filled_cache")
@pytest.mark.usefixtures("topics")
def test_all_is_well(settings: Settings, pg: Connection) -> None:
    pg.execute("INSERT INTO users (user_id) SELECT generate_series(1, 1234)")
    producer = kafka.producer(settings.kafka, "test")
    for _ in range(7):
        producer.produce("users", key="1", value=b"{}")
    producer.flush()
    apply_all(settings, pg)
    findings = doctor.examine(settings)
    assert [f for f in findings if f.level != "ok"] == []
    assert doctor.verdict(findings) is ExitCode.OK
    seen = by_subject(findings)
    assert "users 1,234" in seen["rows"].text
    assert "users 12x1" in seen["topics"].text
    assert seen["lag"].text.startswith("users 0, products 0, orders 0")
    assert "POSTGRES_* from the environment" in seen["addresses"].text
    assert doctor.as_text(findings).endswith("All is well.")
    assert len(doctor.as_text(findings).splitlines()) <= 40  # one screen


def test_with_nothing_running_it_says_how_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NOTHING:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert cli_main.main(["doctor"]) == ExitCode.UNREACHABLE
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "PostgreSQL: start a stack with `jangteo up`" in printed.out
    assert cli_main.main(["doctor", "--json"]) == ExitCode.UNREACHABLE
    report = json.loads(capsys.readouterr().out)
    assert not report["ok"]
    unreachable = {f["subject"] for f in report["findings"] if f["level"] == "unreachable"}
    assert unreachable == {"PostgreSQL", "Redis", "Kafka"}


def test_dead_addresses_are_named_without_secrets(servers: Any) -> None:
    broken = servers.settings(
        POSTGRES_PORT="1",
        KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1",
        REDIS_URL="redis://:hunter2@127.0.0.1:1/0",
    )
    findings = doctor.examine(broken)
    assert doctor.verdict(findings) is ExitCode.UNREACHABLE
    text = doctor.as_text(findings)
    for words in ("PostgreSQL at 127.0.0.1:1", "is REDIS_URL right?", "Kafka at 127.0.0.1:1"):
        assert words in text
    assert "hunter2" not in text
    assert broken.postgres.password not in text


@pytest.mark.usefixtures("kafka_broker")
def test_what_is_missing_comes_with_the_command_that_makes_it(
    pg: Connection, settings: Settings
) -> None:
    pg.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    seen = by_subject(doctor.examine(settings))
    assert (seen["schema"].level, seen["schema"].advice) == ("wrong", "run `jangteo init`")
    assert (seen["topics"].level, seen["topics"].advice) == (
        "wrong",
        "run `jangteo topics create`",
    )
    assert "jangteo generate cache" in seen["cache"].advice
    assert doctor.verdict(list(seen.values())) is ExitCode.FAILED


def test_a_schema_of_another_age(pg: Connection, settings: Settings) -> None:
    pg.execute("INSERT INTO schema_migrations VALUES (99, 'later')")
    assert "install the newer" in by_subject(doctor_probes.postgresql(settings))["schema"].advice
    pg.execute("DELETE FROM schema_migrations")
    assert "jangteo init" in by_subject(doctor_probes.postgresql(settings))["schema"].advice


def test_a_failed_cache_says_why(settings: Settings, redis_client: redis.Redis) -> None:
    cache.update_meta(redis_client, phase="failed", error="cannot reach PostgreSQL")
    found = by_subject(doctor_probes.redis_cache(settings))["cache"]
    assert found.level == "wrong"
    assert "cannot reach PostgreSQL" in found.text


def test_wrong_production_settings_are_wrong_and_not_unreachable(servers: Any) -> None:
    production = servers.settings(DB_TYPE="production", POSTGRES_PASSWORD="password")
    found = by_subject(doctor_probes.postgresql(production))["PostgreSQL"]
    assert found.level == "wrong"
    assert "DB_TYPE=production refuses" in found.text


def test_a_full_disk(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(
        doctor_probes.shutil, "disk_usage", lambda _: usage(100 << 30, 99 << 30, 1 << 30)
    )
    (found,) = doctor_probes.disk(settings)
    assert (found.level, found.text[:17]) == ("wrong", "1.0 of 100.0 GiB ")


def test_processes_of_a_running_stack(tmp_path: Path) -> None:
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    try:
        started = boot_clock.process_started(sleeper.pid)
        common = {"restarts": 3, "up_since": None}
        (tmp_path / "processes.json").write_text(
            json.dumps(
                {
                    "processes": [
                        {
                            **common,
                            "name": "orders",
                            "pid": sleeper.pid,
                            "pid_started": started,
                            "state": "running",
                            "last_exit": None,
                        },
                        {
                            **common,
                            "name": "ingest",
                            "pid": None,
                            "pid_started": None,
                            "state": "backoff",
                            "last_exit": "exit 1",
                        },
                    ]
                }
            )
        )
        me = boot_clock.process_started(os.getpid()) or ""
        now = datetime.now(UTC).isoformat()
        stack_file.publish(RunningStack(tmp_path, os.getpid(), me, now, {"REDIS_URL": "redis://s"}))
        seen = by_subject(doctor_probes.stack(shop_settings.load({}, data_dir=tmp_path)))
    finally:
        stack_file.withdraw(tmp_path)
        sleeper.kill()
        sleeper.wait()
    assert f"pid {os.getpid()}" in seen["stack"].text
    assert seen["orders"].level == "ok"
    assert seen["ingest"].level == "wrong"
    assert str(tmp_path / "logs/ingest.log") in seen["ingest"].advice
    assert "REDIS_* from the running stack" in seen["addresses"].text
