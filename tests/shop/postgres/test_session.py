"""PostgreSQL sessions: no outside setting changes what they do with bytes, times and names."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from shop import postgres
from shop.postgres import session
from shop.settings import PostgresSettings, Settings
from tests.support.surroundings import ENVIRONMENT, polluted

ROOT = Path(__file__).parents[3]
COMMANDS = (
    ["init"],
    ["seed", "--users", "20", "--products", "10"],
    ["generate", "cache", "--once"],
    ["grade", "--once", "--json"],
    ["grade", "--once", "--full", "--json"],
    ["dlq", "list"],
    ["windows", "show"],
    ["windows", "rebuild"],
    ["topics", "describe", "orders"],
    ["psql", "-Atc", "SELECT timestamptz '2026-01-01 00:00+00'"],
    ["doctor"],
    ["console", "--once"],
)


def run(words: list[str], env: dict[str, str], **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jangteo", *words],
        cwd=ROOT, env={**env, **more}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_every_setting_of_the_contract_beats_database_and_environment(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    where = settings.postgres
    with polluted(where), postgres.connect(where, "polluted", autocommit=True) as conn:
        expected = {**session.CONTRACT, "session_replication_role": "origin"}
        found = {
            n: conn.execute("SELECT current_setting(%s)", (n,)).fetchone()[0]  # type: ignore[index]  # a setting has a value
            for n in expected
        }
        assert found == expected
        row = conn.execute("SELECT timestamptz '2026-01-01 00:00+00', current_schema()").fetchone()
        assert row is not None
        assert (row[0].isoformat(), row[1]) == ("2026-01-01T00:00:00+00:00", "public")
        assert conn.info.parameter_status("application_name") == "jangteo-polluted"


def test_limits_of_a_purpose_win_over_the_contract(settings: Settings) -> None:
    limits = {"idle_in_transaction_session_timeout": "7s", "tcp_keepalives_idle": "11"}
    with postgres.connect(settings.postgres, "test", limits=limits) as conn:
        for name, value in limits.items():
            assert conn.execute(f"SHOW {name}").fetchone() == (value,)


def test_a_temporary_table_does_not_take_the_place_of_ours(settings: Settings) -> None:
    with postgres.connect(settings.postgres, "test", autocommit=True) as conn:
        conn.execute("CREATE TEMP TABLE users (nothing int)")
        assert conn.execute("SELECT to_regclass('users') = to_regclass('public.users')").fetchone()
        conn.execute("SELECT grade FROM users")  # the temporary one has no such column


def test_a_role_that_may_not_turn_triggers_on_again_is_refused(settings: Settings) -> None:
    where = settings.postgres
    with postgres.connect(where, "test", autocommit=True) as conn:
        conn.execute("CREATE ROLE no_triggers LOGIN PASSWORD 'pw'")
        conn.execute("ALTER ROLE no_triggers SET session_replication_role = replica")
        try:
            login = PostgresSettings(
                where.host, where.port, where.db, "no_triggers", "pw", "disable", None
            )
            with pytest.raises(session.SessionError, match="RESET session_replication_role"):
                postgres.connect(login, "test")
        finally:
            conn.execute("DROP ROLE no_triggers")


@pytest.mark.parametrize("scope", ["", " IN DATABASE {}"])
def test_limits_of_a_millisecond_of_a_role_do_not_end_our_sessions(
    settings: Settings, scope: str
) -> None:
    where = settings.postgres
    login = PostgresSettings(where.host, where.port, where.db, "hasty", "pw", "disable", None)
    names = ["statement_timeout", "lock_timeout", "idle_session_timeout"]
    with postgres.connect(where, "test", autocommit=True) as conn:
        names += ["transaction_timeout"] * (conn.info.server_version >= 170000)
        conn.execute("CREATE ROLE hasty LOGIN PASSWORD 'pw'")
        try:
            for name in names:
                conn.execute(f"ALTER ROLE hasty{scope.format(where.db)} SET {name} = 1")
            for _ in range(5):
                with postgres.connect(login, "test", autocommit=True) as hasty:
                    time.sleep(0.02)
                    hasty.execute("SELECT pg_sleep(0.02)")
                    assert hasty.info.parameter_status("application_name") == "jangteo-test"
                    assert {hasty.execute(f"SHOW {n}").fetchone() for n in names} == {("0",)}
        finally:
            conn.execute("DROP ROLE hasty")


def complaint(done: subprocess.CompletedProcess[str], words: list[str]) -> str:
    """Return what is wrong with a command of `COMMANDS`; a shop without processes is degraded."""
    expected = (0, 1) if words[0] == "console" else (0,)
    if done.returncode not in expected or "Traceback" in done.stderr:
        return f"{' '.join(words)}: {done.returncode} {done.stderr[-500:]}"
    if words[0] == "psql" and done.stdout != "2026-01-01 00:00:00+00\n":
        return done.stdout
    return ""


@pytest.mark.usefixtures("topics")
def test_every_command_works_under_a_polluted_environment_and_database(
    env: dict[str, str], settings: Settings
) -> None:
    with polluted(settings.postgres):
        found = [complaint(run(words, env, **ENVIRONMENT), words) for words in COMMANDS]
    assert not [text for text in found if text]


# -- poolers -------------------------------------------------------------------------------------

needs_pgbouncer = pytest.mark.skipif(
    not (shutil.which("pgbouncer") or Path("/usr/sbin/pgbouncer").is_file()) or os.getuid() != 0,
    reason="needs PgBouncer (apt-get install pgbouncer), and root to become nobody for it",
)
Pooled = Callable[..., dict[str, str]]


@pytest.fixture
def pooled(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pooled]:
    """Return a function that puts a PgBouncer in front of the test's PostgreSQL."""
    started: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)

        def start(mode: str, **options: str) -> dict[str, str]:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            lines = {"listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": "",
                     "auth_type": "any", "pool_mode": mode, **options}  # fmt: skip
            ini = folder / f"{port}.ini"
            ini.write_text(
                "[databases]\n* = host={POSTGRES_HOST} port={POSTGRES_PORT} user={POSTGRES_USER}"
                " password={POSTGRES_PASSWORD}\n[pgbouncer]\n".format(**env)
                + "".join(f"{k} = {v}\n" for k, v in lines.items())
            )
            ini.chmod(0o644)
            program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
            started.append(
                subprocess.Popen(
                    [program, "-q", str(ini)], user="nobody", stderr=subprocess.DEVNULL
                )
            )
            deadline = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                except OSError:
                    assert time.monotonic() < deadline, "pgbouncer does not start"
                    time.sleep(0.05)
                else:
                    return {**env, "POSTGRES_PORT": str(port)}

        yield start
        for process in started:
            process.terminate()
            process.wait(30)


