"""The environment as settings: defaults, files, the stack, and what is refused in which words."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from shop import boot_clock
from shop.clock import UTC
from shop.errors import UnreachableError, UsageError
from shop.settings import LOGINS, Settings, load, stack_file
from shop.settings.reference import env_example, with_tables
from shop.settings.stack_file import RunningStack
from shop.settings.variable import Variable
from shop.settings.variables import VARIABLES

ROOT = Path(__file__).parents[2]
STACK = {
    "POSTGRES_HOST": "127.0.0.1",
    "POSTGRES_PORT": "7777",
    "POSTGRES_PASSWORD": "sp",
    "REDIS_URL": "redis://:sp@127.0.0.1:7778/0",
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:7779",
}


def bare(**env: str) -> Settings:
    return load(env, use_stack=False)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CACHE_REFRESH_INTERVAL", "0", "a number from 0.1"),
        ("CACHE_REFRESH_INTERVAL", "nan", "a number"),
        ("GRADE_INTERVAL", "inf", "a number from 0.1"),
        ("CACHE_BATCH_SIZE", "9", "a whole number from 10"),
        ("CACHE_BATCH_SIZE", "many", "a whole number"),
        ("GRADE_INTERVAL", "-1", "a number from 0.1"),
        ("INGEST_TOPICS", "orders,ordres", "some of users, products, orders"),
        ("INGEST_BATCH_SIZE", "0", "a whole number from 1"),
        ("INGEST_MAX_REJECTS", "-1", "a whole number of at least 0"),
        ("SPEND_WINDOW", "7m", "divides a day"),
        ("SPEND_WINDOW", "0", "divides a day"),
        ("SPEND_WINDOW", "5 minutes", "divides a day"),
        ("METRICS_PORT", "65536", "a whole number from 0 to 65535"),
        ("METRICS_PORT", "http", "a whole number"),
        ("SHOP_SPEED", "0", "a number from 0.001"),
        ("SHOP_SPEED", "fast", "a number"),
        ("SHOP_SEED", "1.5", "a whole number"),
        ("JANGTEO_LANG", "fr", "one of en, ko"),
        ("LOG_LEVEL", "loud", "one of debug"),
        ("LOG_FORMAT", "xml", "one of logfmt, json"),
        ("DB_TYPE", "prod", "one of local, production"),
    ],
)
def test_a_bad_value_is_named_with_what_is_expected(name: str, value: str, expected: str) -> None:
    with pytest.raises(UsageError) as e:
        bare(**{name: value}).require()
    assert name in str(e.value)
    assert expected in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("server", "name", "value"),
    [
        ("postgres", "POSTGRES_PORT", "0"),
        ("postgres", "POSTGRES_PORT", "54x"),
        ("postgres", "POSTGRES_SSLMODE", "on"),
        ("kafka", "KAFKA_PARTITIONS", "0"),
        ("kafka", "KAFKA_REPLICATION", "eleven"),
        ("redis_url", "REDIS_URL", "localhost:6379"),
    ],
)
def test_a_servers_settings_are_checked_when_they_are_needed(
    server: str, name: str, value: str
) -> None:
    env = {"POSTGRES_HOST": "db", "KAFKA_BOOTSTRAP_SERVERS": "k:1", "REDIS_URL": "redis://r"}
    loaded = bare(**{**env, name: value})
    with pytest.raises(UsageError, match=name):
        getattr(loaded, server)


@pytest.mark.parametrize("server", ["postgres", "kafka", "redis_url"])
def test_a_missing_server_says_how_to_start_one(server: str) -> None:
    with pytest.raises(UnreachableError, match="jangteo up"):
        getattr(bare(), server)


@pytest.mark.parametrize("password", [None, "", "password", "Postgres"])
def test_production_refuses_default_passwords(password: str | None) -> None:
    env = {"DB_TYPE": "production", "POSTGRES_HOST": "db"}
    if password is not None:
        env["POSTGRES_PASSWORD"] = password
    with pytest.raises(UsageError, match=r"DB_TYPE=production refuses.*POSTGRES_PASSWORD"):
        _ = bare(**env).postgres
    assert bare(**{**env, "DB_TYPE": "local"}).postgres.host == "db"
    assert bare(**{**env, "POSTGRES_PASSWORD": "Tr0ub4dor"}).postgres.password == "Tr0ub4dor"


@pytest.mark.parametrize(("kind", "name"), LOGINS.items())
def test_production_refuses_default_passwords_of_logins(
    kind: str, name: str, tmp_path: Path
) -> None:
    given = {other: f"Tr0ub4dor-{other}" for other in LOGINS.values() if other != name}
    assert bare(**given).login_passwords[kind] == "password"
    for bad in ({}, {name: ""}, {name: "Password"}):
        with pytest.raises(UsageError, match=f"DB_TYPE=production refuses.*{name}:"):
            _ = bare(DB_TYPE="production", **given, **bad).login_passwords
    (tmp_path / "secret").write_text("Tr0ub4dor\n")
    good = bare(DB_TYPE="production", **given, **{f"{name}_FILE": str(tmp_path / "secret")})
    assert good.login_passwords[kind] == "Tr0ub4dor"
    assert "Tr0ub4dor" not in repr(good)


def test_production_refuses_to_destroy_without_the_flag() -> None:
    production = bare(DB_TYPE="production")
    with pytest.raises(UsageError, match="--yes"):
        production.refuse_in_production("truncate", "--yes", allowed=False)
    production.refuse_in_production("truncate", "--yes", allowed=True)
    bare().refuse_in_production("truncate", "--yes", allowed=False)


def test_secrets_may_stand_in_files_and_show_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("Tr0ub4dor\n")
    loaded = bare(POSTGRES_HOST="db", POSTGRES_PASSWORD_FILE=str(secret))
    assert loaded.postgres.password == "Tr0ub4dor"
    assert "Tr0ub4dor" not in f"{loaded!r} {loaded.postgres!r} {loaded.postgres.where}"
    with pytest.raises(UsageError, match="POSTGRES_PASSWORD_FILE: cannot read"):
        bare(POSTGRES_PASSWORD_FILE=str(tmp_path / "none"))


def test_kafka_security_is_passed_through(tmp_path: Path) -> None:
    (tmp_path / "sasl").write_text("pw")
    kafka = bare(
        KAFKA_BOOTSTRAP_SERVERS="k:1",
        KAFKA_SECURITY_PROTOCOL="SASL_SSL",
        KAFKA_SASL_MECHANISM="SCRAM-SHA-512",
        KAFKA_SASL_PASSWORD_FILE=str(tmp_path / "sasl"),
        KAFKA_SSL_CA_LOCATION="/ca.pem",
        KAFKA_PARTITIONS="3",
    ).kafka
    assert kafka.client == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.password": "pw",
        "ssl.ca.location": "/ca.pem",
    }
    assert (kafka.partitions, kafka.replication) == (3, None)


@pytest.mark.parametrize(
    ("env", "lang"),
    [({}, "en"), ({"LANG": "ko_KR.UTF-8"}, "ko"), ({"LC_ALL": "C", "LANG": "ko_KR"}, "en")],
)
def test_language_follows_the_locale(env: dict[str, str], lang: str) -> None:
    assert bare(**env).lang == lang


def _publish(data_dir: Path, pid: int | None = None, shift: str = "", **env: str) -> RunningStack:
    pid = pid or os.getpid()
    started = boot_clock.process_started(pid) or ""
    now = datetime.now(UTC).isoformat()
    stack = RunningStack(data_dir.absolute(), pid, started + shift, now, env)
    data_dir.mkdir(parents=True, exist_ok=True)
    stack_file.publish(stack)
    return stack


@pytest.fixture(autouse=True)
def private_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_a_running_stack_is_found_from_below_from_afar_and_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = _publish(tmp_path / "shop/.jangteo", POSTGRES_HOST="stack")
    assert stack_file.find_stack() == published  # from a directory elsewhere
    assert stack_file.find_stack(tmp_path / "shop/.jangteo") == published
    assert stack_file.find_stack(tmp_path / "other") is None
    _publish(tmp_path / "second")
    assert stack_file.find_stack() is None  # two: which one?
    (tmp_path / "shop/deep").mkdir()
    monkeypatch.chdir(tmp_path / "shop/deep")
    assert stack_file.find_stack() == published
    stack_file.withdraw(published.data_dir)
    stack_file.withdraw(tmp_path / "second")
    assert stack_file.find_stack() is None


def test_the_file_of_a_crashed_stack_is_not_believed(tmp_path: Path) -> None:
    _publish(tmp_path / "a", shift="1")  # the pid was given to another process since
    _publish(tmp_path / "b", pid=2**22 + 1)
    assert stack_file.find_stack(tmp_path / "a") is None
    assert stack_file.find_stack(tmp_path / "b") is None
    (tmp_path / "c").mkdir()
    for junk in ("", "{", "[]", '{"pid": "x"}', "\x00"):
        (tmp_path / "c/stack.json").write_text(junk)
        assert stack_file.read_stack(tmp_path / "c") is None


def test_the_stack_file_is_private(tmp_path: Path) -> None:
    published = _publish(tmp_path / "a", POSTGRES_PASSWORD="Tr0ub4dor")
    assert (tmp_path / "a/stack.json").stat().st_mode & 0o777 == 0o600
    assert "Tr0ub4dor" not in repr(published)


def test_the_stack_fills_in_servers_that_the_environment_does_not_speak_of(
    tmp_path: Path,
) -> None:
    stack = {"POSTGRES_HOST": "s", "POSTGRES_PASSWORD": "sp", "REDIS_URL": "redis://s"}
    _publish(tmp_path / "d", **stack, SHOP_SPEED="7")
    found = load({"JANGTEO_DATA_DIR": str(tmp_path / "d")})
    assert (found.postgres.host, found.postgres.password, found.speed) == ("s", "sp", 7.0)
    other = load({"POSTGRES_DB": "mine", "SHOP_SPEED": "2"}, data_dir=tmp_path / "d")
    assert (other.postgres.host, other.postgres.db, other.speed) == ("s", "mine", 2.0)
    assert load({}, data_dir=tmp_path / "d", use_stack=False).env == {}


@pytest.mark.parametrize(
    ("environ", "servers", "named"),
    [
        ({"POSTGRES_HOST": "mine"}, ("kafka", "redis_url"), "POSTGRES_HOST"),
        ({"POSTGRES_HOST": "127.0.0.1"}, ("kafka", "redis_url"), "POSTGRES_HOST"),  # another port
        (
            {"POSTGRES_HOST": "127.0.0.1", "POSTGRES_PORT": "7777", "POSTGRES_DB": "other"},
            ("kafka", "redis_url"),
            "POSTGRES_HOST",
        ),
        ({"KAFKA_BOOTSTRAP_SERVERS": "k:1"}, ("postgres", "redis_url"), "KAFKA_BOOTSTRAP_SERVERS"),
        ({"REDIS_URL": "redis://mine"}, ("postgres", "kafka"), "REDIS_URL"),
        ({"POSTGRES_PASSWORD": "pw"}, ("postgres", "kafka", "redis_url"), "POSTGRES_PASSWORD"),
        ({"POSTGRES_USER": "me"}, ("postgres", "kafka", "redis_url"), "POSTGRES_USER"),
        ({"POSTGRES_PORT": "5432"}, ("postgres", "kafka", "redis_url"), "POSTGRES_PORT"),
        ({"KAFKA_SASL_PASSWORD": "pw"}, ("postgres", "kafka", "redis_url"), "KAFKA_SASL_PASSWORD"),
    ],
)
def test_a_stack_is_used_for_all_servers_or_for_none(
    environ: dict[str, str], servers: tuple[str, ...], named: str, tmp_path: Path
) -> None:
    _publish(tmp_path / "d", **STACK)
    loaded = load(environ, data_dir=tmp_path / "d")
    for server in servers:
        with pytest.raises(UsageError, match=rf"not used .*{named}") as e:
            getattr(loaded, server)
        assert "\n" not in str(e.value)
    assert "sp" not in loaded.env.values(), "a password of the stack"


def test_an_environment_that_names_the_stacks_servers_may_leave_out_some(tmp_path: Path) -> None:
    _publish(tmp_path / "d", **STACK)
    same = {n: STACK[n] for n in ("POSTGRES_HOST", "POSTGRES_PORT")}
    loaded = load({**same, "POSTGRES_USER": "shop_ingest", "POSTGRES_PASSWORD": "x"},
                  data_dir=tmp_path / "d")  # fmt: skip
    assert loaded.kafka.bootstrap_servers == STACK["KAFKA_BOOTSTRAP_SERVERS"]
    assert (loaded.postgres.user, loaded.postgres.password) == ("shop_ingest", "x")


@pytest.mark.parametrize("variables", [{}, {"POSTGRES_HOST": "db", "POSTGRES_PASSWORD": "Tr0ub4"}])
@pytest.mark.parametrize("by_stack", [True, False])
def test_production_takes_no_server_from_a_stack(
    variables: dict[str, str], by_stack: bool, tmp_path: Path
) -> None:
    said = {"DB_TYPE": " Production"}
    _publish(tmp_path / "d", **STACK, **(said if by_stack else {}))
    loaded = load({**variables, **({} if by_stack else said)}, data_dir=tmp_path / "d")
    for server in ("kafka", "redis_url", *([] if variables else ["postgres"])):
        with pytest.raises(UsageError, match="production"):
            getattr(loaded, server)
    assert not set(loaded.env) & set(STACK) - set(variables)


@pytest.mark.parametrize(
    "password",
    ["", " ", "password ", "\tPassword", "'password'", '"postgres"', "pass\u200bword",
     "\u00a0admin", "\uff50assword", "ChangeMe\r", "shop_x"],
)  # fmt: skip
@pytest.mark.parametrize("by_file", [True, False])
def test_production_refuses_disguised_default_passwords_of_every_server(
    password: str, by_file: bool, tmp_path: Path
) -> None:
    def given(name: str, value: str) -> dict[str, str]:
        if not by_file:
            return {name: value}
        (tmp_path / name).write_bytes(value.encode() + b"\n")
        return {f"{name}_FILE": str(tmp_path / name)}

    base = {"DB_TYPE": "production", "POSTGRES_HOST": "db", "POSTGRES_USER": "shop_x"}
    with pytest.raises(UsageError, match="POSTGRES_PASSWORD"):
        _ = bare(**base, **given("POSTGRES_PASSWORD", password)).postgres
    kafka = {"KAFKA_BOOTSTRAP_SERVERS": "k:1", "KAFKA_SECURITY_PROTOCOL": "sasl_ssl",
             "KAFKA_SASL_USERNAME": "shop_x"}  # fmt: skip
    with pytest.raises(UsageError, match="KAFKA_SASL_PASSWORD"):
        _ = bare(**base, **kafka, **given("KAFKA_SASL_PASSWORD", password)).kafka
    url = f"rediss://shop_x:{quote(password)}@r:6379/0"
    with pytest.raises(UsageError, match="REDIS_URL"):
        _ = bare(**base, **given("REDIS_URL", url)).redis_url


def test_production_takes_good_passwords_and_none_where_none_is_used(tmp_path: Path) -> None:
    base = {"DB_TYPE": "production", "KAFKA_BOOTSTRAP_SERVERS": "k:1"}
    assert bare(**base).kafka.client == {}
    assert bare(**base, KAFKA_SASL_MECHANISM="GSSAPI", KAFKA_SECURITY_PROTOCOL="SASL_SSL").kafka
    assert bare(**base, REDIS_URL="rediss://:Tr0ub4dor@r").redis_url
    assert bare(**base, REDIS_URL="unix:///run/redis.sock").redis_url
    with pytest.raises(UsageError, match="REDIS_URL"):
        _ = bare(**base, REDIS_URL="redis://r").redis_url
    (tmp_path / "pw").write_text(" two words \r\n")
    exact = bare(**base, POSTGRES_HOST="d", POSTGRES_PASSWORD_FILE=str(tmp_path / "pw"))
    assert exact.postgres.password == " two words "


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"a\0b", b"x" * 70_000])
def test_a_file_that_holds_no_password_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "pw").write_bytes(content)
    with pytest.raises(UsageError, match="POSTGRES_PASSWORD_FILE"):
        bare(POSTGRES_PASSWORD_FILE=str(tmp_path / "pw"))


def test_made_up_data_needs_the_flag_or_the_variable_in_production() -> None:
    bare().refuse_invented("seed", allowed=False)
    production = bare(DB_TYPE="production")
    with pytest.raises(UsageError, match=r"--yes-production.*ALLOW_INVENTED_DATA=yes"):
        production.refuse_invented("seed", allowed=False)
    production.refuse_invented("seed", allowed=True)
    allowed = bare(DB_TYPE="production", ALLOW_INVENTED_DATA="yes")
    allowed.refuse_invented("seed", allowed=False)
    with pytest.raises(UsageError, match="--yes-production"):
        allowed.refuse_in_production("empty the shop", "--yes-production", allowed=False)


def test_the_example_and_the_docs_follow_the_table() -> None:
    regenerate = "run `python -m shop.settings.reference`"
    assert (ROOT / "deploy/.env.example").read_text("utf-8") == env_example(), regenerate
    page = (ROOT / "docs/configuration.md").read_text("utf-8")
    assert page == with_tables(page), regenerate
    for variable in VARIABLES:
        assert page.count(f"| `{variable.name}`") == 1


def test_the_table_names_each_variable_once_and_no_other_is_read() -> None:
    names = [variable.name for variable in VARIABLES]
    assert len(names) == len(set(names))
    prefixes = tuple({name.partition("_")[0] + "_" for name in names})
    rooms = ("jangteo", "shop", "flows", "generators", "grading", "console")
    sources = [path.read_text("utf-8") for room in rooms for path in (ROOT / room).rglob("*.py")]
    read = {n for s in sources for n in re.findall(r'(?:get|environ)[([]"([A-Z]+_[A-Z_]+)"', s)}
    assert {name for name in read if name.startswith(prefixes)} <= set(names)


def test_the_defaults_of_the_example_are_the_defaults() -> None:
    defaults = dict(re.findall(r"^#([A-Z_]+)=(.+)$", env_example(), re.MULTILINE))
    assert len(defaults) > 20
    servers = {"POSTGRES_HOST": "h", "KAFKA_BOOTSTRAP_SERVERS": "k:1"}
    empty, full = bare(**servers), bare(**servers, **defaults)
    full.require()
    ours = [name for name, value in vars(Settings).items() if isinstance(value, Variable)]
    assert len(ours) > 10
    assert {f: getattr(full, f) for f in ours} == {f: getattr(empty, f) for f in ours}
    assert full.postgres == empty.postgres
    assert full.login_passwords == empty.login_passwords
    assert full.kafka.partitions == empty.kafka.partitions
    assert full.kafka.replication == empty.kafka.replication


def test_a_wrong_variable_of_another_process_does_no_harm() -> None:
    loaded = bare(GRADE_INTERVAL="soon", POSTGRES_HOST="db")
    assert loaded.postgres.host == "db"
    loaded.require("ingest", "cache")
    with pytest.raises(UsageError, match="GRADE_INTERVAL"):
        loaded.require("grader")
    with pytest.raises(UsageError, match="DB_TYPE"):
        _ = bare(DB_TYPE="prod", REDIS_URL="unix:///run/redis").redis_url
