"""Settings outside a PostgreSQL session that affect it: environment, role, database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql

from shop import postgres
from shop.settings import PostgresSettings

# Variables of the environment, each of which can break or change a session.
ENVIRONMENT = {
    "PGTZ": "Asia/Seoul",
    "PGDATESTYLE": "SQL, DMY",
    "PGGEQO": "nonsense",
    "PGOPTIONS": "-c search_path=nowhere -c no.such=1",
    "PGCLIENTENCODING": "EUC_KR",
    "PGSERVICE": "nowhere",
    "PGSERVICEFILE": "/nowhere",
    "PGHOST": "192.0.2.1",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGUSER": "nobody",
    "PGPASSWORD": "wrong",
    "PGPASSFILE": "/nowhere",
    "PGDATABASE": "nowhere",
    "PGAPPNAME": "stranger",
    "PGTARGETSESSIONATTRS": "standby",
    "PGLOADBALANCEHOSTS": "nonsense",
    "PGSSLMODE": "verify-full",
    "PGSSLROOTCERT": "/nowhere",
    "PGSSLCERT": "/nowhere",
    "PGSSLKEY": "/nowhere",
    "PGSSLMINPROTOCOLVERSION": "nonsense",
    "PGCHANNELBINDING": "require",
    "PGREQUIREAUTH": "none",
    "PGREQUIREPEER": "nobody",
    "PGGSSENCMODE": "nonsense",
    "PGCONNECT_TIMEOUT": "nonsense",
}
# Settings of a role or a database.
DEFAULTS = {
    "search_path": "nowhere",
    "TimeZone": "Asia/Seoul",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "extra_float_digits": "-15",
    "client_encoding": "EUC_KR",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "backslash_quote": "off",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "exit_on_error": "on",
    "row_security": "off",
    "statement_timeout": "200",
    "lock_timeout": "200",
    "idle_in_transaction_session_timeout": "200",
    "idle_session_timeout": "5000",
    "transaction_timeout": "200",
    "session_replication_role": "replica",
    "default_transaction_read_only": "off",
    "jit": "on",
    "lc_monetary": "C",
    "synchronous_commit": "off",
    "xmlbinary": "hex",
    "check_function_bodies": "off",
    "client_min_messages": "error",
}


@contextmanager
def polluted(where: PostgresSettings) -> Iterator[None]:
    """Set all of `DEFAULTS` for the database."""
    with postgres.connect(where, "test", autocommit=True) as conn:
        version = conn.info.server_version
        for name, value in DEFAULTS.items():
            if name != "transaction_timeout" or version >= 170000:
                conn.execute(
                    sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                        sql.Identifier(where.db), sql.Identifier(name), sql.Literal(value)
                    )
                    if name != "search_path"
                    else sql.SQL("ALTER DATABASE {} SET search_path = nowhere").format(
                        sql.Identifier(where.db)
                    )
                )
        yield
