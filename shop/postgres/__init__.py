"""PostgreSQL: connections, numbered migrations, COPY."""

from shop.postgres.connections import (
    Connection,
    Cursor,
    connect,
    connect_unless,
    connection,
)
from shop.postgres.schema import (
    BACKFILL_LOCK,
    SHOP_TABLES,
    grant_roles,
    make_logins,
    migrate,
    migrations,
    schema_version,
    truncate_simulation,
)
from shop.postgres.text_copy import CopyData, copy_data, copy_frame, copy_into

__all__ = [
    "BACKFILL_LOCK",
    "SHOP_TABLES",
    "Connection",
    "CopyData",
    "Cursor",
    "connect",
    "connect_unless",
    "connection",
    "copy_data",
    "copy_frame",
    "copy_into",
    "grant_roles",
    "make_logins",
    "migrate",
    "migrations",
    "schema_version",
    "truncate_simulation",
]
