"""Print what other tools read to reach the running shop's servers: psql, redis-cli, dbt, JDBC, ...

The output holds passwords. In a shell: eval "$(jangteo env)"
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from shop import command
from shop.errors import ExitCode, UsageError
from shop.output import say
from shop.settings import PostgresSettings, Settings
from shop.settings.stack_servers import ADDRESSES

_PASSED_ON: Final = re.compile(
    r"KAFKA_(PARTITIONS|REPLICATION|SECURITY_PROTOCOL|(SASL|SSL)_[A-Z_]+)"
)
"""Variables that are printed as they are; of those that name a password file, its content is."""
_BARE: Final = re.compile(r"[\w./:@%+,=-]+", re.ASCII)
"""Values that every reader of a dotenv file takes as they are, without quotes."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `jangteo env`."""
    parser.add_argument(
        "--format",
        choices=tuple(FORMATS),
        default="sh",
        help="print export lines (sh, the default), JSON, a .env file (dotenv), a profiles.yml "
        "(dbt) or a .properties file (jdbc)",
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Print the settings in the chosen format."""
    text = FORMATS[args.format](variables(settings))
    try:
        # Bytes: a value of the environment is in no encoding, and is to come out as it went in.
        sys.stdout.buffer.write(os.fsencode(text) if args.format == "sh" else text.encode())
    except UnicodeEncodeError:
        raise UsageError(f"a value is not text: --format {args.format} cannot hold it") from None
    sys.stdout.flush()
    say("jangteo env: the output holds passwords", to=sys.stderr)
    return ExitCode.OK


def variables(settings: Settings) -> dict[str, str]:
    """Return our own variables and those of other tools, for each server that is known.

    Raises:
        UsageError: if no server is known, or a setting is wrong.
    """
    env = settings.env
    found: dict[str, str] = {}
    if not any(env.get(address) for address in ADDRESSES.values()):
        _ = settings.postgres  # raises: names what is missing, and why no stack is used
    if env.get("POSTGRES_HOST"):
        found |= of_postgres(settings.postgres)
    if url := settings.optional_redis_url:
        found["REDIS_URL"] = for_redis_cli(url)
    if env.get("KAFKA_BOOTSTRAP_SERVERS"):
        found["KAFKA_BOOTSTRAP_SERVERS"] = settings.kafka.bootstrap_servers
        found |= {
            name: value
            for name, value in sorted(env.items())
            if value and _PASSED_ON.fullmatch(name) and not name.endswith("_FILE")
        }
    return found


def of_postgres(where: PostgresSettings) -> dict[str, str]:
    """Return PostgreSQL's variables: libpq's, a URL, and our own."""
    given = {
        "HOST": where.host,
        "PORT": str(where.port),
        "USER": where.user,
        "PASSWORD": where.password,
        "SSLMODE": where.sslmode,
        "SSLROOTCERT": where.sslrootcert or "",
    }
    found = {f"PG{name}": value for name, value in given.items() if value}
    found["PGDATABASE"] = where.db
    login = f"{quote(where.user, safe='')}:{quote(where.password, safe='')}"
    # libpq sends an empty password when the URL has one, and none without the colon; the same here.
    found["DATABASE_URL"] = (
        f"postgresql://{login}@{_host(where.host)}:{where.port}/{quote(where.db, safe='')}"
        f"?{urlencode(_tls(where), quote_via=quote)}"
    )
    found |= {f"POSTGRES_{name}": value for name, value in given.items() if value}
    found["POSTGRES_DB"] = where.db
    return found


def _tls(where: PostgresSettings) -> dict[str, str]:
    named = {"sslmode": where.sslmode, "sslrootcert": where.sslrootcert or ""}
    return {name: value for name, value in named.items() if value}


def _host(host: str) -> str:
    """Return a host as a URL has it.

    >>> _host("::1"), _host("db.example"), _host("/run/postgresql")
    ('[::1]', 'db.example', '%2Frun%2Fpostgresql')
    """
    return f"[{host}]" if ":" in host and "[" not in host else quote(host, safe="[]:,%")


def for_redis_cli(url: str) -> str:
    """Return a Redis URL that redis-cli takes, too: 6 and 7 send an empty user as a user.

    >>> for_redis_cli("redis://:pw@127.0.0.1:7000")
    'redis://default:pw@127.0.0.1:7000/0'
    >>> for_redis_cli("redis://h"), for_redis_cli("rediss://me:pw@h:1/2?ssl_ca_certs=/ca")
    ('redis://h:6379/0', 'rediss://me:pw@h:1/2?ssl_ca_certs=/ca')
    """
    parts = urlsplit(url)
    if parts.scheme == "unix":  # redis-cli has -s for that, and no URL
        return url
    login, at, place = parts.netloc.rpartition("@")
    if not re.search(r":\d+\Z", place):
        place += ":6379"
    if login.startswith(":"):
        login = f"default{login}"
    path = parts.path if parts.path not in ("", "/") else "/0"
    return urlunsplit((parts.scheme, f"{login}{at}{place}", path, parts.query, ""))


def as_sh(found: Mapping[str, str]) -> str:
    """Return `export` lines, for any POSIX shell.

    >>> print(as_sh({"POSTGRES_DB": "my $shop"}), end="")
    export POSTGRES_DB='my $shop'
    """
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in found.items())


def as_json(found: Mapping[str, str]) -> str:
    """Return a JSON object."""
    return json.dumps(found, indent=1) + "\n"


def as_dotenv(found: Mapping[str, str]) -> str:
    r"""Return a .env file by the rules of python-dotenv.

    Single quotes, where no control character needs an escape: Docker Compose takes such values
    literally, too. python-dotenv replaces ``${NAME}`` between any quotes; a default of a variable
    without a name is how it is given a dollar sign.

    >>> print(as_dotenv({"A": "plain:1", "B": "it's", "C": "a\r", "D": "${X}"}), end="")
    A=plain:1
    B='it\'s'
    C="a\r"
    D='${:-$}{X}'
    """

    def value_of(value: str) -> str:
        value = value.replace("${", "${:-$}{")
        if _BARE.fullmatch(value):
            return value
        escaped = value.replace("\\", "\\\\")
        if re.search(r"[\a\b\f\n\r\t\v]", value):
            for character, letter in zip("\a\b\f\n\r\t\v", "abfnrtv", strict=True):
                escaped = escaped.replace(character, f"\\{letter}")
            return '"' + escaped.replace('"', '\\"') + '"'
        return "'" + escaped.replace("'", "\\'") + "'"

    return "".join(f"{name}={value_of(value)}\n" for name, value in found.items())


def as_dbt(found: Mapping[str, str]) -> str:
    """Return a profiles.yml with the profile `jangteo`.

    Raises:
        UsageError: if PostgreSQL is not known.
    """
    _require_postgres(found, "dbt")
    values: dict[str, str] = {
        "type": "postgres",
        "host": found["PGHOST"],
        "user": found["PGUSER"],
        "password": found.get("PGPASSWORD", ""),
        "dbname": found["PGDATABASE"],
        "schema": "analytics",
        "sslmode": found["PGSSLMODE"],
    }
    if "PGSSLROOTCERT" in found:
        values["sslrootcert"] = found["PGSSLROOTCERT"]
    lines = [f"      {name}: {_yaml(_not_jinja(value))}" for name, value in values.items()]
    return "\n".join(
        [
            "jangteo:",
            "  target: dev",
            "  outputs:",
            "    dev:",
            *lines,
            f"      port: {int(found['PGPORT'])}",
            "      threads: 4",
            "",
        ]
    )


def _not_jinja(value: str) -> str:
    """Keep dbt from evaluating a value that looks like a template.

    >>> _not_jinja("a{{b"), _not_jinja("a{b")
    ("a{{ '{' }}{{ '{' }}b", 'a{b')
    """
    return value.replace("{", "{{ '{' }}") if re.search(r"\{[{%#]", value) else value


def _yaml(value: str) -> str:
    r"""Return a double-quoted YAML string of ASCII characters.

    >>> print(_yaml('a"b\\' + "\n한"))
    "a\"b\\\u000a\ud55c"
    """

    def escaped(character: str) -> str:
        if character in '"\\':
            return f"\\{character}"
        if " " <= character <= "~":
            return character
        code = ord(character)
        return f"\\U{code:08x}" if code > 0xFFFF else f"\\u{code:04x}"

    return '"' + "".join(map(escaped, value)) + '"'


def as_jdbc(found: Mapping[str, str]) -> str:
    """Return a Java .properties file: the URL of PostgreSQL's driver, and the other addresses.

    Raises:
        UsageError: if PostgreSQL is not known, or is at a socket, which Java's driver cannot reach.
    """
    _require_postgres(found, "jdbc")
    host = found["PGHOST"]
    if host.startswith(("/", "@")):
        raise UsageError(f"JDBC cannot reach PostgreSQL at the socket {host}")
    tls = {
        n: found[f"PG{n.upper()}"] for n in ("sslmode", "sslrootcert") if f"PG{n.upper()}" in found
    }
    values = {
        "jdbc.url": f"jdbc:postgresql://{_host(host)}:{found['PGPORT']}/"
        f"{quote(found['PGDATABASE'], safe='')}?{urlencode(tls, quote_via=quote)}",
        "jdbc.user": found["PGUSER"],
        "jdbc.password": found.get("PGPASSWORD", ""),
        "redis.url": found.get("REDIS_URL", ""),
        "bootstrap.servers": found.get("KAFKA_BOOTSTRAP_SERVERS", ""),
    }
    return "".join(f"{name}={_java(value)}\n" for name, value in values.items() if value)


def _java(value: str) -> str:
    r"""Return a value of a .properties file.

    >>> print(_java(" a\\b=한"))
    \ a\\b=\ud55c
    """
    units = value.encode("utf-16-be")
    codes = [units[i] << 8 | units[i + 1] for i in range(0, len(units), 2)]
    text = "".join(
        "\\\\" if c == 0x5C else chr(c) if 0x20 <= c <= 0x7E else f"\\u{c:04x}" for c in codes
    )
    return f"\\{text}" if text.startswith(" ") else text


def _require_postgres(found: Mapping[str, str], fmt: str) -> None:
    if "PGHOST" not in found:
        raise UsageError(f"--format {fmt} describes PostgreSQL, but POSTGRES_HOST is not set")


FORMATS: Final[Mapping[str, Callable[[Mapping[str, str]], str]]] = {
    "sh": as_sh,
    "json": as_json,
    "dotenv": as_dotenv,
    "dbt": as_dbt,
    "jdbc": as_jdbc,
}

if __name__ == "__main__":
    sys.exit(command.main(configure, run, prog="python -m jangteo.cli.env", description=__doc__))
