"""Bring the database's schema and the Kafka topics up to date; a second run changes nothing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping

import psycopg
from confluent_kafka import KafkaException

from jangteo.stack import retention
from shop import command, kafka, postgres
from shop.errors import ExitCode, JangteoError, UsageError
from shop.events import TOPICS
from shop.output import say
from shop.retry import first_line
from shop.settings import KafkaSettings, PostgresSettings, Settings, announce


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--lean",
        action=argparse.BooleanOptionalAction,
        help="leave out the indexes that people look up by, for a load test (docs/database.md); "
        "--no-lean builds them again; without either the layout stays as it is",
    )
    parser.add_argument(
        "--partitioned",
        action=argparse.BooleanOptionalAction,
        help="partition orders and user_spend_windows by month (docs/database.md); "
        "--no-partitioned changes back; without either the layout stays as it is",
    )
    parser.add_argument(
        "--roles",
        action="store_true",
        help="also create PostgreSQL roles with least privileges (docs/security.md)",
    )
    parser.add_argument(
        "--logins",
        action="store_true",
        help="also create these roles, and a login for each kind of process with the passwords "
        "of POSTGRES_INGEST_PASSWORD and the like",
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    """Bring everything up to date and print what was done."""
    _require_all(settings, logins=args.logins)  # before anything is touched
    where, brokers = settings.postgres, settings.kafka
    passwords = settings.login_passwords if args.logins else {}
    announce.servers_in_production(settings, "postgres", "kafka")
    say(init_schema(where, lean=args.lean, partitioned=args.partitioned))
    if args.roles or args.logins:
        say(init_roles(where, passwords))
    say(init_topics(brokers))
    return ExitCode.OK


def _require_all(settings: Settings, *, logins: bool) -> None:
    """Name everything that is missing or refused at once, not one thing a run.

    Raises:
        UsageError: says what.
    """
    wanted = ["postgres", "kafka", "optional_redis_url", *(["login_passwords"] if logins else [])]
    wrong = []
    for name in wanted:
        try:
            getattr(settings, name)
        except UsageError as e:
            wrong.append(str(e))
    if wrong:
        raise UsageError("; ".join(wrong))


def init_schema(
    settings: PostgresSettings, *, lean: bool | None = None, partitioned: bool | None = None
) -> str:
    """Apply the migrations that are missing; return one line that names them.

    Args:
        settings: of the tables' owner.
        lean: whether the look-up indexes are left out from now on; None: as it is.
        partitioned: whether orders and windows are partitioned from now on; None: as they are.

    Raises:
        UnreachableError: if PostgreSQL does not answer.
        JangteoError: if it refuses, or is newer than this program.
    """
    try:
        with postgres.connection(settings, "init") as conn:
            applied = postgres.migrate(conn, lean=lean, partitioned=partitioned)
    except psycopg.Error as e:
        raise JangteoError(f"{settings.where} refuses the schema: {first_line(e)}") from None
    done = f"applied {', '.join(applied)}" if applied else "up to date"
    return f"{settings.where}: schema version {len(postgres.migrations())}, {done}"


def init_roles(settings: PostgresSettings, passwords: Mapping[str, str] | None = None) -> str:
    """Make the least-privilege roles; return one line that names them.

    Args:
        settings: how to log in as the owner of the tables.
        passwords: by kind of process, for each of which a login is created too.

    Raises:
        UnreachableError: if PostgreSQL does not answer.
        JangteoError: if it refuses: the user does not own the tables or may not create roles.
    """
    try:
        with postgres.connection(settings, "init") as conn:
            names = postgres.grant_roles(conn)
            logins = postgres.make_logins(conn, passwords or {})
    except psycopg.Error as e:
        raise JangteoError(
            f"{settings.where} refuses the roles (they need the tables' owner, with CREATEROLE): "
            f"{first_line(e)}"
        ) from None
    made = f"; logins: {', '.join(logins)}" if logins else ""
    return f"{settings.where}: roles: {', '.join(names)}{made}"


def init_topics(settings: KafkaSettings, names: Iterable[str] = tuple(TOPICS)) -> str:
    """Create the topics that are missing, correct their retention; return one line that names them.

    Raises:
        UnreachableError: if no broker answers.
        JangteoError: if the cluster refuses.
    """
    try:
        created = kafka.create_topics(settings, names)
        changed = retention.keep_profiles(settings, names)
    except KafkaException as e:
        raise JangteoError(f"{settings.where} refuses the topics: {e.args[0].str()}") from None
    done = f"created {', '.join(created)}" if created else "all there"
    kept = f"; changed {'; '.join(changed)}" if changed else ""
    return f"{settings.where}: topics: {done}{kept}"


if __name__ == "__main__":
    sys.exit(command.main(configure, run, prog="python -m jangteo.cli.init", description=__doc__))
