"""Production is whole or refuses: servers of one source, nothing made up, everything announced."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from jangteo.cli.main import main
from jangteo.stack import supervisor
from shop import log
from shop import settings as shop_settings
from shop.clock import UTC
from shop.errors import ExitCode
from shop.settings import LOGINS, announce, stack_file

OURS = ("KAFKA_", "POSTGRES_", "REDIS_", "JANGTEO_", "SHOP_", "DB_TYPE", "ALLOW_")
DEV_SHOP = {
    "POSTGRES_HOST": "127.0.0.1",
    "POSTGRES_PORT": "1",
    "POSTGRES_PASSWORD": "of-the-dev-shop",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "REDIS_URL": "redis://:of-the-dev-shop@127.0.0.1:1/0",
}
PRODUCTION = {
    "DB_TYPE": "production",
    "POSTGRES_HOST": "192.0.2.1",
    "POSTGRES_DB": "prod",
    "POSTGRES_USER": "shop_ingest",
    "POSTGRES_PASSWORD": "Tr0ub4dor",
}
WHOLE = {
    **PRODUCTION,
    "KAFKA_BOOTSTRAP_SERVERS": "192.0.2.1:9092",
    "REDIS_URL": "redis://:Tr0ub4dor@192.0.2.1:6379/0",
}
INVENTED = (
    *("seed", "backfill", "backfill --to kafka", "backfill --to parquet x", "generate users"),
    *("generate products", "generate orders", "generate orders --faults 0.1", "generate continue"),
    "up",
)


@pytest.fixture(autouse=True)
def beside_a_dev_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A development shop of this user runs; what a command does to signals is undone."""
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "dev").mkdir(mode=0o700)
    monkeypatch.chdir(tmp_path / "elsewhere")
    started = supervisor.process_started(os.getpid())
    assert started is not None
    now = datetime.now(UTC).isoformat()
    stack_file.publish(
        stack_file.RunningStack(tmp_path / "dev", os.getpid(), started, now, DEV_SHOP)
    )
    assert stack_file.find_stack(), "it is found from elsewhere"
    handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(s) for s in handled]
    yield
    for number, handler in zip(handled, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("by", ["production", "local"])
@pytest.mark.parametrize(
    "line",
    [
        *("init", "ingest", "topics list", "do cache.refresh", "console --once", "monitor --once"),
        *("generate cache", "dlq replay"),
    ],
)
def test_another_database_is_not_fed_from_a_development_shop(
    line: str, by: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**PRODUCTION, "DB_TYPE": by, "POSTGRES_HOST": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    code = main(line.split())
    said = capsys.readouterr()
    # `dlq replay` asks PostgreSQL first, and there is none here.
    assert code == (ExitCode.UNREACHABLE if line == "dlq replay" else ExitCode.USAGE), said
    assert (said.out + said.err).count("\n") == 1 or line == "dlq replay"
    assert "of-the-dev-shop" not in said.out + said.err


@pytest.mark.parametrize("line", INVENTED)
def test_nothing_is_made_up_in_production_without_the_flag(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in WHOLE.items():
        monkeypatch.setenv(name, value)
    assert main(line.split()) == ExitCode.USAGE
    said = capsys.readouterr().err.splitlines()[-1]
    assert "--yes-production" in said
    assert "ALLOW_INVENTED_DATA" in said


def test_a_seed_in_production_does_not_leave_out_a_kafka_that_nobody_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in WHOLE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS")
    assert main(["seed", "--yes-production"]) == ExitCode.USAGE
    assert "KAFKA_BOOTSTRAP_SERVERS" in capsys.readouterr().err


def test_init_names_all_that_is_missing_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in WHOLE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DB_TYPE", "production")
    monkeypatch.setenv("POSTGRES_HOST", "db.example")
    assert main(["init", "--logins"]) == ExitCode.USAGE
    (said,) = capsys.readouterr().err.splitlines()
    for name in ("POSTGRES_PASSWORD", "KAFKA_BOOTSTRAP_SERVERS", *LOGINS.values()):
        assert f"{name}" in said


def test_a_seed_for_containers_leaves_production_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in WHOLE.items():
        monkeypatch.setenv(name, value)
    assert main(["seed", "--unless-production"]) == ExitCode.OK
    assert "nothing was written" in capsys.readouterr().err


def test_up_starts_no_server_in_production(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in PRODUCTION.items():
        monkeypatch.setenv(name, value)
    assert main(["up", "--yes-production"]) == ExitCode.USAGE
    assert "REDIS_URL is not set" in capsys.readouterr().err
    assert not Path(".jangteo").exists()


@pytest.mark.parametrize(
    ("extra", "warned"),
    [
        ({}, ("PostgreSQL", "Kafka", "Redis")),
        ({"POSTGRES_SSLMODE": "disable"}, ("PostgreSQL", "Kafka", "Redis")),
        ({"POSTGRES_SSLMODE": "allow"}, ("PostgreSQL", "Kafka", "Redis")),
        ({"POSTGRES_SSLMODE": "require"}, ("Kafka", "Redis")),
        ({"POSTGRES_HOST": "localhost"}, ("Kafka", "Redis")),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL"}, ("PostgreSQL", "Redis")),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SASL_PASSWORD": "Tr0ub4dor"},
            ("PostgreSQL", "Kafka", "Redis"),
        ),
        ({"REDIS_URL": "rediss://:Tr0ub4dor@192.0.2.1/0"}, ("PostgreSQL", "Kafka")),
        ({"DB_TYPE": "local"}, ()),
    ],
)
def test_servers_are_announced_and_those_without_tls_are_warned_of(
    extra: dict[str, str], warned: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = shop_settings.load({**WHOLE, **extra}, use_stack=False)
    log.configure("test")
    announce.servers(loaded, "postgres", "kafka", "redis")
    lines = capsys.readouterr().err.splitlines()
    first = lines[0]
    assert "event=servers" in first
    host = extra.get("POSTGRES_HOST", "192.0.2.1")
    assert f"shop_ingest@{host}:5432/prod" in first
    assert "192.0.2.1:9092" in first
    assert "Tr0ub4dor" not in "".join(lines)
    warnings = [line for line in lines[1:] if "level=warning" in line]
    assert len(warnings) == len(warned), lines
    assert all(name in line for name, line in zip(warned, warnings, strict=True))
