"""One meaning for each exit code, in every command (`shop.errors.ExitCode` defines them)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from jangteo.cli.main import COMMANDS, GENERATE, main
from shop import postgres
from shop import settings as shop_settings
from shop.errors import ExitCode

OURS = ("KAFKA_", "POSTGRES_", "REDIS_", "JANGTEO_", "SHOP_", "INGEST_", "DB_TYPE", "ALLOW_")
NEED_A_SHOP = (
    *("console --once", "console --watch", "console --serve", "monitor --once", "topics list"),
    *("topics create", "topics describe", "env", "env --format json", "init", "seed", "psql"),
    *("backfill --days 3", "backfill --to kafka", "ingest", "dlq list", "dlq counts", "dlq replay"),
    *("dlq show orders 0 1", "dlq purge --yes", "windows show", "windows rebuild"),
    *("grade --once", "grade", "explain 1", "scenario status"),
    *("scenario start flash_sale", "scenario stop flash_sale", "generate users"),
    *("generate products", "generate orders", "generate continue", "generate cache"),
    *("generate profiles", "generate optional", "topics tail orders"),
    *("generate cache --once", "do cache.refresh", "do grading.run", "do generator.pause orders"),
    *(
        "do scenario.start flash_sale",
        "do process.restart orders --yes",
        "doctor",
        "tour --yes",
        "partitions list",
    ),
)
WRONG = (
    *("nothing", "--nothing", "up --for 0", "up --for x", "up --kafka nowhere", "up --postgres x"),
    *("console --timeout x", "console --port 70000 --serve", "console --replay /none", "console x"),
    *("console --compare 1 2", "do nothing", "do generator.rate orders x", "do cache.refresh x"),
    *("do generator.rate orders 0", "do generator.pause nobody", "do dlq.replay --yes nobody"),
    *("monitor --lang fr", "topics nothing", "topics describe nothing", "env --format xml"),
    *("env x", "seed --users x", "seed --users -1", "backfill --days x", "backfill --to nowhere"),
    *("generate nothing", "generate orders --rate x", "generate users --faults 2"),
    *(
        "generate cache --speed 0",
        "generate optional --with x",
        "backfill --with x",
        "generate continue --until x",
        "scenario nothing",
    ),
    *(
        "scenario start",
        "scenario start nothing",
        "faults nothing",
        "faults reconcile --ledger /none",
        "servers x",
        "explain x",
        "dlq nothing",
    ),
    *("dlq show x", "dlq list --limit x", "dlq list --fix x:y", "windows nothing"),
    *("grade --full", "grade --once --x", "init x", "doctor x", "reset x"),
    *("uninstall --what --yes", "up --history 36h", "up --with nothing"),
)
WRITING = (
    *("init", "seed --users 5 --products 5", "backfill --days 8 --orders-per-day 20"),
    *("windows rebuild", "grade --once", "dlq purge --yes"),
)
UNREACHABLE = {
    "POSTGRES_HOST": "127.0.0.1",
    "POSTGRES_PORT": "1",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "REDIS_URL": "redis://127.0.0.1:1/0",
}
WAITING = (
    "backfill --to kafka",
    "generate users",
    "generate products",
    "generate orders",
    "generate cache",
    "grade",
)
"""Processes: they wait for a server that is away, for ever."""
FOREIGN = ("psql", "ingest", "env", "env --format json", "console --watch", "console --serve")
"""Become another program, reach no server, or show that none is reached until they are stopped."""


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No shop, no settings, and what a command does to signals undone."""
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    handled = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(s) for s in handled]
    yield
    for number, handler in zip(handled, before, strict=True):
        signal.signal(number, handler)


def _run(line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run a command line in this process; return its exit code and what it says on stderr."""
    try:
        code = main(line.split())
    except SystemExit as e:
        code = int(e.code or 0)
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    return code, said.err


def test_the_guide_has_every_exit_code_with_its_meaning() -> None:
    guide = (Path(__file__).parents[3] / "docs/troubleshooting.md").read_text(encoding="utf-8")
    table = [f"| {int(code)} | {code.meaning} |" for code in ExitCode]
    assert "\n".join(["| exit code | meaning |", "|---|---|", *table, ""]) in guide


def test_every_command_is_in_a_table() -> None:
    tried = {line.split()[0] for line in (*NEED_A_SHOP, *WRONG)}
    assert set(COMMANDS) <= tried
    assert {f"generate {n}" for n in GENERATE} <= {" ".join(s.split()[:2]) for s in NEED_A_SHOP}


@pytest.mark.parametrize("line", NEED_A_SHOP)
def test_without_a_shop(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = _run(line, capsys)
    assert code == ExitCode.UNREACHABLE, said
    if line not in ("doctor", "scenario status") and not line.startswith("do "):
        assert "start one with `jangteo up`" in said
        assert said.count("\n") == 1


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_option_or_value(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = _run(line, capsys)
    assert code == ExitCode.USAGE, said
    assert said.count("\n") == 1, said


@pytest.mark.parametrize(
    "line",
    [line for line in NEED_A_SHOP if line not in (*WAITING, *FOREIGN)],
)
def test_a_server_that_does_not_answer(
    line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in UNREACHABLE.items():
        monkeypatch.setenv(name, value)
    code, said = _run(line, capsys)
    assert code == ExitCode.UNREACHABLE, said


@pytest.mark.usefixtures("topics")
@pytest.mark.parametrize("line", ["do cache.refresh --wait", "do grading.run --wait"])
def test_what_is_not_seen_in_time(
    line: str,
    env: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (*UNREACHABLE, "POSTGRES_DB", "POSTGRES_PASSWORD"):
        monkeypatch.setenv(name, env[name])
    code, _ = _run(f"{line} --timeout 0.3", capsys)
    assert code == ExitCode.TIMEOUT


@pytest.mark.usefixtures("topics")
def test_a_wrong_value_that_only_the_shop_knows(
    env: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*UNREACHABLE, "POSTGRES_DB", "POSTGRES_PASSWORD"):
        monkeypatch.setenv(name, env[name])
    for line in ("do process.restart nobody --yes", "do scenario.start nothing"):
        assert _run(line, capsys)[0] == ExitCode.USAGE, line


@pytest.mark.usefixtures("topics")
@pytest.mark.parametrize("line", WRITING)
def test_a_database_that_takes_no_writes(
    line: str,
    env: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A replica refuses with the same SQLSTATE as a database that is read-only by a setting."""
    loaded = shop_settings.load(env, use_stack=False).postgres
    with postgres.connect(loaded, "test", autocommit=True) as conn:
        conn.execute("DELETE FROM schema_migrations WHERE version = 1") if line == "init" else None
        conn.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(
                sql.Identifier(env["POSTGRES_DB"])
            )
        )
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), _fresh(env) as conn:
        conn.execute("CREATE TABLE t (a int)")
    for name in (*UNREACHABLE, "POSTGRES_DB", "POSTGRES_PASSWORD"):
        monkeypatch.setenv(name, env[name])
    code, said = _run(line, capsys)
    assert code == ExitCode.FAILED, said
    assert "name the primary with POSTGRES_HOST" in said


def _fresh(env: dict[str, str]) -> psycopg.Connection[tuple[object, ...]]:
    return postgres.connect(shop_settings.load(env, use_stack=False).postgres, "test")