@needs_pgbouncer
@pytest.mark.parametrize("options", [{}, {"default_pool_size": "1"}, {"server_round_robin": "1"}])
def test_session_mode_of_pgbouncer_works_as_it_comes(
    pooled: Pooled, options: dict[str, str]
) -> None:
    env = pooled("session", **options)
    done = run(["windows", "show"], env)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("topics")
@needs_pgbouncer
@pytest.mark.slow
def test_every_command_works_through_session_mode(pooled: Pooled) -> None:
    env = pooled("session")
    found = [complaint(run(words, env), words) for words in COMMANDS]
    assert not [text for text in found if text]


@pytest.mark.usefixtures("topics")
@needs_pgbouncer
@pytest.mark.parametrize(
    ("mode", "options"),
    [
        ("transaction", {}),
        ("transaction", {"server_round_robin": "1", "min_pool_size": "5"}),
        ("statement", {}),
    ],
)
def test_other_modes_are_refused_in_one_line(
    pooled: Pooled, mode: str, options: dict[str, str]
) -> None:
    env = pooled(mode, **options)
    for words in (["init"], ["grade", "--once"], ["seed"]):
        done = run(words, env)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "pool_mode=session" in done.stderr


def test_libpq_has_no_variable_that_is_not_known_here() -> None:
    named = {o.envvar.decode() for o in psycopg.pq.Conninfo.get_defaults() if o.envvar}
    assert named <= set(session.LIBPQ_VARIABLES)
    assert set(ENVIRONMENT) <= set(session.LIBPQ_VARIABLES)
