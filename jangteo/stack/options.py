"""The options of `jangteo up`, and the environment variables that they stand for."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import conninfo

from jangteo.stack import first_start
from jangteo.stack.ports import CONVENTIONAL
from shop import command
from shop.errors import UsageError
from shop.optional.option import add_with
from shop.settings import EMBEDDED_PORTS, Settings, announce
from shop.settings.stack_file import DEFAULT_NAME


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add(
        "--for",
        dest="seconds",
        type=command.positive,
        metavar="SECONDS",
        help="stop SECONDS after all processes have begun to work",
    )
    add(
        "--speed",
        type=command.positive,
        metavar="X",
        help="multiply all rates by X (default: SHOP_SPEED, 1)",
    )
    add(
        "--seed",
        type=command.count,
        metavar="N",
        help="seed of all random numbers (default: SHOP_SEED, 1)",
    )
    add("--users", type=command.count, metavar="N", help="create N customers at the first start")
    add("--products", type=command.count, metavar="N", help="create N products at the first start")
    add(
        "--history", type=first_start.days, metavar="TIME",
        help="write a history of TIME, such as 90d, at the first start and resume it; 0 for none "
        "(default: ask on a terminal)",
    )  # fmt: skip
    add(
        "--continue", dest="resume", action=argparse.BooleanOptionalAction, default=None,
        help="resume the finished history of `jangteo backfill`, in place of the generators "
        "(default: if there is one, at speed 1)",
    )  # fmt: skip
    add(
        "--json", action="store_true", help="print a summary at the end, as one JSON line on stdout"
    )
    add(
        "--yes-production", action="store_true",
        help="allow made-up data with DB_TYPE=production (as ALLOW_INVENTED_DATA=yes)",
    )  # fmt: skip
    add_with(parser, "also publish and store optional topics, now and at later starts")
    add("--plain", action="store_true", help="print plain lines, even on a terminal")
    server = parser.add_argument_group("servers to use instead of embedded ones")
    server.add_argument(
        "--kafka",
        metavar="HOST:PORT",
        help="use these brokers, comma-separated; sets KAFKA_BOOTSTRAP_SERVERS",
    )
    server.add_argument(
        "--postgres",
        metavar="URL",
        help="use postgresql://USER:PASSWORD@HOST:PORT/DATABASE; sets POSTGRES_*",
    )
    server.add_argument(
        "--redis", metavar="URL", help="use redis://[USER:PASSWORD@]HOST:PORT/DB; sets REDIS_URL"
    )
    ports = parser.add_argument_group("ports of the embedded servers, kept for later runs")
    for name, variable in EMBEDDED_PORTS.items():
        title = {"kafka": "Apache Kafka", "postgres": "PostgreSQL", "redis": "Redis"}[name]
        usual = f"default {CONVENTIONAL[name]} where it is free"
        ports.add_argument(
            f"--{name}-port", type=command.count, metavar="PORT",
            help=f"start {title} on PORT; 0 picks a free one ({usual}); sets {variable}",
        )  # fmt: skip


def environment(args: argparse.Namespace) -> dict[str, str]:
    """Return the variables that the options stand for.

    Raises:
        UsageError: if an address cannot be read.
    """
    env: dict[str, str] = {}
    if args.speed is not None:
        env["SHOP_SPEED"] = str(args.speed)
    if args.seed is not None:
        env["SHOP_SEED"] = str(args.seed)
    if args.kafka:
        env["KAFKA_BOOTSTRAP_SERVERS"] = _brokers(args.kafka)
    if args.postgres:
        env |= _postgres(args.postgres)
    if args.redis:
        env["REDIS_URL"] = args.redis  # the settings look at it
    for name, variable in EMBEDDED_PORTS.items():
        if (port := getattr(args, f"{name}_port")) is not None:
            env[variable] = str(port)
    return env


def _brokers(text: str) -> str:
    """Check a list of brokers.

    >>> _brokers("a:9092,b:9092")
    'a:9092,b:9092'
    """
    if not all(
        re.fullmatch(r"[^:,\s]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", b) for b in text.split(",")
    ):
        raise UsageError(f"--kafka {text!r}: expected HOST:PORT, several with commas between")
    return text


def _postgres(url: str) -> dict[str, str]:
    """Parse a PostgreSQL URL into variables.

    >>> _postgres("postgresql://me:p%40ss@db:5433/shop?sslmode=require") == {
    ...     "POSTGRES_HOST": "db", "POSTGRES_PORT": "5433", "POSTGRES_DB": "shop",
    ...     "POSTGRES_USER": "me", "POSTGRES_PASSWORD": "p@ss", "POSTGRES_SSLMODE": "require"}
    True
    """
    try:
        parts = (
            conninfo.conninfo_to_dict(url) if urlsplit(url).scheme.startswith("postgres") else {}
        )
    except (psycopg.ProgrammingError, ValueError):
        parts = {}
    if not parts.get("host"):  # never shown: it may hold a password
        raise UsageError("--postgres: expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    names = {
        "host": "POSTGRES_HOST",
        "port": "POSTGRES_PORT",
        "dbname": "POSTGRES_DB",
        "user": "POSTGRES_USER",
        "password": "POSTGRES_PASSWORD",
        "sslmode": "POSTGRES_SSLMODE",
        "sslrootcert": "POSTGRES_SSLROOTCERT",
    }
    if unknown := sorted(set(parts) - set(names)):
        raise UsageError(
            f"--postgres: the URL has parameters that are not supported: {', '.join(unknown)}"
        )
    return {names[part]: str(value) for part, value in parts.items()}


def data_dir(args: argparse.Namespace) -> Path:
    """Return the absolute path of the data directory."""
    named = args.data_dir or os.environ.get("JANGTEO_DATA_DIR") or DEFAULT_NAME
    return Path(named).absolute()


def check_servers(settings: Settings) -> None:
    """Check the named servers, and in production that all three are named.

    Raises:
        UsageError: names the first that is wrong or missing.
    """
    production = settings.db_type == "production"
    _ = settings.redis_url if production else settings.optional_redis_url
    if production:  # elsewhere those that are not named are started
        _ = settings.postgres, settings.kafka
        announce.servers(settings, "postgres", "kafka", "redis")
